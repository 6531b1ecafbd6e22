//! What is remembered of sources, as far as other directors tell of it: each flow that they tell of says where its
//! source is sent to.

use std::sync::{Mutex, PoisonError};

use aya::maps::{HashMap, MapData};
use lb_common::layout::{Affinity, AffinityKey, Listener};
use lb_common::{MAX_LISTENERS, map};
use lb_ebpf::adopt::Told;
use lb_ebpf::draw::affinity_key;
use lb_ebpf::tables::Entry;

use super::error::{OnMap, Result};
use super::mapping::Mapping;
use super::maps::{open, words};
use super::pins::Pins;

/// The sources, and the listeners that want to know of them.
pub(super) struct Sources {
    listeners: Mapping,
    affinities: Mutex<HashMap<MapData, AffinityKey, Affinity>>,
}

impl Sources {
    pub(super) fn open(pins: &Pins) -> Result<Self> {
        Ok(Self {
            listeners: words::<Listener>(pins, map::LISTENERS, MAX_LISTENERS)?,
            affinities: Mutex::new(open(pins, map::AFFINITIES)?),
        })
    }

    /// Notes that the source of a flow, to the listener with this id, is sent to its backend. Whatever was noted
    /// later stays.
    pub(super) fn learn(&self, id: u32, told: &Told, tick: u64) -> Result<()> {
        let listener = self.listeners.entry::<Listener>(id).map(Entry::get);
        let Some(listener) = listener.filter(|listener| listener.affinity_ticks != 0) else {
            return Ok(());
        };
        let key = affinity_key(id, &listener, told.detail.client);
        let age = |of: &Affinity| low(tick).wrapping_add(1).wrapping_sub(of.tick);
        let noted =
            Affinity { backend: told.backend, tick: low(tick.wrapping_sub(told.idle_ticks)) };
        let mut affinities = self.affinities.lock().unwrap_or_else(PoisonError::into_inner);
        if affinities.get(&key, 0).is_ok_and(|known| age(&known) < age(&noted)) {
            return Ok(());
        }
        affinities.insert(key, noted, 0).on("write", map::AFFINITIES)
    }
}

/// The lower half.
fn low(tick: u64) -> u32 {
    u32::try_from(tick & u64::from(u32::MAX)).unwrap_or_default()
}
