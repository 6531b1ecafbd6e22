//! The flow table, read and swept in the memory that the packet path uses.
//!
//! Every change is a compare-and-swap from the value read, so that no flow that the packet path touched
//! in between is lost.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::{Array, MapData};
use lb_common::cell::{Cell, State};
use lb_common::layout::{Bucket, Detail, Settings};
use lb_common::{MAX_BACKENDS, map};

use super::error::{OnMap, Result};
use super::mapping::Mapping;
use super::maps::{data, open};
use super::pins::Pins;
use super::shape::Geometry;

/// What a sweep found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowCounts {
    /// Cells of both directions by backend id.
    pub cells: BTreeMap<u32, u64>,
    /// Flows, which are cells from client to backend, by backend id.
    pub flows: BTreeMap<u32, u64>,
    /// All flows.
    pub total: u64,
    /// Cells that the sweep freed because they were idle for too long.
    pub expired: u64,
}

/// One flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowEntry {
    /// Backend id.
    pub backend: u32,
    /// Where it stands.
    pub state: State,
    /// Ticks since its last packet.
    pub idle_ticks: u64,
    /// From the client to the VIP.
    pub detail: Detail,
}

/// The flow table; may be used beside the packet path and from several threads.
pub struct FlowTable {
    cells: Mapping,
    details: Array<MapData, Detail>,
    settings: Array<MapData, Settings>,
}

impl FlowTable {
    pub(super) fn open(pins: &Pins, geometry: Geometry) -> Result<Self> {
        let flows = data(pins, map::FLOWS)?;
        Ok(Self {
            cells: Mapping::new(&flows, map::FLOWS, geometry.buckets, size_of::<Bucket>())?,
            details: open(pins, map::DETAILS)?,
            settings: open(pins, map::SETTINGS)?,
        })
    }

    /// Counts the cells and frees those that were idle for longer than their timeout.
    pub fn sweep(&self, tick: u64) -> Result<FlowCounts> {
        let timeouts = self.settings.get(&0, 0).on("read", map::SETTINGS)?.timeouts;
        Ok(sweep(self.cells.words(), tick, &timeouts))
    }

    /// How many flows match, and at most `limit` of them.
    ///
    /// `is_wanted` is asked with the backend id; `is_detail_of` whether a detail hashes to a tag. A flow
    /// whose detail is being written is counted and not listed.
    pub fn list(
        &self,
        tick: u64,
        limit: usize,
        is_wanted: impl Fn(u32) -> bool,
        is_detail_of: impl Fn(&Detail, u64) -> bool,
    ) -> Result<(u64, Vec<FlowEntry>)> {
        let mut total = 0;
        let mut flows = Vec::new();
        for (index, word) in (0..).zip(self.cells.words()) {
            let cell = Cell(word.load(Ordering::Acquire));
            let Some(state) = cell.state() else { continue };
            if cell.is_reply() || !is_wanted(cell.backend()) {
                continue;
            }
            total += 1;
            if flows.len() < limit {
                let detail = self.details.get(&index, 0).on("read", map::DETAILS)?;
                if is_detail_of(&detail, cell.tag()) {
                    let idle_ticks = idle_ticks(cell, tick);
                    flows.push(FlowEntry { backend: cell.backend(), state, idle_ticks, detail });
                }
            }
        }
        Ok((total, flows))
    }
}

/// The packet path may already count by the next tick; what looks like almost a whole wrap is that.
fn idle_ticks(cell: Cell, tick: u64) -> u64 {
    let ahead = cell.idle_ticks(tick.wrapping_add(1)) == 0;
    if ahead { 0 } else { cell.idle_ticks(tick) }
}

fn sweep(cells: &[AtomicU64], tick: u64, timeouts: &[u16; 8]) -> FlowCounts {
    let ids = usize::try_from(MAX_BACKENDS).unwrap_or(0);
    let (mut all, mut forward) = (vec![0_u64; ids], vec![0_u64; ids]);
    let mut counts = FlowCounts::default();
    for word in cells {
        let cell = Cell(word.load(Ordering::Relaxed));
        if cell.is_empty() {
            continue;
        }
        if is_expired(cell, tick, timeouts) && free(word, cell) {
            counts.expired += 1;
            continue;
        }
        let direction = if cell.is_reply() { None } else { Some(&mut forward) };
        for counter in [Some(&mut all), direction].into_iter().flatten() {
            let id = usize::try_from(cell.backend()).ok();
            if let Some(count) = id.and_then(|id| counter.get_mut(id)) {
                *count += 1;
            }
        }
    }
    counts.total = forward.iter().sum();
    counts.cells = by_id(&all);
    counts.flows = by_id(&forward);
    counts
}

fn is_expired(cell: Cell, tick: u64, timeouts: &[u16; 8]) -> bool {
    idle_ticks(cell, tick) != 0 && cell.is_expired(tick, timeouts)
}

/// False where the packet path was quicker: then the cell is in use.
fn free(word: &AtomicU64, cell: Cell) -> bool {
    word.compare_exchange(cell.0, Cell::EMPTY.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

fn by_id(counts: &[u64]) -> BTreeMap<u32, u64> {
    (0..).zip(counts.iter().copied()).filter(|(_, count)| *count != 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUTS: [u16; 8] = [0, 2, 2, 100, 2, 10, 0, 0];

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
        ]);
        let counts = sweep(&cells, 51, &TIMEOUTS);
        assert_eq!(counts.cells, BTreeMap::from([(7, 2), (9, 1)]));
        assert_eq!(counts.flows, BTreeMap::from([(7, 1), (9, 1)]));
        assert_eq!((counts.total, counts.expired), (2, 0));
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
    fn a_cell_that_changed_after_it_was_read_is_kept() {
        let old = Cell::new(1, 7, 50, State::Udp, false);
        let word = AtomicU64::new(old.seen(99, State::Udp).0);
        assert!(!free(&word, old));
        assert_eq!(word.load(Ordering::Relaxed), old.seen(99, State::Udp).0);
    }
}
