//! The agent's part in moving flows to another table: all that no packet asks for.

use std::cell::RefCell;
use std::collections::HashMap;
use std::mem::take;
use std::sync::atomic::Ordering;

use aya::maps::{Array, MapData};
use lb_common::cell::Cell;
use lb_common::layout::{Backend, Bucket, Detail, Settings};
use lb_ebpf::flow::survey_of;
use lb_ebpf::migrate::{Movable, Moved, complete, migrate};
use lb_ebpf::tables::Entry;

use super::flow_table::Half;
use super::sweep::{AT_A_TIME, Round};

/// Flows that are moved in one go at most: one took 1.2 us, so these take 0.6 s of one CPU.
const MOVES_AT_A_TIME: usize = 1 << 19;

/// Both tables, if there are two, and the backends that cells were found to name.
pub(super) struct Moving<'a> {
    new: &'a Half,
    old: Option<&'a Half>,
    settings: &'a Settings,
    backends: &'a Array<MapData, Backend>,
    known: RefCell<HashMap<u32, Option<Backend>>>,
}

impl<'a> Moving<'a> {
    pub(super) fn new(
        new: &'a Half,
        old: Option<&'a Half>,
        settings: &'a Settings,
        backends: &'a Array<MapData, Backend>,
    ) -> Self {
        Self { new, old, settings, backends, known: RefCell::default() }
    }
}

impl Movable for Moving<'_> {
    fn settings(&self) -> Option<&Settings> {
        Some(self.settings)
    }

    fn read_backend<R>(&self, id: u32, read: impl FnOnce(&Backend) -> R) -> Option<R> {
        let mut known = self.known.borrow_mut();
        known.entry(id).or_insert_with(|| self.backends.get(&id, 0).ok()).as_ref().map(read)
    }

    fn bucket(&self, index: u32) -> Option<Entry<Bucket>> {
        self.new.cells.entry(index)
    }

    fn detail(&self, index: u32) -> Option<Entry<Detail>> {
        self.new.details.entry(index)
    }

    fn other_bucket(&self, index: u32) -> Option<Entry<Bucket>> {
        self.old?.cells.entry(index)
    }

    fn other_detail(&self, index: u32) -> Option<Entry<Detail>> {
        self.old?.details.entry(index)
    }

    fn other_is_before(&self) -> bool {
        self.old.is_some_and(|old| old.is_before)
    }

    fn survey(&self, index: u32, tick: u64) -> u64 {
        self.bucket(index).map_or(u64::MAX, |bucket| survey_of(self.settings, bucket, tick))
    }
}

impl Round {
    /// Moves the next cells of the old table; says whether they were the last.
    pub(super) fn move_next(&mut self, moving: &Moving<'_>, tick: u64) -> bool {
        let Some(old) = moving.old else { return true };
        let words = old.cells.words();
        let from = self.moved_to;
        let slice = (0..).zip(words).skip(from).take(AT_A_TIME);
        let mut n_moves = 0;
        for (index, word) in slice {
            if n_moves == MOVES_AT_A_TIME {
                break;
            }
            self.moved_to += 1;
            let cell = old.read(word.load(Ordering::Relaxed));
            let moved = if cell.is_empty() { Moved::Nothing } else { migrate(moving, index, tick) };
            match moved {
                Moved::Nothing => continue,
                Moved::Now => {}
                Moved::Not => {
                    self.tally.count(cell);
                    self.n_left += 1;
                }
            }
            n_moves += 1;
            self.n_old += 1;
        }
        if from == 0 {
            self.complete_moves(moving, tick);
        }
        self.moved_to == words.len()
    }

    /// Completes moves that an agent before this one was killed in, and gives back places that it had taken
    /// and not used: those on which nothing has happened since the last round.
    fn complete_moves(&mut self, moving: &Moving<'_>, tick: u64) {
        let before = take(&mut self.arriving);
        for (index, word) in (0..).zip(moving.new.cells.words()) {
            let cell = word.load(Ordering::Relaxed);
            if !Cell(cell).is_arriving() {
                continue;
            }
            complete(moving, index, tick);
            self.n_old += 1;
            if before.contains(&(index, cell)) {
                word.compare_exchange(cell, 0, Ordering::AcqRel, Ordering::Relaxed).ok();
            }
            self.arriving.push((index, cell));
        }
    }
}
