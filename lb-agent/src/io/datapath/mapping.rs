//! A kernel map in this process's memory.
//!
//! The packet path on other CPUs writes the same words, so they are only ever touched as atomics.

use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use aya::maps::MapData;
use lb_ebpf::tables::Entry;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use zerocopy::FromBytes;

use super::error::{OnMap, Result};

/// The words of an array map, mapped for reading and writing until dropped.
#[derive(Debug)]
pub(super) struct Mapping(NonNull<[AtomicU64]>);

// SAFETY: the pointer is owned by this value, and what it points to is only lent as shared atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above: atomics may be used from any thread.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `entries` values of `size` bytes; `size` is a multiple of eight.
    pub(super) fn new(
        map: &MapData,
        name: &'static str,
        entries: u32,
        size: usize,
    ) -> Result<Self> {
        let length = usize::try_from(entries).ok().and_then(|entries| entries.checked_mul(size));
        let length = length.and_then(NonZeroUsize::new).ok_or("it is empty").on("map", name)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: the kernel chooses the place, so no memory in use is replaced.
        let place =
            unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, map.fd().as_fd(), 0) };
        let words = length.get() / size_of::<AtomicU64>();
        Ok(Self(NonNull::slice_from_raw_parts(place.on("map", name)?.cast(), words)))
    }

    /// An entry of the map, as the packet path uses it. `T` is what the map's entries are.
    pub(super) fn entry<T: FromBytes + Copy>(&self, index: u32) -> Option<Entry<T>> {
        let words = size_of::<T>() / size_of::<AtomicU64>();
        let start = usize::try_from(index).ok()?.checked_mul(words)?;
        let words = self.words().get(start..start.checked_add(words)?)?;
        // SAFETY: the memory is mapped for writing, aligned for words, long enough for a `T`, which any bytes
        // are, and lives as long as `self`. Others write it at the same time, as they do under the packet
        // path: cells are swapped, and what is read of a detail is compared with its cell.
        Some(unsafe { Entry::new(words.as_ptr().cast::<T>().cast_mut()) })
    }

    /// The words, in the order of the map's entries.
    pub(super) fn words(&self) -> &[AtomicU64] {
        // SAFETY: `new` mapped this many words, page-aligned, for as long as `self` lives; the kernel
        // fills them with zeros, and every user, the packet path included, treats them as atomics.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let length = self.0.len() * size_of::<AtomicU64>();
        // SAFETY: the memory was mapped by `new`, and no borrow of it outlives `self`.
        let unmapped = unsafe { munmap(self.0.cast(), length) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}
