//! The tick of now, for which the clock is asked once in a jiffy: jiffies are a word of memory, the clock is a call.

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns};
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use lb_common::cell::TICK_SHIFT;

/// Low halves of jiffies and tick, as the clock was last asked. All CPUs share the word and write the same to it.
#[map]
static TICK: Array<u64> = Array::with_max_entries(1, 0);

/// The coarse clock, in ticks: it too is put forward once in a jiffy (kernel/time/timekeeping.c).
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: a helper without pointers, for which the verifier puts a load (kernel 5.6).
    let jiffies = unsafe { bpf_jiffies64() } << 32;
    let Some(word) = TICK.get_ptr_mut(0) else { return asked() };
    // SAFETY: the word is aligned and lives as long as the program; volatile, since other CPUs write it.
    let known = unsafe { word.read_volatile() };
    if known ^ jiffies <= u64::from(u32::MAX) {
        return known & u64::from(u32::MAX);
    }
    let tick = asked();
    // SAFETY: as above.
    unsafe { word.write_volatile(jiffies | tick & u64::from(u32::MAX)) };
    tick
}

#[inline(always)]
fn asked() -> u64 {
    // SAFETY: a helper without pointers.
    unsafe { bpf_ktime_get_coarse_ns() >> TICK_SHIFT }
}
