//! From the addresses of rules and sets to the maps that find an address's class.

use std::collections::{BTreeMap, HashMap};

use ipnet::IpNet;
use lb_common::layout::firewall::{Firewall as Wire, Front, LongBucket, PAGE};

use super::class::{Classes, Prefix, Uses};
use super::long::{self, Nodes};
use super::plane::Planes;
use super::row::Rules;
use super::{CompileError, Match, Sets, Size};
use crate::model::firewall::Elements;

/// What finds the class of an address, and what the classes mean.
#[derive(Debug)]
pub(super) struct Addresses {
    pub(super) bits: Vec<u64>,
    pub(super) roots: Vec<[u32; PAGE]>,
    pub(super) fronts: Vec<Front>,
    pub(super) values: Vec<[u16; PAGE]>,
    pub(super) cells: Vec<[u64; 8]>,
    pub(super) long: Vec<LongBucket>,
    pub(super) nodes: Nodes,
    /// By class, the rules that its addresses are in, see [`Uses`](super::class::Uses).
    pub(super) classes: Classes,
    /// Bits of the word that tell of which families there are prefixes.
    pub(super) families: u64,
}

impl Addresses {
    pub(super) fn compile(rules: &Rules, sets: &Sets, size: Size) -> Result<Self, CompileError> {
        let (mut labels, mut v4, mut v6) = (Labels::default(), Vec::new(), Vec::new());
        for (place, uses) in uses(rules) {
            let label = labels.number(uses);
            match place {
                Match::Prefix(prefix) => add(*prefix, label, &mut v4, &mut v6),
                Match::Set(name) => {
                    let elements = sets.get(name).into_iter().flat_map(Elements::iter);
                    elements.for_each(|prefix| add(prefix, label, &mut v4, &mut v6));
                }
            }
        }
        let mut classes = Classes::new();
        let v4 = classes.classify(v4, &labels.list)?;
        let v6 = classes.classify(v6, &labels.list)?;
        let (mut planes, mut nodes) = (Planes::new(size), Nodes::new());
        let of = |bit, is_empty| if is_empty { 0 } else { bit };
        let families = of(Wire::HAS_V4, v4.is_empty()) | of(Wire::HAS_V6, v6.is_empty());
        let (v6, alone) = long::divide(&v6);
        planes.add(0, &v4)?;
        planes.add(1, &nodes.plane(&v6)?)?;
        planes.add_bits(long::alone_bits(&alone));
        let long: Vec<_> = long::below_nodes(&v6).chain(alone).collect();
        let (cells, long) = (planes.buckets()?, long::buckets(&long, size)?);
        let Planes { bits, roots, fronts, values, .. } = planes;
        Ok(Self { bits, roots, fronts, values, cells, long, nodes, classes, families })
    }
}

/// What rules and lists name, and what for.
pub(super) fn uses(rules: &Rules) -> BTreeMap<&Match, Uses> {
    let mut all: BTreeMap<&Match, Uses> = BTreeMap::new();
    for (number, rule) in (0..).zip(rules.iter()) {
        for place in &rule.sources {
            all.entry(place).or_default().push(2 * number);
        }
        for place in &rule.destinations {
            all.entry(place).or_default().push(2 * number + 1);
        }
    }
    for (number, list) in rules.lists.values() {
        let number = u32::try_from(*number).unwrap_or(u32::MAX / 2);
        for place in list {
            all.entry(place).or_default().push(2 * number);
        }
    }
    for uses in all.values_mut() {
        uses.sort_unstable();
    }
    all
}

/// Uses by number: what is used alike has one.
#[derive(Default)]
pub(super) struct Labels {
    pub(super) list: Vec<Uses>,
    numbers: HashMap<Uses, u32>,
}

impl Labels {
    pub(super) fn number(&mut self, uses: Uses) -> u32 {
        *self.numbers.entry(uses).or_insert_with_key(|uses| {
            self.list.push(uses.clone());
            u32::try_from(self.list.len() - 1).unwrap_or(u32::MAX)
        })
    }
}

pub(super) fn add(
    prefix: IpNet,
    value: u32,
    v4: &mut Vec<Prefix<u32, u32>>,
    v6: &mut Vec<Prefix<u128, u32>>,
) {
    match prefix {
        IpNet::V4(net) => {
            v4.push(Prefix { bits: net.network().to_bits(), length: net.prefix_len(), value });
        }
        IpNet::V6(net) => {
            v6.push(Prefix { bits: net.network().to_bits(), length: net.prefix_len(), value });
        }
    }
}
