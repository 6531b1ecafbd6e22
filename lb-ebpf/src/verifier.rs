//! Arithmetic whose result the compiler may not reason about, but the kernel's verifier does.
//!
//! The verifier follows registers. Where the compiler computes a value twice, once for the check and once for
//! the use, or unrolls a loop, the verifier loses the proof or the program outgrows BPF's stack. On BPF each
//! function here is one instruction; on the host it is plain arithmetic.

use lb_common::layout::firewall::{MAX_RULES as MOST_ENTRIES, PAGE};

/// `pointer + offset`, in one register.
#[inline(always)]
#[cfg(target_arch = "bpf")]
pub(crate) fn advance(pointer: *mut u8, offset: usize) -> *mut u8 {
    let mut pointer = pointer;
    // SAFETY: one addition.
    unsafe {
        core::arch::asm!("{0} += {1}", inout(reg) pointer, in(reg) offset, options(pure, nomem, nostack));
    }
    pointer
}

/// `pointer + offset`.
#[inline(always)]
#[cfg(not(target_arch = "bpf"))]
pub(crate) fn advance(pointer: *mut u8, offset: usize) -> *mut u8 {
    pointer.wrapping_add(offset)
}

/// `number & MASK`, with a bound that the verifier sees.
#[inline(always)]
#[cfg(target_arch = "bpf")]
pub(crate) fn masked<const MASK: usize>(number: usize) -> usize {
    let mut number = number;
    // SAFETY: one instruction.
    unsafe {
        core::arch::asm!("{0} &= {1}", inout(reg) number, const MASK, options(pure, nomem, nostack));
    }
    number
}

/// `number & MASK`.
#[inline(always)]
#[cfg(not(target_arch = "bpf"))]
pub(crate) fn masked<const MASK: usize>(number: usize) -> usize {
    number & MASK
}

/// The entry of an array whose length is a power of two; only the bits of `index` below it count.
#[inline(always)]
pub(crate) fn at<T: Copy, const N: usize>(array: &[T; N], index: usize) -> T {
    const { assert!(N == MOST_ENTRIES || N == PAGE || N == 8 || N == 32) };
    let index = match N {
        8 => masked::<7>(index),
        32 => masked::<31>(index),
        PAGE => masked::<{ PAGE - 1 }>(index),
        _ => masked::<{ MOST_ENTRIES - 1 }>(index),
    };
    // SAFETY: the index is masked to what is below the array's length.
    unsafe { *array.as_ptr().wrapping_add(index) }
}

/// Makes the compiler take what `value` points to for read and written here: by a function that reaches it by
/// another pointer.
#[inline(always)]
#[cfg(target_arch = "bpf")]
pub fn hand_over<T>(value: &mut T) {
    // SAFETY: an instruction without effect; the memory may be touched, since it is valid for writes.
    unsafe { core::arch::asm!("{0} = {0}", in(reg) core::ptr::from_mut(value), options(nostack)) };
}

/// The number, by way of memory: to the verifier it is then any number, however it was worked out.
#[inline(always)]
pub(crate) fn by_memory(memory: &mut u64, number: u64) -> u64 {
    let memory = core::ptr::from_mut(memory);
    // SAFETY: the pointer comes from a reference.
    unsafe { memory.write_volatile(number) };
    // SAFETY: as above.
    unsafe { memory.read_volatile() }
}

/// The number, which is needed here: it is worked out now, and the compiler keeps nothing that it is made of. Where
/// nothing needs an argument, it would leave what that is to chance, which the verifier refuses.
#[inline(always)]
#[cfg(target_arch = "bpf")]
pub fn needed(number: u64) -> u64 {
    let mut number = number;
    // SAFETY: one instruction.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) number, options(nomem, nostack)) };
    number
}

/// The number.
#[inline(always)]
#[cfg(not(target_arch = "bpf"))]
pub fn needed(number: u64) -> u64 {
    number
}

/// The numbers from 0 to `end`, in a loop that stays a loop.
#[inline(always)]
pub fn rolled(end: usize) -> impl Iterator<Item = usize> {
    core::iter::successors(Some(zero()), |number| Some(next(*number)))
        .take_while(move |number| *number < end)
}

#[inline(always)]
#[cfg(target_arch = "bpf")]
fn zero() -> usize {
    let number;
    // SAFETY: one instruction.
    unsafe {
        core::arch::asm!("{0} = 0", out(reg) number, options(pure, nomem, nostack));
    }
    number
}

#[inline(always)]
#[cfg(not(target_arch = "bpf"))]
fn zero() -> usize {
    0
}

#[inline(always)]
#[cfg(target_arch = "bpf")]
fn next(number: usize) -> usize {
    let mut number = number;
    // SAFETY: one instruction.
    unsafe {
        core::arch::asm!("{0} += 1", inout(reg) number, options(pure, nomem, nostack));
    }
    number
}

#[inline(always)]
#[cfg(not(target_arch = "bpf"))]
fn next(number: usize) -> usize {
    number + 1
}
