//! A frame of known length, as words at fixed places.

use aya_ebpf::programs::XdpContext;

/// A frame of at least `N` bytes.
pub(crate) struct Frame<const N: usize>(*mut u8);

impl<const N: usize> Frame<N> {
    /// The frame of a context; `None` where it is shorter.
    #[inline(always)]
    pub(crate) fn of(context: &XdpContext) -> Option<Self> {
        let (start, end) = (context.data(), context.data_end());
        (start + N <= end).then_some(Self(start as *mut u8))
    }

    /// Reads one word. BPF on x86-64 reads words at odd places too, in one instruction.
    #[inline(always)]
    pub(crate) fn get<T: Copy, const AT: usize>(&self) -> T {
        const { assert!(AT + size_of::<T>() <= N) };
        // SAFETY: within the frame, as was just asserted.
        unsafe { self.0.add(AT).cast::<T>().read_volatile() }
    }

    /// Reads one word at a place that the caller knows to be within the frame.
    ///
    /// # Safety
    ///
    /// The word ends within the first `N` bytes.
    #[inline(always)]
    pub(crate) unsafe fn read<T: Copy>(&self, at: usize) -> T {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(at).cast::<T>().read_volatile() }
    }

    /// Writes one word.
    #[inline(always)]
    pub(crate) fn set<T, const AT: usize>(&self, value: T) {
        const { assert!(AT + size_of::<T>() <= N) };
        // SAFETY: within the frame, as was just asserted.
        unsafe { self.0.add(AT).cast::<T>().write_volatile(value) }
    }

    /// Sends the frame back where it came from.
    #[inline(always)]
    pub(crate) fn swap_macs(&self) {
        let destination: (u32, u16) = (self.get::<_, 0>(), self.get::<_, 4>());
        let source: (u32, u16) = (self.get::<_, 6>(), self.get::<_, 10>());
        self.set::<_, 0>(source.0);
        self.set::<_, 4>(source.1);
        self.set::<_, 6>(destination.0);
        self.set::<_, 10>(destination.1);
    }
}

/// Folds a sum of words and complements it: a checksum.
#[inline(always)]
pub(crate) fn checksum(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}
