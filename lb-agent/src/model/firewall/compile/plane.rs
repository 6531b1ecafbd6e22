//! The two planes: what the first 32 bits of an address lead to.

use std::collections::BTreeMap;

use lb_common::layout::firewall::{
    BIT_WORDS, CELL_SHIFT, CELL_SPILLED, FRONT_COMMON, FRONT_MIXED, FRONT_NONE, FRONT_SINGLES,
    Front, HAS_SINGLES, HAS_SPANS, PAGE, cell_key, root,
};
use lb_ebpf::firewall::address::cell_hash;

use super::class::Prefix;
use super::place::Places;
use super::{CompileError, Size};

/// Values of the first 16 bits.
const ROOTS: usize = 65_536;

/// Roots, fronts, values and cells of both planes.
#[derive(Debug)]
pub(super) struct Planes {
    pub(super) bits: Vec<u64>,
    pub(super) roots: Vec<[u32; PAGE]>,
    pub(super) fronts: Vec<Front>,
    pub(super) values: Vec<[u16; PAGE]>,
    cells: Vec<(u64, u16)>,
    size: Size,
}

impl Planes {
    pub(super) fn new(size: Size) -> Self {
        let (fronts, values) = (vec![Front::default()], vec![[0; PAGE]]);
        Self { bits: Vec::new(), roots: Vec::new(), fronts, values, cells: Vec::new(), size }
    }

    /// Adds the next plane, of which these are the prefixes, sorted.
    pub(super) fn add(
        &mut self,
        plane: u32,
        prefixes: &[Prefix<u32, u16>],
    ) -> Result<(), CompileError> {
        let mut values = vec![0_u16; ROOTS];
        for prefix in prefixes.iter().filter(|prefix| prefix.length <= 16) {
            paint(&mut values, prefix.bits >> 16, 16 - prefix.length, prefix.value);
        }
        let mut roots: Vec<u32> = values.iter().map(|value| root(0, *value)).collect();
        let longer: Vec<_> = prefixes.iter().filter(|prefix| prefix.length > 16).copied().collect();
        for group in longer.chunk_by(|a, b| a.bits >> 16 == b.bits >> 16) {
            let start = group.first().map_or(0, |first| index(first.bits >> 16));
            let outer = values.get(start).copied().unwrap_or_default();
            let found = self.chunk(plane, outer, group)?;
            if let Some(place) = roots.get_mut(start) {
                *place = found;
            }
        }
        self.roots.extend(roots.as_chunks::<PAGE>().0);
        self.bits.extend(bits(prefixes));
        Ok(())
    }

    /// Adds the next plane of bits: some of words, by their places among all.
    pub(super) fn add_bits(&mut self, marks: impl Iterator<Item = (u32, u64)>) {
        self.bits.resize(self.bits.len() + index(BIT_WORDS), 0);
        for (place, mark) in marks {
            if let Some(word) = self.bits.get_mut(index(place)) {
                *word |= mark;
            }
        }
    }

    /// Makes a chunk of prefixes that begin with the same 16 bits, all of which have the value `outer` without them;
    /// returns the root that leads to it.
    fn chunk(
        &mut self,
        plane: u32,
        outer: u16,
        prefixes: &[Prefix<u32, u16>],
    ) -> Result<u32, CompileError> {
        let chunk = Chunk::of(plane, outer, prefixes);
        self.cells.extend(&chunk.cells);
        if chunk.is_plain() {
            return Ok(root(0, chunk.common));
        }
        let number = u32::try_from(self.fronts.len()).unwrap_or(u32::MAX);
        if number >= self.size.chunks {
            return Err(self.size.no_chunk());
        }
        self.fronts.push(chunk.front());
        self.values.push(chunk.values);
        Ok(root(number, chunk.common))
    }

    /// The cells in their buckets.
    pub(super) fn buckets(&self) -> Result<Vec<[u64; 8]>, CompileError> {
        let hashes: Vec<_> = self.cells.iter().map(|(key, _)| cell_hash(*key)).collect();
        let places =
            Places::<8>::find_few(&hashes, self.size.cell_buckets).ok_or(CompileError::Prefixes)?;
        let word = |entry: &Option<u32>| {
            let cell = entry.and_then(|entry| self.cells.get(index(entry)));
            cell.map_or(0, |(key, value)| (key << CELL_SHIFT) | u64::from(*value))
        };
        let buckets = places.buckets.iter().zip(&places.spilled);
        let words = buckets.map(|(bucket, spilled)| {
            let mut words = bucket.each_ref().map(word);
            words[0] |= if *spilled { CELL_SPILLED } else { 0 };
            words
        });
        Ok(words.collect())
    }
}

