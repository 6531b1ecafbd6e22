//! The firewall's maps: the half that no packet reads is written, then one store lets packets read it.

use std::collections::{BTreeMap, HashMap as Map};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::maps::{HashMap, MapData, MapError};
use lb_common::layout::firewall::{
    ASKED_WORDS, BIT_WORDS, Firewall, Front, KINDS, LinkKey, LongBucket, MAX_NODES, MAX_ROWS,
    MAX_RULES, Node, OUTCOME_PAGES, PAGE, PORT_PAGES, ROOT_PAGES, Row, SERVICE_PAGES,
};
use lb_common::layout::limit::{Limit, MAX_LIMITS};
use lb_common::map;
use zerocopy::IntoBytes;

use super::backends::wait_for_packets;
use super::error::{OnMap, Result};
use super::halves::{Halves, fill};
use super::mapping::Mapping;
use super::maps::{data, entries};
use super::open_flows::OpenFlows;
use super::pins::Pins;
use crate::io::netlink::links;
use crate::model::firewall::compile::{Compiled, Content, Half, Image, Order, Patch, Size};

/// All maps of the firewall but its counters.
pub struct FirewallMaps {
    both: Arc<Both>,
    open_flows: OpenFlows,
    links: HashMap<MapData, LinkKey, u32>,
    /// Rows by name of the interface, as they were written last.
    named: Vec<(Option<String>, u32)>,
}

/// Maps of two halves: the one that no packet reads may be filled from any thread.
pub(super) struct Both {
    /// The word, then sizes: see [`Firewall`].
    firewall: Mapping,
    /// All others. They are in this process's memory only while they are read or written: they may be large.
    maps: BTreeMap<&'static str, MapData>,
    size: Size,
    /// Whoever holds this has the idle half for themselves.
    known: Mutex<Known>,
}

/// What they hold.
struct Opened {
    bits: Halves,
    roots: Halves,
    fronts: Halves,
    values: Halves,
    cells: Halves,
    nodes: Halves,
    long: Halves,
    rows: Halves,
    ports: Halves,
    kinds: Halves,
    services: Halves,
    rules: Halves,
    asked: Halves,
    outcomes: Halves,
    limits: Halves,
}

/// The ids of what the halves hold, where this process has written it.
#[derive(Default)]
struct Known {
    used: Option<u64>,
    idle: Option<u64>,
    /// The patch that the rules in use were made by, if they were.
    last: Option<Arc<Content>>,
}

impl FirewallMaps {
    /// Opens the pinned maps, which have this size.
    pub(super) fn open(pins: &Pins, size: Size) -> Result<Self> {
        Self::of(|name| data(pins, name), size)
    }

