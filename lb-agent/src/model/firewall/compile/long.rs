//! IPv6: prefixes of up to 32 bits and nodes, which make a plane, and longer prefixes in buckets.

use std::collections::HashMap;

use lb_common::layout::firewall::{
    ALONE, ALONE_PLANE, BIT_WORDS, LONG_PER_BUCKET, LongBucket, MAX_NODES, Node, alone_mark,
};
use lb_ebpf::firewall::address::{alone_hash, long_hash};

use super::class::{Bits, Prefix};
use super::edit::Bucket;
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
        for group in prefixes.chunk_by(are_long_together) {
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

fn halves(bits: u128) -> [u64; 2] {
    [bits >> 64, bits & u128::from(u64::MAX)].map(|half| u64::try_from(half).unwrap_or_default())
}

/// Bit `128 - length` for each length.
fn lengths(prefixes: &[Prefix<u128, u16>]) -> [u64; 2] {
    let bits = prefixes.iter().fold(0_u128, |bits, prefix| bits | (1 << (128 - prefix.length)));
    let [high, low] = halves(bits);
    [low, high]
}

/// Names an entry: a prefix, and its length, with [`ALONE`] where that is so.
pub(super) type Key = ([u64; 2], u32);

/// An entry and its class.
pub(super) type Entry = (Key, u16);

/// Prefixes of IPv6, sorted, with their classes.
pub(super) type Long = Vec<Prefix<u128, u16>>;

/// The hash that leads to an entry.
pub(super) fn hash((prefix, length): Key) -> u64 {
    if length & ALONE != 0 { alone_hash(prefix[0]) } else { long_hash(prefix, length) }
}

/// Prefixes that are sorted, in two parts: those that the plane leads to, and entries of those that are alone in their
/// first 32 bits.
pub(super) fn divide(prefixes: &[Prefix<u128, u16>]) -> (Long, Vec<Entry>) {
    let (mut others, mut alone) = (Vec::new(), Vec::new());
    for group in prefixes.chunk_by(are_long_together) {
        match group {
            [prefix] if prefix.length > 32 => alone.push(entry(prefix, ALONE)),
            _ => others.extend(group),
        }
    }
    (others, alone)
}

/// Entries of the prefixes that a node leads to.
pub(super) fn below_nodes(prefixes: &[Prefix<u128, u16>]) -> impl Iterator<Item = Entry> {
    prefixes.iter().filter(|prefix| prefix.length > 32).map(|prefix| entry(prefix, 0))
}

fn entry(prefix: &Prefix<u128, u16>, flags: u32) -> Entry {
    ((halves(prefix.bits), u32::from(prefix.length) | flags), prefix.value)
}

/// Whether both have more than 32 bits, the first of which are the same.
fn are_long_together(a: &Prefix<u128, u16>, b: &Prefix<u128, u16>) -> bool {
    a.length > 32 && b.length > 32 && first_bits(a.bits) == first_bits(b.bits)
}

/// Entries in their buckets.
pub(super) fn buckets(entries: &[Entry], size: Size) -> Result<Vec<LongBucket>, CompileError> {
    let hashes = entries.iter().map(|(key, _)| hash(*key)).collect();
    let places: Places<LONG_PER_BUCKET> =
        Places::find(hashes, size.long_buckets).ok_or(CompileError::Prefixes)?;
    let mut buckets = vec![LongBucket::default(); places.buckets.len()];
    for ((bucket, places), spilled) in buckets.iter_mut().zip(&places.buckets).zip(&places.spilled)
    {
        bucket.spilled = u32::from(*spilled);
        for (place, entry) in places.iter().enumerate() {
            let entry = entry.and_then(|entry| usize::try_from(entry).ok());
            bucket.set(place, entry.and_then(|entry| entries.get(entry)).copied());
        }
    }
    Ok(buckets)
}

/// Bits of the words of [`ALONE_PLANE`], by their places in a half.
pub(super) fn alone_bits(alone: &[Entry]) -> impl Iterator<Item = (u32, u64)> {
    alone.iter().map(|(key, _)| {
        let (word, mark) = alone_mark(hash(*key));
        (ALONE_PLANE * BIT_WORDS + word, mark)
    })
}
