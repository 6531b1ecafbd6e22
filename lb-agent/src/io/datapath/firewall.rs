//! The firewall's maps: the half that no packet reads is written, then one store lets packets read it.

use std::collections::{BTreeMap, HashMap as Map};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::maps::{HashMap, MapData, MapError};
use lb_common::layout::firewall::{Firewall, LinkKey};
use lb_common::map;
use zerocopy::{IntoBytes, transmute};

use super::backends::wait_for_packets;
use super::error::{OnMap, Result};
use super::halves::fill;
use super::mapping::Mapping;
use super::maps::{data, entries};
use super::open_flows::OpenFlows;
use super::pins::Pins;
use crate::io::netlink::links;
use crate::model::firewall::compile::{Compiled, Content, Order, Size};

mod opened;

use opened::{InUse, Opened};

/// The word of [`Firewall`] that holds its masks.
const CELL_MASKS: usize = std::mem::offset_of!(Firewall, cell_masks) / size_of::<u64>();

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

    /// They are the same for both halves, and written before packets read either.
    fn tell_sizes(&self, size: Size) {
        let sizes = Firewall {
            word: self.word().load(Ordering::Relaxed),
            cell_masks: self.cell_masks(),
            long_mask: size.long_buckets.saturating_sub(1),
            chunks: size.chunks,
            cell_buckets: size.cell_buckets,
            reserved: 0,
        };
        fill(self.firewall.words(), sizes.as_bytes());
    }

    fn word(&self) -> &AtomicU64 {
        self.word_at(0)
    }

    fn word_at(&self, place: usize) -> &AtomicU64 {
        static NONE: AtomicU64 = AtomicU64::new(0);
        self.firewall.words().get(place).unwrap_or(&NONE)
    }

    fn cell_masks(&self) -> [u32; 2] {
        transmute!(self.word_at(CELL_MASKS).load(Ordering::Relaxed))
    }

    /// Says how many buckets of cells the half uses that no packet reads.
    fn use_buckets(&self, half: u32, mask: u32) {
        let [first, second] = self.cell_masks();
        let masks = if half == 0 { [mask, second] } else { [first, mask] };
        self.word_at(CELL_MASKS).store(transmute!(masks), Ordering::Relaxed);
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
        let opened = Opened::open(&self.maps, self.size).ok()?;
        order.compile_difference(&InUse { opened, half: 1 - self.idle_half() })
    }

    fn fill_idle(&self, known: &mut Known, compiled: &Compiled) -> Result<()> {
        if known.idle == Some(compiled.id) {
            return Ok(());
        }
        let content = compiled.content().ok_or("they are to be compiled anew");
        let (half, opened) = (self.idle_half(), Opened::open(&self.maps, self.size)?);
        match &*content.on("write rules into", map::FIREWALL)? {
            Content::Half(all) => {
                known.idle = None;
                opened.write(half, all);
                let n_buckets = u32::try_from(all.cells.len()).unwrap_or(self.size.cell_buckets);
                self.use_buckets(half, n_buckets.saturating_sub(1));
            }
            Content::Patch { base, patch } => {
                if known.used != Some(*base) {
                    return Err("those that they follow are not there").on("write", map::FIREWALL);
                }
                opened.follow(half, known.idle, known.last.as_deref());
                known.idle = None;
                opened.patch(half, patch);
                let [first, second] = self.cell_masks();
                self.use_buckets(half, if half == 0 { second } else { first });
            }
        }
        known.idle = Some(compiled.id);
        Ok(())
    }
}
