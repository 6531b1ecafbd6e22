//! The firewall's maps: the half that no packet reads is written, then one store lets packets read it.

use std::collections::HashMap as Map;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::{HashMap, MapData, MapError};
use lb_common::layout::firewall::{
    ASKED_WORDS, BIT_WORDS, Firewall, Front, KINDS, LinkKey, LongBucket, MAX_NODES, MAX_ROWS,
    MAX_RULES, Node, OUTCOME_PAGES, PAGE, PORT_PAGES, ROOT_PAGES, Row, SERVICE_PAGES,
};
use lb_common::layout::limit::{Limit, MAX_LIMITS};
use lb_common::map;
use zerocopy::{Immutable, IntoBytes};

use super::backends::wait_for_packets;
use super::error::{OnMap, Result};
use super::mapping::Mapping;
use super::maps::{data, entries};
use super::open_flows::OpenFlows;
use super::pins::Pins;
use crate::io::netlink::links;
use crate::model::firewall::compile::{Compiled, Size};

/// All maps of the firewall but its counters.
pub struct FirewallMaps {
    /// The word, then sizes: see [`Firewall`].
    firewall: Mapping,
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
    open_flows: OpenFlows,
    links: HashMap<MapData, LinkKey, u32>,
    /// Rows by name of the interface, as they were written last.
    named: Vec<(Option<String>, u32)>,
}

impl FirewallMaps {
    /// Opens the pinned maps, which have this size.
    pub(super) fn open(pins: &Pins, size: Size) -> Result<Self> {
        Self::of(|name| data(pins, name), size)
    }

    /// Opens maps of this size.
    pub fn of(mut map: impl FnMut(&'static str) -> Result<MapData>, size: Size) -> Result<Self> {
        let firewall = Mapping::new(&map(map::FIREWALL)?, map::FIREWALL, 1, size_of::<Firewall>())?;
        let links = aya::maps::Map::from_map_data(map(map::FIREWALL_LINKS)?);
        let links: Result<_, MapError> = links.and_then(TryInto::try_into);
        let mut halves = |name, entries, size| Halves::new(&map(name)?, name, entries, size);
        let maps = Self {
            firewall,
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
            open_flows: OpenFlows::of(&map(map::SOURCE_FLOWS)?)?,
            links: links.on("open", map::FIREWALL_LINKS)?,
            named: Vec::new(),
        };
        maps.tell_sizes(size);
        Ok(maps)
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

    /// Whether packets are judged.
    pub(super) fn is_on(&self) -> bool {
        self.word().load(Ordering::Relaxed) & Firewall::ON != 0
    }

    /// Has packets judged by these rules from now on. When it returns none is judged by the others any more.
    pub fn write(&mut self, compiled: &Compiled) -> Result<()> {
        let word = self.word().load(Ordering::Relaxed);
        let half = 1 - Firewall::half(word);
        let Compiled { bits, roots, fronts, values, cells, nodes, long, rows, .. } = compiled;
        self.bits.write(half, bits);
        self.roots.write(half, roots);
        self.fronts.write(half, fronts);
        self.values.write(half, values);
        self.cells.write(half, cells);
        self.nodes.write(half, nodes);
        self.long.write(half, long);
        self.rows.write(half, rows);
        self.ports.write(half, &compiled.ports);
        self.kinds.write(half, &compiled.kinds);
        self.services.write(half, &compiled.services);
        self.rules.write(half, &compiled.rules);
        self.asked.write(half, &compiled.asked);
        self.outcomes.write(half, &compiled.outcomes);
        self.limits.write(half, &compiled.limits);
        self.open_flows.tell_apart(compiled.source_masks);
        self.named.clone_from(&compiled.links);
        self.write_links(half)?;
        let bit = if half == 1 { Firewall::SECOND_HALF } else { 0 };
        self.word().store(compiled.word | bit, Ordering::Release);
        wait_for_packets();
        Ok(())
    }

    /// How many flows sources have open.
    pub fn open_flows(&self) -> &OpenFlows {
        &self.open_flows
    }

    /// Follows interfaces that have come, gone or got another index.
    pub(super) fn follow_links(&mut self) -> Result<()> {
        let word = self.word().load(Ordering::Relaxed);
        if self.named.iter().any(|(name, _)| name.is_some()) {
            self.write_links(Firewall::half(word))?;
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

/// Both halves of a map.
struct Halves {
    words: Mapping,
    /// Words of a half.
    n_words: usize,
}

impl Halves {
    fn new(map: &MapData, name: &'static str, entries: u32, size: usize) -> Result<Self> {
        let words = Mapping::new(map, name, 2 * entries, size)?;
        Ok(Self { n_words: words.words().len() / 2, words })
    }

    /// Writes the first entries of a half; no others are read.
    fn write<T: IntoBytes + Immutable>(&self, half: u32, entries: &[T]) {
        let half = if half == 0 { 0 } else { self.n_words };
        fill(
            self.words.words().get(half..half + self.n_words).unwrap_or_default(),
            entries.as_bytes(),
        );
    }
}

/// Writes bytes, and zeros behind them to the end of the last word.
fn fill(words: &[AtomicU64], bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks();
    let mut last = [0; size_of::<AtomicU64>()];
    last.iter_mut().zip(rest).for_each(|(last, byte)| *last = *byte);
    let rest = (!rest.is_empty()).then_some(&last);
    for (word, bytes) in words.iter().zip(whole.iter().chain(rest)) {
        word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
    }
}
