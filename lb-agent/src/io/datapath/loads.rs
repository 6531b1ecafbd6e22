//! What the agent tells the packet path of each backend's load: how many flows the last sweep counted, and
//! whether the backend takes new ones.
//!
//! The latter is a mark, because the packet path asks when a source's affinity names a backend, and a run of
//! slots may be too long to search.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering};

use lb_common::layout::Load;

use super::maps::Maps;

const LOAD_WORDS: usize = size_of::<Load>() / size_of::<u64>();
const CHANGE_WORD: usize = offset_of!(Load, change) / size_of::<u64>();
const TAKES_FLOWS_WORD: usize = offset_of!(Load, takes_flows) / size_of::<u64>();

/// The change of every backend's load, as the packet path has it now.
pub(super) fn changes(loads: &[AtomicU64]) -> Vec<u64> {
    let change =
        |load: &[AtomicU64]| load.get(CHANGE_WORD).map(|word| word.load(Ordering::Relaxed));
    loads.chunks_exact(LOAD_WORDS).filter_map(change).collect()
}

/// Has every backend's load be what was counted, and what the packet path adds to it from now on.
///
/// `before` are the changes when the count began. A count between the load of then and that of now says
/// nothing against them: it has only missed, or met, what happened meanwhile. So a load is exact after a count
/// in which nothing happened, and else off by at most twice the flows that began and ended during the last one.
pub(super) fn set_loads(loads: &[AtomicU64], before: &[u64], counted: &BTreeMap<u32, u64>) {
    let mut counted = counted.iter().peekable();
    for ((id, load), before) in (0..).zip(loads.chunks_exact(LOAD_WORDS)).zip(before) {
        let flows = counted.next_if(|(next, _)| **next == id).map_or(0, |(_, flows)| *flows);
        let [base, change, ..] = load else { continue };
        let (begun, change) = (base.load(Ordering::Relaxed), change.load(Ordering::Relaxed));
        let [then, now] = [*before, change].map(|change| begun.wrapping_add(change).cast_signed());
        if !(then.min(now)..=then.max(now)).contains(&flows.cast_signed()) {
            base.store(flows.wrapping_sub(change), Ordering::Relaxed);
        }
    }
}

impl Maps {
    /// Marks exactly the backends that are in slots, as an agent that was killed may not have done.
    pub(super) fn mark_all_takers(&self) {
        let runs: Vec<_> = self.used_listeners().map(|(_, listener)| listener.run).collect();
        let takers: BTreeSet<u32> = runs.into_iter().flat_map(|run| self.takers(run)).collect();
        for (id, load) in (0..).zip(self.loads.words().chunks_exact(LOAD_WORDS)) {
            if let Some(word) = load.get(TAKES_FLOWS_WORD) {
                word.store(takers.contains(&id).into(), Ordering::Relaxed);
            }
        }
    }

    /// The backends in the slots of a run.
    pub(super) fn takers(&self, run: u64) -> BTreeSet<u32> {
        self.read_run(run).into_iter().map(|slot| slot.backend).collect()
    }

    /// Marks backends as those that take new flows, or that do not.
    pub(super) fn mark_takers<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a u32>,
        takes_flows: bool,
    ) {
        for id in ids {
            let load = usize::try_from(*id).ok().map(|id| id * LOAD_WORDS + TAKES_FLOWS_WORD);
            if let Some(word) = load.and_then(|word| self.loads.words().get(word)) {
                // The word's other half is zero; the packet path reads the lower one.
                word.store(takes_flows.into(), Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One backend's cells while they are counted, and its load.
    struct Counted {
        cells: [bool; CELLS],
        load: [AtomicU64; LOAD_WORDS],
    }

    /// What happens to a cell: its flow begins, ends, or ends without anybody hearing of it.
    #[derive(Clone, Copy, Debug)]
    enum Change {
        Begins,
        Ends,
        Expires,
    }

    const CELLS: usize = 40;

    impl Counted {
        /// Whether anything has changed.
        fn change(&mut self, cell: usize, change: Change) -> bool {
            let begins = matches!(change, Change::Begins);
            if self.cells[cell] == begins {
                return false;
            }
            self.cells[cell] = begins;
            match change {
                Change::Begins => self.load[CHANGE_WORD].fetch_add(1, Ordering::Relaxed),
                Change::Ends => self.load[CHANGE_WORD].fetch_sub(1, Ordering::Relaxed),
                Change::Expires => 0,
            };
            true
        }

        /// Counts cell by cell while all this happens, each before a cell is looked at; returns how much did.
        fn sweep(&mut self, changes: &[(usize, usize, Change)]) -> u64 {
            let before = super::changes(&self.load);
            let (mut counted, mut n_changes) = (0, 0);
            for at in 0..CELLS {
                for (_, cell, change) in changes.iter().filter(|(when, ..)| *when == at) {
                    n_changes += u64::from(self.change(*cell, *change));
                }
                counted += u64::from(self.cells[at]);
            }
            set_loads(&self.load, &before, &BTreeMap::from([(0, counted)]));
            n_changes
        }

        fn error(&self) -> u64 {
            let live = self.cells.iter().filter(|cell| **cell).count();
            flows(&self.load)[0].abs_diff(u64::try_from(live).unwrap())
        }
    }

    fn change() -> impl Strategy<Value = (usize, usize, Change)> {
        let kinds = [Change::Begins, Change::Begins, Change::Ends, Change::Expires];
        (0..CELLS, 0..CELLS, prop::sample::select(kinds.to_vec()))
    }

    proptest! {
        #[test]
        fn a_load_is_exact_after_a_quiet_sweep_and_never_far_off(
            sweeps in prop::collection::vec(prop::collection::vec(change(), 0..30), 1..10),
        ) {
            let load = [0, 0, 0].map(AtomicU64::new);
            let mut counted = Counted { cells: [false; CELLS], load };
            for changes in sweeps {
                let n_changes = counted.sweep(&changes);
                prop_assert!(counted.error() <= 2 * n_changes, "{} of {n_changes}", counted.error());
            }
            counted.sweep(&[]);
            prop_assert_eq!(counted.error(), 0);
        }
    }

    /// The flows of each backend.
    fn flows(words: &[AtomicU64]) -> Vec<u64> {
        let word = |word: &AtomicU64| word.load(Ordering::Relaxed);
        words.chunks_exact(LOAD_WORDS).map(|it| Load::flows(word(&it[0]), word(&it[1]))).collect()
    }

    #[test]
    fn a_load_is_what_was_counted_and_what_came_since() {
        let words = [7, 3, 1, 0, 0, 0, 0, 0_u64.wrapping_sub(2), 0].map(AtomicU64::new);
        set_loads(&words, &changes(&words), &BTreeMap::from([(0, 5)]));
        assert_eq!(flows(&words), [5, 0, 0]);
        words[1].fetch_add(2, Ordering::Relaxed);
        assert_eq!(flows(&words), [7, 0, 0]);
        assert_eq!(words[2].load(Ordering::Relaxed), 1, "the mark stays");
    }

    #[test]
    fn flows_that_begin_while_the_table_is_counted_are_not_lost() {
        let words = [4, 1, 0].map(AtomicU64::new);
        let before = changes(&words);
        words[1].fetch_add(3, Ordering::Relaxed);
        for counted in 5..=8 {
            set_loads(&words, &before, &BTreeMap::from([(0, counted)]));
            assert_eq!(flows(&words), [8], "{counted} counted");
        }
        set_loads(&words, &before, &BTreeMap::from([(0, 4)]));
        assert_eq!(flows(&words), [4], "an end was lost");
    }
}
