//! The firewall's maps while they are read or written.

use std::collections::BTreeMap;

use aya::maps::MapData;
use lb_common::layout::firewall::{
    ASKED_WORDS, BIT_PLANES, BIT_WORDS, Front, KINDS, LongBucket, MAX_NODES, MAX_ROWS, MAX_RULES,
    Node, OUTCOME_PAGES, PAGE, PORT_PAGES, ROOT_PAGES, Row, SERVICE_PAGES,
};
use lb_common::layout::limit::{Limit, MAX_LIMITS};
use lb_common::map;

use super::super::error::{OnMap, Result};
use super::super::halves::Halves;
use crate::model::firewall::compile::{Content, Half, Image, Patch, Size};

/// What they hold.
pub(super) struct Opened {
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

impl Opened {
    /// Opens those of this size.
    pub(super) fn open(maps: &BTreeMap<&'static str, MapData>, size: Size) -> Result<Self> {
        let halves = |name, entries, size| {
            let map = maps.get(name).ok_or("there is none").on("open", name)?;
            Halves::new(map, name, entries, size)
        };
        Ok(Self {
            bits: halves(map::FIREWALL_BITS, BIT_PLANES * BIT_WORDS, size_of::<u64>())?,
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

    /// Has the idle half, which holds the rules of this id, hold what the one in use does.
    pub(super) fn follow(&self, half: u32, idle: Option<u64>, last: Option<&Content>) {
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

    pub(super) fn write(&self, half: u32, all: &Half) {
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

    pub(super) fn patch(&self, half: u32, patch: &Patch) {
        self.bits.write_some(half, &patch.bits);
        self.bits.write_some(half, &patch.alone_bits);
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
pub(super) struct InUse {
    pub(super) opened: Opened,
    pub(super) half: u32,
}

impl Image for InUse {
    fn bits(&self, word: u32) -> u64 {
        self.opened.bits.read(self.half, word)
    }

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
