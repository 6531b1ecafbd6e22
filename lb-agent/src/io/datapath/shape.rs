//! What each map must look like, and whether pinned maps do.
//!
//! The library that loads the object takes a pinned map of that name as it is, so this is the only thing
//! that keeps an agent from misreading the maps of another version.

use std::fmt;
use std::path::Path;

use aya::maps::{Array, Map, MapData, MapInfo, MapType};
use lb_common::layout::firewall::{
    ASKED_WORDS, BIT_PLANES, BIT_WORDS, Firewall, Front, KINDS, LinkKey, LongBucket, MAX_LINKS,
    MAX_NODES, MAX_ROWS, MAX_RULE_COUNTS, MAX_RULES, Node, OUTCOME_PAGES, PAGE, PORT_PAGES,
    ROOT_PAGES, Row, SERVICE_PAGES,
};
use lb_common::layout::guard::Guard;
use lb_common::layout::limit::{Limit, MAX_LIMITS, RULE_BUCKETS, SOURCE_BUCKETS, SOURCE_MASKS};
use lb_common::layout::{
    Affinity, AffinityKey, Backend, Bucket, CELLS_PER_BUCKET, Count, Cursor, Detail, FragmentKey,
    FragmentWay, Interface, Listener, ListenerKeyV4, ListenerKeyV6, Load, Settings, Slot, Traffic,
    Vip,
};
use lb_common::verdict::MAX_VERDICTS;
use lb_common::{
    DROPS_BYTES, INTERFACE_PLACES, LAYOUT_VERSION, MAX_AFFINITIES, MAX_BACKENDS, MAX_FRAGMENTED,
    MAX_LISTENERS, MAX_MARKS, MAX_SLOTS, MAX_VIPS, filter, map,
};

use super::error::{DatapathError, OnMap, Result};
use super::pins::Pins;
use crate::model::firewall::compile::Size;

/// `BPF_F_NO_PREALLOC` in linux/bpf.h.
const NO_PREALLOC: u32 = 1;
/// `BPF_F_MMAPABLE` in linux/bpf.h.
const MMAPABLE: u32 = 1 << 10;

/// The sizes of the flow table and of the firewall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) buckets: u32,
    pub(super) cells: u32,
    pub(super) firewall: Size,
}

impl Geometry {
    /// A NAT flow takes two cells, and cells number at least twice that.
    pub(super) fn for_flows(max_flows: u32, firewall: Size) -> Result<Self> {
        let cells_per_bucket = u32::try_from(CELLS_PER_BUCKET).unwrap_or(u32::MAX);
        max_flows
            .max(cells_per_bucket)
            .checked_mul(4)
            .and_then(u32::checked_next_power_of_two)
            .map(|cells| Self { buckets: cells / cells_per_bucket, cells, firewall })
            .ok_or(DatapathError::TooManyFlows { max_flows })
    }

    /// That of the pinned flow table, if there is one.
    pub(super) fn pinned(pins: &Pins) -> Result<Option<Self>> {
        let path = pins.map(map::FLOWS);
        if !path.exists() {
            return Ok(None);
        }
        let buckets = Shape::read(&path, map::FLOWS)?.entries;
        let cells = u32::try_from(CELLS_PER_BUCKET).ok().and_then(|n| buckets.checked_mul(n));
        let cells = cells.filter(|_| buckets.is_power_of_two());
        let firewall = pinned_firewall(pins)?.unwrap_or_else(Size::none);
        Ok(cells.map(|cells| Self { buckets, cells, firewall }))
    }

    /// The bits of a hash that name a bucket.
    pub(super) fn mask(self) -> u32 {
        self.buckets.saturating_sub(1)
    }
}