    /// Opens maps of this size.
    pub fn of(mut map: impl FnMut(&'static str) -> Result<MapData>, size: Size) -> Result<Self> {
        let links = aya::maps::Map::from_map_data(map(map::FIREWALL_LINKS)?);
        let links: Result<_, MapError> = links.and_then(TryInto::try_into);
        let links = links.on("open", map::FIREWALL_LINKS)?;
        let open_flows = OpenFlows::of(&map(map::SOURCE_FLOWS)?)?;
        let both = Arc::new(Both::of(map, size)?);
        Ok(Self { both, open_flows, links, named: Vec::new() })
    }

    /// What differs from the rules that packets are judged by, where that can be told.
    #[must_use]
    pub fn difference(&self, order: &Order) -> Option<Arc<Compiled>> {
        self.both.difference(order)
    }

    /// What may be filled beside everything else.
    pub(super) fn both(&self) -> Arc<Both> {
        Arc::clone(&self.both)
    }

    /// Whether packets are judged.
    pub(super) fn is_on(&self) -> bool {
        self.both.word().load(Ordering::Relaxed) & Firewall::ON != 0
    }

    /// Has packets judged by these rules from now on. When it returns none is judged by the others any more.
    pub fn write(&mut self, compiled: &Compiled) -> Result<()> {
        // Not before: all rules have these counts in common.
        self.put(compiled).map(|()| self.open_flows.tell_apart(compiled.head.source_masks))
    }

    /// The same, while open flows are still counted as the rules of other maps want it.
    pub(super) fn put(&mut self, compiled: &Compiled) -> Result<()> {
        let both = self.both();
        let mut known = both.known();
        if known.used == Some(compiled.id) {
            return Ok(());
        }
        both.fill_idle(&mut known, compiled)?;
        let half = both.idle_half();
        self.named.clone_from(&compiled.head.links);
        self.write_links(half)?;
        let bit = if half == 1 { Firewall::SECOND_HALF } else { 0 };
        both.word().store(compiled.head.word | bit, Ordering::Release);
        known.idle = known.used.replace(compiled.id);
        known.last = compiled.content().filter(|it| matches!(**it, Content::Patch { .. }));
        wait_for_packets();
        Ok(())
    }

    /// How many flows sources have open.
    pub fn open_flows(&self) -> &OpenFlows {
        &self.open_flows
    }

    /// Follows interfaces that have come, gone or got another index.
    pub(super) fn follow_links(&mut self) -> Result<()> {
        if self.named.iter().any(|(name, _)| name.is_some()) {
            self.write_links(1 - self.both.idle_half())?;
        }
        Ok(())
    }

    fn write_links(&mut self, half: u32) -> Result<()> {
        let present = links().on("list the interfaces for", map::FIREWALL_LINKS)?;
        let index = |name: &Option<String>| match name {
            None => Some(0),
            Some(name) => present.iter().find(|link| link.name == *name).map(|link| link.index),
        };
        let wanted: Map<LinkKey, u32> = self
            .named
            .iter()
            .filter_map(|(name, row)| Some((LinkKey { half, interface: index(name)? }, *row)))
            .collect();
        for (key, row) in &wanted {
            self.links.insert(key, row, 0).on("write", map::FIREWALL_LINKS)?;
        }
        for (key, _) in entries(&self.links, map::FIREWALL_LINKS)? {
            if key.half == half && !wanted.contains_key(&key) {
                self.links.remove(&key).on("remove from", map::FIREWALL_LINKS)?;
            }
        }
        Ok(())
    }
}

impl Both {
    fn of(mut map: impl FnMut(&'static str) -> Result<MapData>, size: Size) -> Result<Self> {
        let firewall = Mapping::new(&map(map::FIREWALL)?, map::FIREWALL, 1, size_of::<Firewall>())?;
        let others = map::FIREWALLS
            .iter()
            .filter(|name| ![map::FIREWALL, map::FIREWALL_LINKS].contains(name));
        let maps = others.map(|name| Ok((*name, map(name)?))).collect::<Result<_>>()?;
        let both = Self { firewall, maps, size, known: Mutex::default() };
        both.tell_sizes(size);
        Ok(both)
    }

    fn open(&self) -> Result<Opened> {
        let size = self.size;
        let halves = |name, entries, size| {
            let map = self.maps.get(name).ok_or("there is none").on("open", name)?;
            Halves::new(map, name, entries, size)
        };
        Ok(Opened {
            bits: halves(map::FIREWALL_BITS, 2 * BIT_WORDS, size_of::<u64>())?,
            roots: halves(map::FIREWALL_ROOTS, 2 * ROOT_PAGES, size_of::<[u32; PAGE]>())?,
            fronts: halves(map::FIREWALL_FRONTS, size.chunks, size_of::<Front>())?,
            values: halves(map::FIREWALL_VALUES, size.chunks, size_of::<[u16; PAGE]>())?,
            cells: halves(map::FIREWALL_CELLS, size.cell_buckets, size_of::<[u64; 8]>())?,
            nodes: halves(map::FIREWALL_NODES, MAX_NODES, size_of::<Node>())?,
            long: halves(map::FIREWALL_LONG, size.long_buckets, size_of::<LongBucket>())?,
            rows: halves(map::FIREWALL_ROWS, MAX_ROWS, size_of::<Row>())?,
            ports: halves(map::FIREWALL_PORTS, 2 * PORT_PAGES, size_of::<[u16; PAGE]>())?,
            kinds: halves(map::FIREWALL_KINDS, KINDS, size_of::<[u16; PAGE]>())?,
            services: halves(map::FIREWALL_SERVICES, SERVICE_PAGES, size_of::<[u32; PAGE]>())?,
            rules: halves(map::FIREWALL_RULES, 1, size_of::<[u32; MAX_RULES]>())?,
            asked: halves(map::FIREWALL_ASKED, ASKED_WORDS, size_of::<u64>())?,
            outcomes: halves(map::FIREWALL_OUTCOMES, OUTCOME_PAGES, size_of::<[u32; PAGE]>())?,
            limits: halves(map::FIREWALL_LIMITS, MAX_LIMITS, size_of::<Limit>())?,
        })
    }

    /// They are the same for both halves, and written before packets read either.
    fn tell_sizes(&self, size: Size) {
        let sizes = Firewall {
            word: self.word().load(Ordering::Relaxed),
            cell_mask: size.cell_buckets.saturating_sub(1),
            long_mask: size.long_buckets.saturating_sub(1),
            chunks: size.chunks,
            reserved: 0,
        };
        fill(self.firewall.words(), sizes.as_bytes());
    }

    fn word(&self) -> &AtomicU64 {
        static NONE: AtomicU64 = AtomicU64::new(0);
        self.firewall.words().first().unwrap_or(&NONE)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle_half(&self) -> u32 {
        1 - Firewall::half(self.word().load(Ordering::Relaxed))
    }

    /// Fills the half that no packet reads with what is to be in force next.
    pub(super) fn fill(&self, compiled: &Compiled) -> Result<()> {
        self.fill_idle(&mut self.known(), compiled)
    }

    /// What differs from the rules in use.
    pub(super) fn difference(&self, order: &Order) -> Option<Arc<Compiled>> {
        let known = self.known();
        let (_, before) = order.before.as_ref()?;
        if known.used != Some(before.id) {
            return None;
        }
        // Where they cannot be opened, the write tells why.
        let opened = self.open().ok()?;
        order.compile_difference(&InUse { opened, half: 1 - self.idle_half() })
    }

    fn fill_idle(&self, known: &mut Known, compiled: &Compiled) -> Result<()> {
        if known.idle == Some(compiled.id) {
            return Ok(());
        }
        let content = compiled.content().ok_or("they are to be compiled anew");
        let (half, opened) = (self.idle_half(), self.open()?);
        match &*content.on("write rules into", map::FIREWALL)? {
            Content::Half(all) => {
                known.idle = None;
                opened.write(half, all);
            }
            Content::Patch { base, patch } => {
                if known.used != Some(*base) {
                    return Err("those that they follow are not there").on("write", map::FIREWALL);
                }
                opened.follow(half, known.idle, known.last.as_deref());
                known.idle = None;
                opened.patch(half, patch);
            }
        }
        known.idle = Some(compiled.id);
        Ok(())
    }
}

impl Opened {
    /// Has the idle half, which holds the rules of this id, hold what the one in use does.
    fn follow(&self, half: u32, idle: Option<u64>, last: Option<&Content>) {
        match last {
            Some(Content::Patch { base, patch }) if idle == Some(*base) => self.patch(half, patch),
            Some(_) | None => self.all().into_iter().for_each(|map| map.copy_to(half)),
        }
    }

    fn all(&self) -> [&Halves; 15] {
        [
            &self.bits,
            &self.roots,
            &self.fronts,
            &self.values,
            &self.cells,
            &self.nodes,
            &self.long,
            &self.rows,
            &self.ports,
            &self.kinds,
            &self.services,
            &self.rules,
            &self.asked,
            &self.outcomes,
            &self.limits,
        ]
    }

    fn write(&self, half: u32, all: &Half) {
        self.bits.write(half, &all.bits);
        self.roots.write(half, &all.roots);
        self.fronts.write(half, &all.fronts);
        self.values.write(half, &all.values);
        self.cells.write(half, &all.cells);
        self.nodes.write(half, &all.nodes);
        self.long.write(half, &all.long);
        self.rows.write(half, &all.rows);
        self.ports.write(half, &all.ports);
        self.kinds.write(half, &all.kinds);
        self.services.write(half, &all.services);
        self.rules.write(half, &all.rules);
        self.asked.write(half, &all.asked);
        self.outcomes.write(half, &all.outcomes);
        self.limits.write(half, &all.limits);
    }

    fn patch(&self, half: u32, patch: &Patch) {
        self.bits.write_some(half, &patch.bits);
        for (place, root) in &patch.roots {
            self.roots.write_part(half, *place, *root);
        }
        self.fronts.write_some(half, &patch.fronts);
        self.values.write_some(half, &patch.values);
        self.cells.write_some(half, &patch.cells);
        self.nodes.write_some(half, &patch.nodes);
        self.long.write_some(half, &patch.long);
    }
}

/// The half that packets read.
struct InUse {
    opened: Opened,
    half: u32,
}

impl Image for InUse {
    fn root(&self, place: u32) -> u32 {
        let [first, second] = self.opened.roots.read(self.half, place / 2);
        if place.is_multiple_of(2) { first } else { second }
    }

    fn cells(&self, bucket: u32) -> [u64; 8] {
        self.opened.cells.read(self.half, bucket)
    }

    fn long(&self, bucket: u32) -> LongBucket {
        self.opened.long.read(self.half, bucket)
    }
}
