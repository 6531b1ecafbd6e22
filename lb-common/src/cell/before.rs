//! The layout of cells before this one: an agent of a new version finds it in what the old one has pinned, and
//! moves the flows to a table of its own.
//!
//! ```text
//! 63        39 38          37           36 35           16 15       4     3 2       0
//! | tag (25)  | generation  | translated  | backend (20)  | age (12) | reply | state  |
//! ```
//!
//! A build with the feature `layout-before` has this layout as its own and reads the other one, for the way back
//! to an older version.

use super::{AGE_MASK, AT, BACKEND_MASK, Cell};

/// Version of that layout.
pub const VERSION: u32 = if cfg!(feature = "layout-before") { 7 } else { 6 };

/// Where age and backend of a cell stand: their lowest bits.
#[derive(Clone, Copy)]
pub(super) struct Shifts {
    pub(super) age: u32,
    pub(super) backend: u32,
}

/// In version 6 of the layout.
pub(super) const SIX: Shifts = Shifts { age: 4, backend: 16 };
/// In version 7.
pub(super) const SEVEN: Shifts = Shifts { age: 24, backend: 4 };

const THERE: Shifts = if cfg!(feature = "layout-before") { SEVEN } else { SIX };

/// What a word of that layout says.
#[must_use]
#[inline(always)]
pub const fn read(word: u64) -> Cell {
    Cell(carried(word, THERE, AT))
}

/// The word of that layout that says the same as a cell.
#[must_use]
#[inline(always)]
pub const fn written(cell: Cell) -> u64 {
    carried(cell.0, AT, THERE)
}

/// All else stands where it stood.
#[inline(always)]
const fn carried(word: u64, from: Shifts, to: Shifts) -> u64 {
    const BOTH: u64 = 0xffff_ffff << 4;
    let (age, backend) = ((word >> from.age) & AGE_MASK, (word >> from.backend) & BACKEND_MASK);
    (word & !BOTH) | (age << to.age) | (backend << to.backend)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::State;

    #[test]
    fn a_cell_says_the_same_in_both_layouts() {
        let cell = Cell::new(0x1bc_def1, 0x2_fffe, 0x345, State::HalfClosed, true);
        for cell in [cell, cell.under(2), cell.translated(true), cell.arriving(), cell.gone(13, 9)]
        {
            assert_ne!(written(cell), cell.0);
            assert_eq!(read(written(cell)), cell);
        }
        assert_eq!(read(0), Cell::EMPTY);
    }

    #[cfg(not(feature = "layout-before"))]
    #[test]
    fn a_word_of_layout_6_is_read_as_it_was_written() {
        // tag 5, generation 2, backend 77, age 0x345, a reply, established
        let word = (5 << 39) | (2 << 37) | (77 << 16) | (0x345 << 4) | 8 | 3;
        let cell = Cell::new(5, 77, 0x345, State::Established, true).under(2);
        assert_eq!((VERSION, read(word), written(cell)), (6, cell, word));
    }
}
