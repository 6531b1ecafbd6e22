//! The scan of the flow table that counts flows and frees those that are idle.
//!
//! Every change is a compare-and-swap from the value read, so that no flow that the packet path touched
//! in between is lost. The scan reads every cell every second, so its cost counts: a table for 1,048,576
//! flows, half full, took 4.5 ms on a virtual machine, one for 16,777,216 took 215 ms. Large
//! tables are swept in several goes, one after the other: between them an agent that is stopped can end.

use std::collections::BTreeMap;
use std::mem::{replace, take};
use std::sync::atomic::{AtomicU64, Ordering};

use lb_common::MAX_BACKENDS;
use lb_common::cell::{Cell, State};
use lb_common::layout::Settings;

use super::open_flows::Count as OpenCount;

/// What one go of a sweep led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Swept {
    /// Flows of an old table were moved, and there are more.
    Moved,
    /// Some of the cells were looked at; the next are to follow at once.
    Part,
    /// All were.
    All(FlowCounts),
}

impl Swept {
    /// What was found, if all cells have been looked at.
    pub fn counts(self) -> Option<FlowCounts> {
        match self {
            Self::Moved | Self::Part => None,
            Self::All(counts) => Some(counts),
        }
    }
}

/// What a sweep found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowCounts {
    /// Cells of both directions by backend id.
    pub cells: BTreeMap<u32, u64>,
    /// Flows, which are cells from client to backend, by backend id.
    pub flows: BTreeMap<u32, u64>,
    /// Flows that are not closing, by backend id.
    pub open: BTreeMap<u32, u64>,
    /// All flows.
    pub total: u64,
    /// Cells that the sweep freed because they were idle for too long.
    pub expired: u64,
    /// Cells that were found in the old table, while flows move to another.
    pub old: Option<u64>,
}

#[expect(clippy::as_conversions, reason = "`From` is not const")]
const CLOSING: u64 = State::Closing as u64;

/// Cells that are looked at together.
const STRETCH: usize = 256;

/// Cells that are looked at in one go: those of 4,194,304 flows, which took 55 ms.
pub(super) const AT_A_TIME: usize = 1 << 24;

/// A sweep under way. Large tables take several goes.
#[derive(Default)]
pub(super) struct Round {
    /// Cells of the old table that have been looked at, while flows move.
    pub(super) moved_to: usize,
    /// Flows that were found there, and those of them that could not be moved.
    pub(super) n_old: u64,
    pub(super) n_left: u64,
    /// Cells that flows were arriving at, by index.
    pub(super) arriving: Vec<(u32, u64)>,
    /// The changes of the backends' loads when it began.
    pub(super) loads: Vec<u64>,
    /// How many flows each source has open, where somebody asks.
    pub(super) open: OpenCount,
    pub(super) tally: Tally,
    /// Cells that have been looked at.
    pub(super) swept_to: usize,
    expired: u64,
}

impl Round {
    /// Counts the next cells, `n_cells` at most, and frees those that were idle for longer than their timeout;
    /// says whether they were the last.
    pub(super) fn sweep_next(
        &mut self,
        cells: &[AtomicU64],
        n_cells: usize,
        tick: u64,
        settings: &Settings,
    ) -> bool {
        let end = cells.len().min(self.swept_to + n_cells);
        let next = cells.get(self.swept_to..end).unwrap_or_default();
        let expiry = Expiry::at(tick, &settings.timeouts);
        let mut place = [0; STRETCH];
        for stretch in next.chunks(STRETCH) {
            let mut used = in_use(stretch, &mut place);
            if used.iter().any(|cell| expiry.is_over(Cell(*cell))) {
                self.expired += free_expired(stretch, &expiry);
                used = in_use(stretch, &mut place);
            }
            if used.iter().any(|cell| is_outdated(Cell(*cell), settings.generation)) {
                forget_generations(stretch, settings.generation);
            }
            for cell in used {
                self.tally.count(Cell(*cell));
            }
        }
        self.swept_to = end;
        end == cells.len()
    }

    /// What was found; another round begins.
    pub(super) fn end(&mut self, is_moving: bool) -> FlowCounts {
        let arriving = take(&mut self.arriving);
        let round = replace(self, Self { arriving, ..Self::default() });
        let old = is_moving.then_some(round.n_old);
        FlowCounts { expired: round.expired, old, ..round.tally.counts() }
    }
}

/// The cells of a stretch that are not empty.
///
/// There is no branch to guess: in a table half full it would be guessed wrong every other time, and
/// that took five times as long as all else.
fn in_use<'a>(stretch: &[AtomicU64], place: &'a mut [u64; STRETCH]) -> &'a [u64] {
    let mut n_used = 0;
    for word in stretch {
        let cell = word.load(Ordering::Relaxed);
        if let Some(next) = place.get_mut(n_used) {
            *next = cell;
        }
        n_used += usize::from(cell != Cell::EMPTY.0);
    }
    place.get(..n_used).unwrap_or_default()
}

