//! Packets that somebody wants to know of: those that are dropped, and one that is explained.
//!
//! To explain a packet the agent loads these programs once more, with [`EXPLAINS`] set. Then whatever would write to a
//! map does not; the verifier removes the checks from the programs that forward.

use aya_ebpf::helpers::generated::{bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray, RingBuf};
use lb_common::DROPS_BYTES;
use lb_common::layout::Sample;
use lb_common::verdict::Verdict;
use lb_ebpf::sample;
use lb_ebpf::tables::Tables;

use super::maps::KernelTables;

/// 1 where packets are explained.
#[unsafe(no_mangle)]
static EXPLAINS: u8 = 0;

/// See `lb_common::map`.
#[map]
static DROPS: RingBuf = RingBuf::with_byte_size(DROPS_BYTES, 0);
#[map]
static SAMPLE_UNTIL: Array<u64> = Array::with_max_entries(1, 0);
#[map]
static EXPLAINED: PerCpuArray<Sample> = PerCpuArray::with_max_entries(1, 0);

/// Samples that this CPU may still take, and when that was reckoned, in milliseconds.
#[map]
static SAMPLES: PerCpuArray<[u64; 2]> = PerCpuArray::with_max_entries(1, 0);

/// Samples that a CPU may take at once; it is given one a millisecond.
const MOST_SAMPLES: u64 = 100;

#[inline(always)]
pub fn explains() -> bool {
    let explains = &raw const EXPLAINS;
    // SAFETY: a constant of this program; volatile, since the agent sets it before the program is loaded.
    unsafe { explains.read_volatile() != 0 }
}

/// Tells of the packet that the scratch memory tells of.
#[inline(always)]
pub fn tell(tables: &KernelTables<false>, verdict: u8) {
    let (Some(verdict), Some(scratch)) = (Verdict::from_number(verdict), tables.scratch()) else {
        return;
    };
    let place = if explains() { EXPLAINED.get_ptr_mut(0) } else { None };
    if let Some(place) = place {
        // SAFETY: memory of this CPU, which lives as long as the program.
        let place = unsafe { &mut *place };
        scratch.update(|scratch| sample::write(tables, scratch, verdict, 0, place));
        return;
    }
    if !may_sample() {
        return;
    }
    let Some(mut entry) = DROPS.reserve::<Sample>(0) else { return };
    // SAFETY: a helper without pointers.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: any bytes are a sample, and all are written before anybody reads them.
    let place = unsafe { &mut *entry.as_mut_ptr() };
    scratch.update(|scratch| sample::write(tables, scratch, verdict, now, place));
    entry.submit(0);
}

/// Whether somebody wants, or wanted, to know of dropped packets.
#[inline(always)]
pub fn samples() -> bool {
    SAMPLE_UNTIL.get(0).is_some_and(|until| *until != 0)
}

/// Whether somebody wants to know of dropped packets, and this CPU has not told of too many.
#[inline(always)]
fn may_sample() -> bool {
    // SAFETY: a helper without pointers.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    if SAMPLE_UNTIL.get(0).is_none_or(|until| now >= *until) {
        return false;
    }
    let Some(samples) = SAMPLES.get_ptr_mut(0) else { return false };
    // SAFETY: memory of this CPU, which lives as long as the program.
    let [left, then] = unsafe { &mut *samples };
    let milliseconds = now / 1_000_000;
    let all = (*left + (milliseconds - *then)).min(MOST_SAMPLES);
    *then = milliseconds;
    *left = all.saturating_sub(1);
    all != 0
}
