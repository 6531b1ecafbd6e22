//! The flow table, read and swept in the memory that the packet path uses.

use std::sync::atomic::Ordering;

use aya::maps::{Array, MapData};
use lb_common::cell::{Cell, State};
use lb_common::layout::{Backend, Bucket, Detail, Load, Settings};
use lb_common::{MAX_BACKENDS, map};

use super::error::{OnMap, Result};
use super::loads::{changes, set_loads};
use super::mapping::Mapping;
use super::maps::{open, words};
use super::pins::Pins;
use super::shape::Geometry;
use super::sweep::{FlowCounts, sweep};

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
    loads: Mapping,
    details: Array<MapData, Detail>,
    settings: Array<MapData, Settings>,
    backends: Array<MapData, Backend>,
}

impl FlowTable {
    pub(super) fn open(pins: &Pins, geometry: Geometry) -> Result<Self> {
        Ok(Self {
            cells: words::<Bucket>(pins, map::FLOWS, geometry.buckets)?,
            loads: words::<Load>(pins, map::LOADS, MAX_BACKENDS)?,
            details: open(pins, map::DETAILS)?,
            settings: open(pins, map::SETTINGS)?,
            backends: open(pins, map::BACKENDS)?,
        })
    }

    /// Counts the cells and frees those that were idle for longer than their timeout; the loads of the
    /// backends are what was counted from then on.
    pub fn sweep(&self, tick: u64) -> Result<FlowCounts> {
        let timeouts = self.settings.get(&0, 0).on("read", map::SETTINGS)?.timeouts;
        let before = changes(self.loads.words());
        let counts = sweep(self.cells.words(), tick, &timeouts);
        set_loads(self.loads.words(), &before, &counts.open);
        Ok(counts)
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
        for (index, word) in (0..).zip(self.cells.words()) {
            let cell = Cell(word.load(Ordering::Acquire));
            let Some(state) = cell.state() else { continue };
            if cell.is_reply() || !is_wanted(cell.backend()) {
                continue;
            }
            total += 1;
            if flows.len() < limit {
                let detail = self.details.get(&index, 0).on("read", map::DETAILS)?;
                let backend = self.backends.get(&cell.backend(), 0).on("read", map::BACKENDS)?;
                if is_detail_of(&detail, &backend, cell.tag()) {
                    let idle_ticks = idle_ticks(cell, tick);
                    flows.push(FlowEntry { backend: cell.backend(), state, idle_ticks, detail });
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