/// When a cell was idle for too long. Seen from the next tick, for the packet path may already be there.
struct Expiry {
    next_tick: u64,
    longest: [u64; 8],
}

impl Expiry {
    fn at(tick: u64, timeouts: &[u16; 8]) -> Self {
        let longest = timeouts.map(|timeout| u64::from(timeout) + 1);
        Self { next_tick: tick.wrapping_add(1), longest }
    }

    fn is_over(&self, cell: Cell) -> bool {
        let state = usize::try_from(cell.state_number()).ok();
        let longest = state.and_then(|state| self.longest.get(state));
        longest.is_some_and(|longest| cell.idle_ticks(self.next_tick) > *longest)
    }
}

fn free_expired(stretch: &[AtomicU64], expiry: &Expiry) -> u64 {
    let mut freed = 0;
    for word in stretch {
        let cell = Cell(word.load(Ordering::Relaxed));
        if !cell.is_empty() && expiry.is_over(cell) && free(word, cell) {
            freed += 1;
        }
    }
    freed
}

/// Whether the rules that accepted a flow are not those of now.
fn is_outdated(cell: Cell, generation: u16) -> bool {
    cell.generation() != generation && cell.generation() != 0 && !cell.is_moving()
}

/// Makes flows that other rules accepted flows of none, before the number of those rules is used again. Where the
/// packet path was quicker, it has given the cell the generation of now.
fn forget_generations(stretch: &[AtomicU64], generation: u16) {
    for word in stretch {
        let cell = Cell(word.load(Ordering::Relaxed));
        if is_outdated(cell, generation) {
            let (old, new) = (cell.0, cell.under(0).0);
            word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).ok();
        }
    }
}

