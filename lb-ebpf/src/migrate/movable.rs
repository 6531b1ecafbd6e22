//! What a move needs of the maps: those of the packet path, or the agent's view of them.

use lb_common::cell::{Cell, before};
use lb_common::layout::{Backend, Bucket, Detail, Settings};

use super::{hand_over, old_position, other_hash, reserve};
use crate::tables::{Entry, Tables};

/// What a move needs of the maps: the packet path's, or the agent's view of them.
pub trait Movable: Sized {
    /// What is the same for all packets.
    fn settings(&self) -> Option<&Settings>;
    /// Reads a backend.
    fn read_backend<R>(&self, id: u32, read: impl FnOnce(&Backend) -> R) -> Option<R>;
    /// A bucket of the table that flows move to.
    fn bucket(&self, index: u32) -> Option<Entry<Bucket>>;
    /// The detail of a cell there.
    fn detail(&self, index: u32) -> Option<Entry<Detail>>;
    /// A bucket of the table that flows come from.
    fn other_bucket(&self, index: u32) -> Option<Entry<Bucket>>;
    /// The detail of a cell there.
    fn other_detail(&self, index: u32) -> Option<Entry<Detail>>;
    /// Whether its cells are of the layout before this one.
    fn other_is_before(&self) -> bool {
        false
    }
    /// [`crate::flow::survey`] of a bucket of the first.
    fn survey(&self, index: u32, tick: u64) -> u64;
    /// [`super::old_position`], which the kernel's maps make a function of that is verified on its own.
    fn old_position(&self, hash: u64) -> u64 {
        old_position(self, hash)
    }
    /// [`super::reserve`], likewise.
    fn reserve(&self, hash: u64, old: u64, tick: u64) -> u64 {
        reserve(self, hash, old, tick)
    }
    /// [`super::hand_over`], likewise.
    fn hand_over(&self, hash: u64, old: u64, new: u64, tick: u64) -> u64 {
        hand_over(self, hash, old, new, tick)
    }
    /// [`super::other_hash`], likewise.
    fn other_hash(&self, index: u32, cell: Cell) -> u64 {
        other_hash(self, index, cell)
    }
}

impl<T: Tables> Movable for T {
    #[inline(always)]
    fn settings(&self) -> Option<&Settings> {
        Tables::settings(self)
    }

    #[inline(always)]
    fn read_backend<R>(&self, id: u32, read: impl FnOnce(&Backend) -> R) -> Option<R> {
        Tables::backend(self, id).map(read)
    }

    #[inline(always)]
    fn bucket(&self, index: u32) -> Option<Entry<Bucket>> {
        Tables::bucket(self, index)
    }

    #[inline(always)]
    fn detail(&self, index: u32) -> Option<Entry<Detail>> {
        Tables::detail(self, index)
    }

    #[inline(always)]
    fn other_bucket(&self, index: u32) -> Option<Entry<Bucket>> {
        Tables::other_bucket(self, index)
    }

    #[inline(always)]
    fn other_detail(&self, index: u32) -> Option<Entry<Detail>> {
        Tables::other_detail(self, index)
    }

    #[inline(always)]
    fn other_is_before(&self) -> bool {
        Tables::other_is_before(self)
    }

    #[inline(always)]
    fn survey(&self, index: u32, tick: u64) -> u64 {
        Tables::survey(self, index, tick)
    }

    #[inline(always)]
    fn old_position(&self, hash: u64) -> u64 {
        Tables::old_position(self, hash)
    }

    #[inline(always)]
    fn reserve(&self, hash: u64, old: u64, tick: u64) -> u64 {
        Tables::reserve(self, hash, old, tick)
    }

    #[inline(always)]
    fn hand_over(&self, hash: u64, old: u64, new: u64, tick: u64) -> u64 {
        Tables::hand_over(self, hash, old, new, tick)
    }

    #[inline(always)]
    fn other_hash(&self, index: u32, cell: Cell) -> u64 {
        Tables::other_hash(self, index, cell)
    }
}

/// A cell of the other table, whatever the layout of that.
#[inline(always)]
pub(super) fn load_other<M: Movable>(maps: &M, bucket: Entry<Bucket>, slot: usize) -> Cell {
    let word = bucket.load(slot);
    if maps.other_is_before() { before::read(word) } else { Cell(word) }
}

/// Writes a cell of the other table if it still holds `old`; says whether it did.
#[inline(always)]
pub(super) fn swap_other<M: Movable>(
    maps: &M,
    bucket: Entry<Bucket>,
    slot: usize,
    old: Cell,
    new: Cell,
) -> bool {
    if maps.other_is_before() {
        bucket.swap(slot, before::written(old), before::written(new))
    } else {
        bucket.swap(slot, old.0, new.0)
    }
}
