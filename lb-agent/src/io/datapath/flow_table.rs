//! The flow table, read and swept in the memory that the packet path uses.

use std::mem::take;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use aya::maps::{Array, MapData};
use lb_common::cell::{Cell, State, before};
use lb_common::layout::{Backend, Bucket, Detail, Load, Settings};
use lb_common::{MAX_BACKENDS, MAX_MARKS, map};
use lb_ebpf::tables::Entry;

use super::error::{OnMap, Result};
use super::hold::Hold;
use super::loads::{changes, set_loads};
use super::mapping::Mapping;
use super::maps::{data, open, words};
use super::moving::Moving;
use super::open_flows::{Count, OpenFlows};
use super::pins::Pins;
use super::program::Other;
use super::sources::Sources;
use super::sweep::{AT_A_TIME, Round, Swept};

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
    pub(super) cells: Half,
    /// The table that flows are moved from, while they are.
    old: Option<Half>,
    /// A word for each run of buckets.
    pub(super) marks: Mapping,
    hold: Hold,
    loads: Mapping,
    open_flows: OpenFlows,
    pub(super) settings: Array<MapData, Settings>,
    pub(super) backends: Array<MapData, Backend>,
    pub(super) sources: Sources,
    round: Mutex<Round>,
}

/// Cells and what they stand for.
pub(super) struct Half {
    pub(super) cells: Mapping,
    pub(super) details: Mapping,
    /// Whether the cells are of the layout before this one.
    pub(super) is_before: bool,
}

impl Half {
    fn open(pins: &Pins) -> Result<Self> {
        let (flows, details) = (data(pins, map::FLOWS)?, data(pins, map::DETAILS)?);
        let entries = |map: &MapData, name| Ok(map.info().on("read", name)?.max_entries());
        let (buckets, cells) = (entries(&flows, map::FLOWS)?, entries(&details, map::DETAILS)?);
        Ok(Self {
            cells: Mapping::new(&flows, map::FLOWS, buckets, size_of::<Bucket>())?,
            details: Mapping::new(&details, map::DETAILS, cells, size_of::<Detail>())?,
            is_before: false,
        })
    }

    /// What a word says.
    pub(super) fn read(&self, word: u64) -> Cell {
        if self.is_before { before::read(word) } else { Cell(word) }
    }

    /// All cells, with their index.
    fn cells(&self) -> impl Iterator<Item = (&Self, u32, Cell)> {
        let words = (0..).zip(self.cells.words());
        words.map(move |(index, word)| (self, index, self.read(word.load(Ordering::Acquire))))
    }
}

impl FlowTable {
    /// Opens the pinned table, and that of `old` to move its flows.
    pub(super) fn open(pins: &Pins, old: Option<Other<'_>>) -> Result<Self> {
        let half = |Other { pins, is_before }| Ok(Half { is_before, ..Half::open(pins)? });
        Ok(Self {
            cells: Half::open(pins)?,
            old: old.map(half).transpose()?,
            marks: words::<u64>(pins, map::MARKS, MAX_MARKS)?,
            hold: Hold::open(pins)?,
            loads: words::<Load>(pins, map::LOADS, MAX_BACKENDS)?,
            open_flows: OpenFlows::of(&data(pins, map::SOURCE_FLOWS)?)?,
            settings: open(pins, map::SETTINGS)?,
            backends: open(pins, map::BACKENDS)?,
            sources: Sources::open(pins)?,
            round: Mutex::default(),
        })
    }

    /// For what others may know of flows that are not in the table.
    #[must_use]
    pub fn hold(&self) -> Hold {
        self.hold.clone()
    }

    /// Counts the next cells and frees those that were idle for longer than their timeout; moves those of the
    /// old table first. When all cells have been looked at it says what was found, and the loads of the backends
    /// are what was counted from then on.
    pub fn sweep(&self, tick: u64) -> Result<Swept> {
        let settings = self.settings.get(&0, 0).on("read", map::SETTINGS)?;
        let mut round = self.round.lock().unwrap_or_else(PoisonError::into_inner);
        if round.loads.is_empty() {
            round.loads = changes(self.loads.words());
            round.open = self.open_flows.begin();
        }
        if self.old.is_some() {
            let moving = Moving::new(&self.cells, self.old.as_ref(), &settings, &self.backends);
            if !round.move_next(&moving, tick) {
                return Ok(Swept::Moved);
            }
        }
        let from = round.swept_to;
        let is_last = round.sweep_next(self.cells.cells.words(), AT_A_TIME, tick, &settings);
        if round.open.is_wanted() {
            self.count_open(from..round.swept_to, &mut round.open, &settings);
        }
        if !is_last {
            return Ok(Swept::Part);
        }
        let before = take(&mut round.loads);
        let open = take(&mut round.open);
        // Flows that are still in the old table have not been counted.
        if round.n_left == 0 {
            self.open_flows.settle(open);
        }
        let counts = round.end(self.old.is_some());
        set_loads(self.loads.words(), &before, &counts.open);
        Ok(Swept::All(counts))
    }

    /// Counts the flows that sources have open in these cells.
    fn count_open(&self, cells: Range<usize>, count: &mut Count, settings: &Settings) {
        let words = (0..).zip(self.cells.cells.words()).take(cells.end).skip(cells.start);
        for (index, word) in words {
            let cell = Cell(word.load(Ordering::Relaxed));
            count.add(&settings.hash_key, cell, || {
                self.cells.details.entry::<Detail>(index).map(Entry::get)
            });
        }
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
        is_detail_of: impl Fn(&Detail, &Backend, u64) -> bool,
    ) -> Result<(u64, Vec<FlowEntry>)> {
        let mut total = 0;
        let mut flows = Vec::new();
        // What moves meanwhile is rather counted twice than not at all.
        for (half, index, cell) in self.old.iter().chain([&self.cells]).flat_map(Half::cells) {
            let Some(state) = cell.state() else { continue };
            let id = cell.backend();
            if cell.is_reply() || cell.is_moving() || !is_wanted(id) {
                continue;
            }
            total += 1;
            if flows.len() < limit
                && let Some(detail) = half.details.entry::<Detail>(index).map(Entry::get)
            {
                let backend = self.backends.get(&id, 0).on("read", map::BACKENDS)?;
                if is_detail_of(&detail, &backend, cell.tag()) {
                    let idle_ticks = idle_ticks(cell, tick);
                    flows.push(FlowEntry { backend: id, state, idle_ticks, detail });
                }
            }
        }
        Ok((total, flows))
    }
}

/// Seen from the next tick, by which the packet path may already count.
fn idle_ticks(cell: Cell, tick: u64) -> u64 {
    cell.idle_ticks(tick.wrapping_add(1)).saturating_sub(1)
}