/// The size of the pinned firewall, if there is one.
fn pinned_firewall(pins: &Pins) -> Result<Option<Size>> {
    let names = [map::FIREWALL_FRONTS, map::FIREWALL_CELLS, map::FIREWALL_LONG];
    if !names.iter().all(|name| pins.map(name).exists()) {
        return Ok(None);
    }
    let half = |name| Ok(Shape::read(&pins.map(name), name)?.entries / 2);
    let [fronts, cells, long] = names;
    Ok(Some(Size { chunks: half(fronts)?, cell_buckets: half(cells)?, long_buckets: half(long)? }))
}

/// What the kernel knows of a map.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Shape {
    kind: MapType,
    key: u32,
    value: u32,
    entries: u32,
    flags: u32,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, key, value, entries, flags } = self;
        write!(
            f,
            "{entries} entries of {kind:?} with keys of {key}, values of {value} bytes, flags {flags:#x}"
        )
    }
}

impl Shape {
    fn array<V>(entries: u32, flags: u32) -> Self {
        Self { kind: MapType::Array, key: 4, value: size::<V>(), entries, flags }
    }

    fn per_cpu<V>(entries: u32) -> Self {
        Self { kind: MapType::PerCpuArray, ..Self::array::<V>(entries, 0) }
    }

    fn hash<K, V>(entries: u32, flags: u32) -> Self {
        Self { kind: MapType::Hash, key: size::<K>(), ..Self::array::<V>(entries, flags) }
    }

    fn lru<K, V>(entries: u32) -> Self {
        Self { kind: MapType::LruHash, ..Self::hash::<K, V>(entries, 0) }
    }

    /// Memory, as the kernel reckons it (`map_mem_usage` in kernel/bpf/arraymap.c and hashtab.c), with an element's
    /// head of 48 bytes (`htab_elem`), buckets of 16, and a pointer to what lies on each CPU.
    fn bytes(&self, n_cpus: u64) -> u64 {
        let entries = u64::from(self.entries);
        let [key, value] = [self.key, self.value].map(|size| u64::from(size).next_multiple_of(8));
        if matches!(self.kind, MapType::Hash | MapType::LruHash) {
            return entries * (48 + key + value) + entries.next_power_of_two() * 16;
        }
        if self.kind == MapType::RingBuf {
            return entries;
        }
        if self.kind == MapType::PerCpuArray {
            return entries * (8 + value * n_cpus);
        }
        entries * value
    }

    fn read(path: &Path, map: &'static str) -> Result<Self> {
        let info = MapInfo::from_pin(path).on("read", map)?;
        Ok(Self {
            kind: info.map_type().on("read", map)?,
            key: info.key_size(),
            value: info.value_size(),
            entries: info.max_entries(),
            flags: info.map_flags(),
        })
    }
}

fn size<T>() -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or(u32::MAX)
}