/// What the first 16 bits of addresses lead to.
pub(super) struct Chunk {
    pub(super) values: [u16; PAGE],
    /// The value that the root tells.
    pub(super) common: u16,
    pub(super) cells: Vec<(u64, u16)>,
}

impl Chunk {
    /// That of prefixes of more than 16 bits, which begin with the same; without them all has the value `outer`.
    pub(super) fn of(plane: u32, outer: u16, prefixes: &[Prefix<u32, u16>]) -> Self {
        let (mut values, mut cells) = ([outer; PAGE], Vec::new());
        let mut lengths: BTreeMap<usize, u16> = BTreeMap::new();
        for prefix in prefixes {
            if prefix.length <= 24 {
                paint(&mut values, (prefix.bits >> 8) & 0xff, 24 - prefix.length, prefix.value);
            } else {
                *lengths.entry(third(prefix.bits)).or_default() |= 1 << (prefix.length - 25);
                let key = cell_key(plane, prefix.bits, prefix.length.into());
                cells.push((key, prefix.value));
            }
        }
        let base = prefixes.first().map_or(0, |prefix| prefix.bits & 0xffff_0000);
        for (place, lengths) in lengths {
            let spans = lengths & !SINGLE;
            if spans != 0 {
                let prefix = base | (u32::try_from(place).unwrap_or(0) << 8);
                cells.push((cell_key(plane, prefix, 24), spans));
            }
            let flags = if lengths & SINGLE != 0 { HAS_SINGLES } else { 0 };
            if let Some(value) = values.get_mut(place) {
                *value |= flags | if spans != 0 { HAS_SPANS } else { 0 };
            }
        }
        Self { common: most_common(&values), values, cells }
    }

    /// Whether the root tells all of it.
    pub(super) fn is_plain(&self) -> bool {
        self.values.iter().all(|value| *value == 0 || *value == self.common)
    }

    pub(super) fn front(&self) -> Front {
        let mut front = Front::default();
        for (word, values) in front.iter_mut().zip(self.values.as_chunks::<32>().0) {
            for (place, value) in values.iter().enumerate() {
                let code = match *value {
                    0 => FRONT_NONE,
                    HAS_SINGLES => FRONT_SINGLES,
                    value if value == self.common => FRONT_COMMON,
                    _ => FRONT_MIXED,
                };
                *word |= code << (2 * place);
            }
        }
        front
    }
}

/// The length of 32 bits, among those of a chunk from 25 on.
const SINGLE: u16 = 1 << 7;

fn third(bits: u32) -> usize {
    index((bits >> 8) & 0xff)
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Sets 2^`bits` values from `start` on.
fn paint(values: &mut [u16], start: u32, bits: u8, value: u16) {
    let start = index(start);
    if let Some(values) = values.get_mut(start..start + (1 << bits)) {
        values.fill(value);
    }
}

/// A bit for each value of the first 24 bits with which any of these prefixes begins.
fn bits(prefixes: &[Prefix<u32, u16>]) -> Vec<u64> {
    let mut words = vec![0_u64; index(BIT_WORDS)];
    for Prefix { bits, length, .. } in prefixes {
        mark(&mut words, bits >> 8, *length);
    }
    words
}

/// The same for those that begin with these 16 bits alone; the prefixes begin so, or hold them all.
pub(super) fn group_bits(group: u32, prefixes: &[Prefix<u32, u16>]) -> [u64; 4] {
    let mut words = [0; 4];
    for Prefix { bits, length, .. } in prefixes {
        let start = if *length <= 16 { 0 } else { (bits >> 8).wrapping_sub(group << 8) };
        mark(&mut words, start, (*length).max(16));
    }
    words
}

/// Sets the bits of a prefix whose first one this is.
fn mark(words: &mut [u64], start: u32, length: u8) {
    if length <= 18 {
        let end = start + (1 << (24 - length));
        if let Some(words) = words.get_mut(index(start / 64)..index(end / 64)) {
            words.fill(u64::MAX);
        }
    } else if let Some(word) = words.get_mut(index(start / 64)) {
        let count = 1_u32 << 24_u8.saturating_sub(length);
        *word |= (u64::MAX >> (64 - count)) << (start % 64);
    }
}

/// The value, not 0, that most have who have nothing else.
fn most_common(values: &[u16; PAGE]) -> u16 {
    let mut counts: BTreeMap<u16, u32> = BTreeMap::new();
    for value in values.iter().filter(|value| **value & (HAS_SINGLES | HAS_SPANS) == 0) {
        *counts.entry(*value).or_default() += u32::from(*value != 0);
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map_or(0, |(value, _)| value)
}