/// False where the packet path was quicker: then the cell is in use.
fn free(word: &AtomicU64, cell: Cell) -> bool {
    word.compare_exchange(cell.0, Cell::EMPTY.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

/// Counts by backend id, of which a map has room for fewer than 2^32.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    cells: u32,
    flows: u32,
    closing: u32,
}

pub(super) struct Tally(Vec<Count>);

impl Default for Tally {
    fn default() -> Self {
        Self(vec![Count::default(); usize::try_from(MAX_BACKENDS).unwrap_or(0)])
    }
}

impl Tally {
    pub(super) fn count(&mut self, cell: Cell) {
        let id = usize::try_from(cell.backend()).ok();
        if let Some(count) = id.and_then(|id| self.0.get_mut(id)) {
            let is_flow = !cell.is_reply();
            let is_closing = is_flow & (cell.state_number() == CLOSING);
            count.cells += 1;
            count.flows += u32::from(is_flow);
            count.closing += u32::from(is_closing);
        }
    }

    fn counts(&self) -> FlowCounts {
        let used = (0..).zip(&self.0).filter(|(_, count)| count.cells > 0);
        let flows = used.clone().filter(|(_, count)| count.flows > 0);
        let open = flows.clone().map(|(id, count)| (id, u64::from(count.flows - count.closing)));
        let flows = flows.map(|(id, count)| (id, u64::from(count.flows)));
        FlowCounts {
            cells: used.map(|(id, count)| (id, u64::from(count.cells))).collect(),
            open: open.filter(|(_, open)| *open > 0).collect(),
            total: flows.clone().map(|(_, flows)| flows).sum(),
            flows: flows.collect(),
            expired: 0,
            old: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use lb_common::cell::State;
    use zerocopy::FromZeros;

    use super::*;

    const TIMEOUTS: [u16; 8] = [0, 2, 2, 100, 100, 2, 10, 0];

    fn settings(timeouts: &[u16; 8], generation: u16) -> Settings {
        Settings { timeouts: *timeouts, generation, ..Settings::new_zeroed() }
    }

    fn sweep(cells: &[AtomicU64], tick: u64, timeouts: &[u16; 8]) -> FlowCounts {
        let mut round = Round::default();
        assert!(round.sweep_next(cells, AT_A_TIME, tick, &settings(timeouts, 0)));
        round.end(false)
    }

    fn table(cells: &[Cell]) -> Vec<AtomicU64> {
        cells.iter().map(|cell| AtomicU64::new(cell.0)).collect()
    }

    #[test]
    fn cells_are_counted_by_backend_and_direction() {
        let cells = table(&[
            Cell::EMPTY,
            Cell::new(1, 7, 50, State::Established, false),
            Cell::new(2, 7, 50, State::Established, true),
            Cell::new(3, 9, 50, State::Udp, false),
            Cell::new(4, 7, 50, State::Closing, false),
            Cell::new(4, 8, 50, State::Closing, false),
        ]);
        let counts = sweep(&cells, 51, &TIMEOUTS);
        assert_eq!(counts.cells, BTreeMap::from([(7, 3), (8, 1), (9, 1)]));
        assert_eq!(counts.flows, BTreeMap::from([(7, 2), (8, 1), (9, 1)]));
        assert_eq!(counts.open, BTreeMap::from([(7, 1), (9, 1)]));
        assert_eq!((counts.total, counts.expired), (4, 0));
    }

    #[test]
    fn an_idle_flow_is_freed_after_the_timeout_of_its_state() {
        let open = Cell::new(1, 7, 50, State::Established, false);
        let cells = table(&[open, Cell::new(2, 7, 50, State::Udp, false)]);
        assert_eq!(sweep(&cells, 60, &TIMEOUTS).expired, 0);
        let counts = sweep(&cells, 61, &TIMEOUTS);
        assert_eq!((counts.expired, counts.total), (1, 1));
        assert_eq!(cells[0].load(Ordering::Relaxed), open.0);
        assert_eq!(cells[1].load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_flow_seen_in_the_next_tick_is_not_idle() {
        let cells = table(&[Cell::new(1, 7, 51, State::Syn, false)]);
        assert_eq!(sweep(&cells, 50, &TIMEOUTS).expired, 0);
    }

    #[test]
    fn the_sweep_frees_what_the_packet_path_takes_for_expired() {
        for (tick, state) in (0..5_000).zip([State::Syn, State::Udp].into_iter().cycle()) {
            let cell = Cell::new(1, 7, 100, state, false);
            let ahead = cell.idle_ticks(tick + 1) == 0;
            let expected = !ahead && cell.is_expired(tick, &TIMEOUTS);
            assert_eq!(Expiry::at(tick, &TIMEOUTS).is_over(cell), expected, "at {tick}");
        }
    }

    #[test]
    fn a_table_of_many_stretches_is_counted_to_the_last_cell() {
        let cell = |number: u64| match number % 4 {
            0 => Cell::new(number, 7, 50, State::Established, false),
            1 => Cell::new(number, 7, 50, State::Established, true),
            2 => Cell::new(number, 9, 30, State::Udp, false),
            _ => Cell::EMPTY,
        };
        let cells: Vec<Cell> = (0..4 * 1_001).map(cell).collect();
        let cells = table(&cells);
        let counts = sweep(&cells, 50, &TIMEOUTS);
        assert_eq!((counts.cells, counts.flows), ([(7, 2_002)].into(), [(7, 1_001)].into()));
        assert_eq!((counts.total, counts.expired), (1_001, 1_001));
        assert_eq!(sweep(&cells, 50, &TIMEOUTS).expired, 0);
    }

    #[test]
    fn a_sweep_in_several_goes_finds_what_one_finds() {
        let cells: Vec<_> =
            (0..2_500).map(|number| Cell::new(number, 7, 50, State::Established, false)).collect();
        let cells = table(&cells);
        let mut round = Round::default();
        let mut go = || round.sweep_next(&cells, 1_000, 51, &settings(&TIMEOUTS, 0));
        assert_eq!([go(), go(), go()], [false, false, true]);
        assert_eq!(round.end(true), FlowCounts { old: Some(0), ..sweep(&cells, 51, &TIMEOUTS) });
        assert_eq!(round.end(false), FlowCounts::default(), "another round begins");
    }

    #[test]
    fn a_cell_that_changed_after_it_was_read_is_kept() {
        let old = Cell::new(1, 7, 50, State::Udp, false);
        let word = AtomicU64::new(old.seen(99, State::Udp).0);
        assert!(!free(&word, old));
        assert_eq!(word.load(Ordering::Relaxed), old.seen(99, State::Udp).0);
    }

    #[test]
    fn a_sweep_leaves_no_generation_but_that_in_use_and_none_on_the_way_to_another_table() {
        let flow = |generation| Cell::new(9, 7, 50, State::Udp, false).under(generation);
        let moving = flow(3).arriving();
        let cells = table(&[flow(1), flow(2), moving, flow(0), flow(3)]);
        let mut round = Round::default();
        assert!(round.sweep_next(&cells, AT_A_TIME, 51, &settings(&TIMEOUTS, 2)));
        let left: Vec<u64> = cells.iter().map(|cell| cell.load(Ordering::Relaxed)).collect();
        assert_eq!(left, [flow(0), flow(2), moving, flow(0), flow(0)].map(|cell| cell.0));
    }
}
