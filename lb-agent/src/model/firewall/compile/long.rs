//! IPv6: prefixes of up to 32 bits and nodes, which make a plane, and longer prefixes in buckets.

use std::collections::HashMap;

use lb_common::layout::firewall::{LONG_PER_BUCKET, LongBucket, MAX_NODES, Node};
use lb_ebpf::firewall::address::long_hash;

use super::class::{Bits, Prefix};
use super::place::Places;
use super::{CompileError, Size};

/// Nodes by number; the first is that of addresses in no prefix.
#[derive(Clone, Debug)]
pub(super) struct Nodes {
    pub(super) list: Vec<Node>,
    numbers: HashMap<Node, u16>,
}

impl Nodes {
    pub(super) fn new() -> Self {
        Self { list: vec![Node::default()], numbers: [(Node::default(), 0)].into() }
    }

    fn number(&mut self, node: Node) -> Result<u16, CompileError> {
        if let Some(number) = self.numbers.get(&node) {
            return Ok(*number);
        }
        let number = u16::try_from(self.list.len()).ok().filter(|n| u32::from(*n) < MAX_NODES);
        let number = number.ok_or(CompileError::Nodes)?;
        self.list.push(node);
        self.numbers.insert(node, number);
        Ok(number)
    }

    /// The plane of these prefixes, which are sorted: of each the first 32 bits, and what is below.
    pub(super) fn plane(
        &mut self,
        prefixes: &[Prefix<u128, u16>],
    ) -> Result<Vec<Prefix<u32, u16>>, CompileError> {
        let mut plane: Vec<Prefix<u32, u16>> = Vec::new();
        // The prefixes of up to 32 bits that hold the one at hand, the longest last.
        let mut around: Vec<Prefix<u128, u16>> = Vec::new();
        let same = |a: &Prefix<u128, u16>, b: &Prefix<u128, u16>| {
            a.length > 32 && b.length > 32 && first_bits(a.bits) == first_bits(b.bits)
        };
        for group in prefixes.chunk_by(same) {
            let Some(first) = group.first() else { continue };
            while around.last().is_some_and(|outer| !outer.bits.holds(outer.length, first.bits)) {
                around.pop();
            }
            let outer = around.last().map_or(0, |outer| outer.value);
            let bits = first_bits(first.bits);
            let (length, node) = if first.length <= 32 {
                around.push(*first);
                (first.length, Node { class: first.value.into(), ..Node::default() })
            } else {
                (32, Node { class: outer.into(), lengths: lengths(group) })
            };
            let value = self.number(node)?;
            // A node takes the place of the prefix of 32 bits that it is below.
            plane.pop_if(|last| (last.bits, last.length, length) == (bits, 32, 32));
            plane.push(Prefix { bits, length, value });
        }
        Ok(plane)
    }
}

fn first_bits(bits: u128) -> u32 {
    u32::try_from(bits >> 96).unwrap_or_default()
}

pub(super) fn halves(bits: u128) -> [u64; 2] {
    [bits >> 64, bits & u128::from(u64::MAX)].map(|half| u64::try_from(half).unwrap_or_default())
}

/// Bit `128 - length` for each length.
fn lengths(prefixes: &[Prefix<u128, u16>]) -> [u64; 2] {
    let bits = prefixes.iter().fold(0_u128, |bits, prefix| bits | (1 << (128 - prefix.length)));
    let [high, low] = halves(bits);
    [low, high]
}

/// Prefixes of more than 32 bits in their buckets.
pub(super) fn buckets(
    prefixes: &[Prefix<u128, u16>],
    size: Size,
) -> Result<Vec<LongBucket>, CompileError> {
    let long: Vec<_> = prefixes.iter().filter(|prefix| prefix.length > 32).collect();
    let hash = |prefix: &&Prefix<u128, u16>| long_hash(halves(prefix.bits), prefix.length.into());
    let full = CompileError::Prefixes;
    let places: Places<LONG_PER_BUCKET> =
        Places::find(long.iter().map(hash).collect(), size.long_buckets).ok_or(full)?;
    let mut buckets = vec![LongBucket::default(); places.buckets.len()];
    for ((bucket, entries), spilled) in buckets.iter_mut().zip(&places.buckets).zip(&places.spilled)
    {
        bucket.spilled = u32::from(*spilled);
        let slots = bucket.prefixes.iter_mut().zip(&mut bucket.values).zip(entries);
        for ((bits, value), entry) in slots {
            let entry = entry.and_then(|entry| usize::try_from(entry).ok());
            if let Some(prefix) = entry.and_then(|entry| long.get(entry)) {
                *bits = halves(prefix.bits);
                *value = (u32::from(prefix.length) << 16) | u32::from(prefix.value);
            }
        }
    }
    Ok(buckets)
}
