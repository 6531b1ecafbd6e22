//! The memory for the packet at hand, as it may lie there.

use core::mem::MaybeUninit;

use crate::flight::Scratch;

/// Memory full of this byte.
pub(super) fn filled(byte: u8) -> Scratch {
    let mut scratch = MaybeUninit::<Scratch>::uninit();
    // SAFETY: the pointer is valid for writes of one value.
    unsafe { scratch.as_mut_ptr().write_bytes(byte, 1) };
    // SAFETY: every byte is written, and all fields are plain numbers, which any bytes are a value of; the
    // packet path relies on that where the kernel gives it the same memory.
    unsafe { scratch.assume_init() }
}
