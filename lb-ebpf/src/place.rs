//! Where cells are: the two buckets of a flow, and the positions in them.

use lb_common::layout::CELLS_PER_BUCKET;

use crate::flow::tag_of;

/// Where a cell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub(crate) bucket: u32,
    pub(crate) slot: usize,
}

impl Place {
    /// A position in the two buckets of a flow, one after the other.
    #[inline(always)]
    pub(crate) fn of(hash: u64, mask: u32, position: u64) -> Self {
        let first = first_bucket(hash, mask);
        let bucket = if position < CELLS_PER_BUCKET as u64 {
            first
        } else {
            second_bucket(first, hash, mask)
        };
        Self { bucket, slot: position as usize & (CELLS_PER_BUCKET - 1) }
    }

    /// The place of the cell with this index.
    #[inline(always)]
    pub(crate) fn at(index: u32) -> Self {
        let cells = CELLS_PER_BUCKET as u32;
        Self { bucket: index / cells, slot: (index % cells) as usize }
    }

    /// The position in the two buckets of a flow.
    #[inline(always)]
    pub(crate) fn position(self, hash: u64, mask: u32) -> u64 {
        let half = if self.bucket == first_bucket(hash, mask) { 0 } else { CELLS_PER_BUCKET };
        (half + (self.slot & (CELLS_PER_BUCKET - 1))) as u64
    }

    /// Index of the cell's detail.
    #[inline(always)]
    pub fn index(self) -> u32 {
        self.bucket * CELLS_PER_BUCKET as u32 + (self.slot & (CELLS_PER_BUCKET - 1)) as u32
    }
}

#[inline(always)]
pub(crate) fn first_bucket(hash: u64, mask: u32) -> u32 {
    hash as u32 & mask
}

/// Never the first one, and the second one's second is the first.
#[inline(always)]
pub(crate) fn second_bucket(first: u32, hash: u64, mask: u32) -> u32 {
    let distance = (tag_of(hash) as u32).wrapping_mul(0x9e37_79b1) | 1;
    (first ^ distance) & mask
}
