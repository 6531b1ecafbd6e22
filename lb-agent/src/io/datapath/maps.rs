//! The open maps.

use aya::Pod;
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray};
use lb_common::layout::guard::Guard;
use lb_common::layout::{
    Backend, Count, Cursor, Listener, ListenerKeyV4, ListenerKeyV6, Load, Settings, Slot, Traffic,
    Vip,
};
use lb_common::{MAX_BACKENDS, MAX_LISTENERS, MAX_SLOTS, filter, map};

use super::error::{OnMap, Result};
use super::firewall::FirewallMaps;
use super::interfaces::Macs;
use super::mapping::Mapping;
use super::pins::Pins;
use super::shape::Geometry;

/// All maps but those of the flow table.
pub(super) struct Maps {
    pub(super) settings: Array<MapData, Settings>,
    pub(super) listeners_v4: HashMap<MapData, ListenerKeyV4, u32>,
    pub(super) listeners_v6: HashMap<MapData, ListenerKeyV6, u32>,
    pub(super) vips_v4: HashMap<MapData, u32, Vip>,
    pub(super) vips_v6: HashMap<MapData, [u32; 4], Vip>,
    pub(super) listeners: Array<MapData, Listener>,
    pub(super) listener_words: Mapping,
    /// A word for each slot.
    pub(super) slots: Mapping,
    pub(super) loads: Mapping,
    pub(super) backends: Array<MapData, Backend>,
    pub(super) guards: Mapping,
    pub(super) backend_words: Mapping,
    pub(super) filter: Mapping,
    pub(super) cursors: Array<MapData, Cursor>,
    pub(super) interfaces: Macs,
    pub(super) verdicts: PerCpuArray<MapData, Count>,
    pub(super) listener_traffic: PerCpuArray<MapData, Traffic>,
    pub(super) backend_traffic: PerCpuArray<MapData, Traffic>,
    pub(super) rule_counts: PerCpuArray<MapData, Count>,
    pub(super) firewall: FirewallMaps,
}

impl Maps {
    /// Opens the pinned maps, whose shapes have been checked.
    pub(super) fn open(pins: &Pins, geometry: Geometry) -> Result<Self> {
        Ok(Self {
            settings: open(pins, map::SETTINGS)?,
            listeners_v4: open(pins, map::LISTENERS_V4)?,
            listeners_v6: open(pins, map::LISTENERS_V6)?,
            vips_v4: open(pins, map::VIPS_V4)?,
            vips_v6: open(pins, map::VIPS_V6)?,
            listeners: open(pins, map::LISTENERS)?,
            listener_words: words::<Listener>(pins, map::LISTENERS, MAX_LISTENERS)?,
            slots: words::<Slot>(pins, map::SLOTS, MAX_SLOTS)?,
            loads: words::<Load>(pins, map::LOADS, MAX_BACKENDS)?,
            backends: open(pins, map::BACKENDS)?,
            guards: words::<Guard>(pins, map::GUARDS, MAX_LISTENERS)?,
            backend_words: words::<Backend>(pins, map::BACKENDS, MAX_BACKENDS)?,
            filter: words::<u64>(pins, map::FILTER, filter::WORDS)?,
            cursors: open(pins, map::CURSORS)?,
            interfaces: Macs::open(pins)?,
            verdicts: open(pins, map::VERDICTS)?,
            listener_traffic: open(pins, map::LISTENER_TRAFFIC)?,
            backend_traffic: open(pins, map::BACKEND_TRAFFIC)?,
            rule_counts: open(pins, map::RULE_COUNTS)?,
            firewall: FirewallMaps::open(pins, geometry.firewall)?,
        })
    }
}

/// Maps a pinned array of these values into memory.
pub(super) fn words<V>(pins: &Pins, name: &'static str, entries: u32) -> Result<Mapping> {
    Mapping::new(&data(pins, name)?, name, entries, size_of::<V>())
}

/// Opens a pinned map.
pub(super) fn data(pins: &Pins, name: &'static str) -> Result<MapData> {
    MapData::from_pin(pins.map(name)).on("open", name)
}

/// Opens a pinned map with the types of its keys and values.
pub(super) fn open<M: TryFrom<Map, Error = MapError>>(
    pins: &Pins,
    name: &'static str,
) -> Result<M> {
    Map::from_map_data(data(pins, name)?).and_then(M::try_from).on("open", name)
}

/// Every entry of a hash map.
pub(super) fn entries<K: Pod, V: Pod>(
    of: &HashMap<MapData, K, V>,
    name: &'static str,
) -> Result<Vec<(K, V)>> {
    of.iter().collect::<Result<_, _>>().on("read", name)
}
