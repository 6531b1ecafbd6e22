//! The firewall's maps in plain memory.

use core::cell::Cell as Memory;
use std::collections::HashMap;

use lb_common::layout::firewall::{
    Firewall, Front, LinkKey, LongBucket, MAX_RULES, Node, PAGE, Row,
};
use lb_common::layout::limit::Limit;
use lb_common::layout::{Bucket, Count};
use zerocopy::FromZeros;

use super::HostTables;
use super::maps::entry;
use crate::family::Family;
use crate::firewall::{Maps, limit};
use crate::flight::Flight;
use crate::tables::Entry;

/// What the agent writes there, each map as the list of its entries.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "see lb_common::map")]
pub struct HostFirewall {
    pub firewall: Firewall,
    pub bits: Vec<u64>,
    pub roots: Vec<[u32; PAGE]>,
    pub fronts: Vec<Front>,
    pub values: Vec<[u16; PAGE]>,
    pub cells: Vec<[u64; 8]>,
    pub nodes: Vec<Node>,
    pub long: Vec<LongBucket>,
    pub rows: Vec<Row>,
    pub ports: Vec<[u16; PAGE]>,
    pub kinds: Vec<[u16; PAGE]>,
    pub services: Vec<[u32; PAGE]>,
    pub links: HashMap<LinkKey, u32>,
    pub rules: Vec<[u32; MAX_RULES]>,
    pub asked: Vec<u64>,
    pub outcomes: Vec<[u32; PAGE]>,
    pub limits: Vec<Limit>,
    pub limited: Vec<Memory<Bucket>>,
    pub source_flows: Vec<Memory<Bucket>>,
    pub counts: Vec<Memory<Count>>,
}

impl Default for HostFirewall {
    fn default() -> Self {
        Self {
            firewall: Firewall::new_zeroed(),
            bits: Vec::new(),
            roots: Vec::new(),
            fronts: Vec::new(),
            values: Vec::new(),
            cells: Vec::new(),
            nodes: Vec::new(),
            long: Vec::new(),
            rows: Vec::new(),
            ports: Vec::new(),
            kinds: Vec::new(),
            services: Vec::new(),
            links: HashMap::new(),
            rules: Vec::new(),
            asked: Vec::new(),
            outcomes: Vec::new(),
            limits: Vec::new(),
            limited: Vec::new(),
            source_flows: Vec::new(),
            counts: Vec::new(),
        }
    }
}

fn at<T>(map: &[T], index: u32) -> Option<&T> {
    map.get(index as usize)
}

impl Maps for HostTables {
    fn firewall(&self) -> Option<&Firewall> {
        Some(&self.firewall.firewall)
    }

    fn bits(&self, word: u32) -> Option<u64> {
        at(&self.firewall.bits, word).copied()
    }

    fn roots(&self, page: u32) -> Option<&[u32; PAGE]> {
        at(&self.firewall.roots, page)
    }

    fn front(&self, chunk: u32) -> Option<&Front> {
        at(&self.firewall.fronts, chunk)
    }

    fn values(&self, chunk: u32) -> Option<&[u16; PAGE]> {
        at(&self.firewall.values, chunk)
    }

    fn cells(&self, bucket: u32) -> Option<&[u64; 8]> {
        at(&self.firewall.cells, bucket)
    }

    fn node(&self, index: u32) -> Option<&Node> {
        at(&self.firewall.nodes, index)
    }

    fn long(&self, bucket: u32) -> Option<&LongBucket> {
        at(&self.firewall.long, bucket)
    }

    fn row(&self, index: u32) -> Option<&Row> {
        at(&self.firewall.rows, index)
    }

    fn port_rows(&self, page: u32) -> Option<&[u16; PAGE]> {
        at(&self.firewall.ports, page)
    }

    fn kind_rows(&self, page: u32) -> Option<&[u16; PAGE]> {
        at(&self.firewall.kinds, page)
    }

    fn services(&self, page: u32) -> Option<&[u32; PAGE]> {
        at(&self.firewall.services, page)
    }

    fn link_row(&self, key: &LinkKey) -> Option<u32> {
        self.firewall.links.get(key).copied()
    }

    fn rules(&self, half: u32) -> Option<&[u32; MAX_RULES]> {
        at(&self.firewall.rules, half)
    }

    fn asked(&self, word: u32) -> Option<u64> {
        at(&self.firewall.asked, word).copied()
    }

    fn outcomes(&self, page: u32) -> Option<&[u32; PAGE]> {
        at(&self.firewall.outcomes, page)
    }

    fn limit(&self, place: u32) -> Option<&Limit> {
        at(&self.firewall.limits, place)
    }

    fn limited(&self, bucket: u32) -> Option<Entry<Bucket>> {
        entry(&self.firewall.limited, bucket)
    }

    fn source_flows(&self, bucket: u32) -> Option<Entry<Bucket>> {
        entry(&self.firewall.source_flows, bucket)
    }

    fn deciding<A: Family>(&self, flight: &mut Flight<A>, half: u32, rows: (u64, u64)) -> u32 {
        limit::deciding(self, half, rows, |place| limit::exceeds(self, flight, place))
    }

    fn rule_count(&self, number: u32) -> Option<Entry<Count>> {
        entry(&self.firewall.counts, number)
    }
}