/// Every map as the packet path declares it.
fn shapes(geometry: Geometry) -> [(&'static str, Shape); map::ALL.len()] {
    [
        (map::SETTINGS, Shape::array::<Settings>(1, 0)),
        (map::LISTENERS_V4, Shape::hash::<ListenerKeyV4, u32>(MAX_LISTENERS, 0)),
        (map::LISTENERS_V6, Shape::hash::<ListenerKeyV6, u32>(MAX_LISTENERS, 0)),
        (map::VIPS_V4, Shape::hash::<u32, Vip>(MAX_VIPS, NO_PREALLOC)),
        (map::VIPS_V6, Shape::hash::<[u32; 4], Vip>(MAX_VIPS, NO_PREALLOC)),
        (map::LISTENERS, Shape::array::<Listener>(MAX_LISTENERS, MMAPABLE)),
        (map::SLOTS, Shape::array::<Slot>(MAX_SLOTS, MMAPABLE)),
        (map::BACKENDS, Shape::array::<Backend>(MAX_BACKENDS, MMAPABLE)),
        (map::LOADS, Shape::array::<Load>(MAX_BACKENDS, MMAPABLE)),
        (map::AFFINITIES, Shape::lru::<AffinityKey, Affinity>(MAX_AFFINITIES)),
        (map::CURSORS, Shape::array::<Cursor>(MAX_LISTENERS, 0)),
        (map::GUARDS, Shape::array::<Guard>(MAX_LISTENERS, MMAPABLE)),
        (map::FLOWS, Shape::array::<Bucket>(geometry.buckets, MMAPABLE)),
        (map::DETAILS, Shape::array::<Detail>(geometry.cells, MMAPABLE)),
        (map::MARKS, Shape::array::<u64>(MAX_MARKS, MMAPABLE)),
        (map::FILTER, Shape::array::<u64>(filter::WORDS, MMAPABLE)),
        (map::INTERFACES, Shape::array::<Interface>(INTERFACE_PLACES, MMAPABLE)),
        (map::FRAGMENTS, Shape::lru::<FragmentKey, FragmentWay>(MAX_FRAGMENTED)),
        (map::VERDICTS, Shape::per_cpu::<Count>(MAX_VERDICTS)),
        (map::LISTENER_TRAFFIC, Shape::per_cpu::<Traffic>(MAX_LISTENERS)),
        (map::BACKEND_TRAFFIC, Shape::per_cpu::<Traffic>(MAX_BACKENDS)),
        (map::RULE_COUNTS, Shape::per_cpu::<Count>(MAX_RULE_COUNTS)),
        (
            map::DROPS,
            Shape { kind: MapType::RingBuf, key: 0, value: 0, entries: DROPS_BYTES, flags: 0 },
        ),
        (map::SAMPLE_UNTIL, Shape::array::<u64>(1, 0)),
        (map::HELD_UNTIL, Shape::array::<u64>(1, MMAPABLE)),
        (map::FIREWALL, Shape::array::<Firewall>(1, MMAPABLE)),
        (map::FIREWALL_BITS, Shape::array::<u64>(2 * BIT_PLANES * BIT_WORDS, MMAPABLE)),
        (map::FIREWALL_ROOTS, Shape::array::<[u32; PAGE]>(2 * 2 * ROOT_PAGES, MMAPABLE)),
        (map::FIREWALL_FRONTS, Shape::array::<Front>(2 * geometry.firewall.chunks, MMAPABLE)),
        (map::FIREWALL_VALUES, Shape::array::<[u16; PAGE]>(2 * geometry.firewall.chunks, MMAPABLE)),
        (map::FIREWALL_CELLS, Shape::array::<Bucket>(2 * geometry.firewall.cell_buckets, MMAPABLE)),
        (map::FIREWALL_NODES, Shape::array::<Node>(2 * MAX_NODES, MMAPABLE)),
        (
            map::FIREWALL_LONG,
            Shape::array::<LongBucket>(2 * geometry.firewall.long_buckets, MMAPABLE),
        ),
        (map::FIREWALL_ROWS, Shape::array::<Row>(2 * MAX_ROWS, MMAPABLE)),
        (map::FIREWALL_PORTS, Shape::array::<[u16; PAGE]>(2 * 2 * PORT_PAGES, MMAPABLE)),
        (map::FIREWALL_KINDS, Shape::array::<[u16; PAGE]>(2 * KINDS, MMAPABLE)),
        (map::FIREWALL_SERVICES, Shape::array::<[u32; PAGE]>(2 * SERVICE_PAGES, MMAPABLE)),
        (map::FIREWALL_LINKS, Shape::hash::<LinkKey, u32>(MAX_LINKS, 0)),
        (map::FIREWALL_RULES, Shape::array::<[u32; MAX_RULES]>(2, MMAPABLE)),
        (map::FIREWALL_ASKED, Shape::array::<u64>(2 * ASKED_WORDS, MMAPABLE)),
        (map::FIREWALL_OUTCOMES, Shape::array::<[u32; PAGE]>(2 * OUTCOME_PAGES, MMAPABLE)),
        (map::FIREWALL_LIMITS, Shape::array::<Limit>(2 * MAX_LIMITS, MMAPABLE)),
        (map::FIREWALL_LIMITED, Shape::array::<Bucket>(RULE_BUCKETS + SOURCE_BUCKETS, MMAPABLE)),
        (map::SOURCE_FLOWS, Shape::array::<Bucket>(SOURCE_MASKS + 1, MMAPABLE)),
    ]
}

/// Memory of all pinned maps; the others take about one MiB.
pub(super) fn bytes(geometry: Geometry, n_cpus: u64) -> u64 {
    shapes(geometry).iter().map(|(_, shape)| shape.bytes(n_cpus)).sum()
}

/// Refuses pinned maps that differ in any way from what this agent would create.
pub(super) fn check_pinned(pins: &Pins, geometry: Geometry) -> Result<()> {
    check_shapes(pins, geometry)?;
    check_version(pins)
}

/// The same of their shapes alone.
pub(super) fn check_shapes(pins: &Pins, geometry: Geometry) -> Result<()> {
    for (map, wanted) in shapes(geometry) {
        let path = pins.map(map);
        if !path.exists() {
            continue;
        }
        let pinned = Shape::read(&path, map)?;
        if pinned != wanted {
            let (pinned, wanted) = (pinned.to_string(), wanted.to_string());
            return Err(DatapathError::Layout { map, pinned, wanted });
        }
    }
    Ok(())
}

/// The same for a pinned flow table that is to take the place of the other one.
pub(super) fn check_next(pins: &Pins) -> Result<()> {
    let next = pins.next();
    Geometry::pinned(&next)?.map_or(Ok(()), |geometry| check_pinned(&next, geometry))
}

/// Refuses maps whose bytes mean something else although they have the same shape.
fn check_version(pins: &Pins) -> Result<()> {
    let path = pins.map(map::SETTINGS);
    let layout = if path.exists() { read_settings(&path)?.layout } else { 0 };
    // The program is pinned after the settings are written: without it, a first start was cut short.
    if layout == LAYOUT_VERSION || (layout == 0 && !pins.program().exists()) {
        return Ok(());
    }
    Err(DatapathError::Layout {
        map: map::SETTINGS,
        pinned: format!("version {layout} of the layout"),
        wanted: format!("version {LAYOUT_VERSION}"),
    })
}

pub(super) fn read_settings(path: &Path) -> Result<Settings> {
    let map = map::SETTINGS;
    let data = MapData::from_pin(path).on("open", map)?;
    let settings: Array<_, Settings> =
        Map::from_map_data(data).and_then(TryInto::try_into).on("open", map)?;
    settings.get(&0, 0).on("read", map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(max_flows: u32) -> Result<Geometry> {
        Geometry::for_flows(max_flows, Size::for_prefixes(0))
    }

    #[test]
    fn the_flow_table_holds_four_cells_for_each_flow() {
        let table = geometry(1_048_576).unwrap();
        assert_eq!((table.buckets, table.cells), (524_288, 4_194_304));
        assert_eq!(geometry(1_000_000).unwrap(), table);
        assert_eq!(geometry(1).unwrap().cells, 32);
    }

    #[test]
    fn pinned_maps_take_what_the_requirements_name() {
        let table = geometry(1_048_576).unwrap();
        let (shared, with_one_cpu) = (bytes(table, 0), bytes(table, 1));
        let mib = [shared, with_one_cpu - shared].map(|bytes| bytes.div_ceil(1 << 20));
        assert_eq!(mib, [288 + 119, 14]);
    }

    #[test]
    fn a_flow_table_beyond_the_largest_map_is_an_error() {
        assert!(geometry(1 << 29).is_ok());
        let error = geometry((1 << 29) + 1).unwrap_err();
        assert!(error.to_string().contains("max_flows = 536870913"), "{error}");
    }

    #[test]
    fn every_pinned_map_has_a_shape() {
        let names = shapes(geometry(1).unwrap()).map(|(name, _)| name);
        assert_eq!(names, map::ALL);
    }
}
