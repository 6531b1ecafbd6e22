//! A map that is there twice: packets read one half while the other one is written.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::MapData;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::error::Result;
use super::mapping::Mapping;

/// Both halves of a map.
pub(super) struct Halves {
    words: Mapping,
    /// Words of a half.
    n_words: usize,
}

impl Halves {
    pub(super) fn new(
        map: &MapData,
        name: &'static str,
        entries: u32,
        size: usize,
    ) -> Result<Self> {
        let words = Mapping::new(map, name, 2 * entries, size)?;
        Ok(Self { n_words: words.words().len() / 2, words })
    }

    fn half(&self, half: u32) -> &[AtomicU64] {
        let start = if half == 0 { 0 } else { self.n_words };
        self.words.words().get(start..start + self.n_words).unwrap_or_default()
    }

    /// The words of an entry that takes this many bytes.
    fn entry(&self, half: u32, place: u32, size: usize) -> &[AtomicU64] {
        let n_words = size / size_of::<AtomicU64>();
        let start = usize::try_from(place).unwrap_or(usize::MAX).saturating_mul(n_words);
        self.half(half).get(start..start.saturating_add(n_words)).unwrap_or_default()
    }

    /// Writes the first entries of a half; no others are read.
    pub(super) fn write<T: IntoBytes + Immutable>(&self, half: u32, entries: &[T]) {
        fill(self.half(half), entries.as_bytes());
    }

    /// Writes entries by their places.
    pub(super) fn write_some<T: IntoBytes + Immutable>(
        &self,
        half: u32,
        entries: &BTreeMap<u32, T>,
    ) {
        for (place, entry) in entries {
            fill(self.entry(half, *place, size_of::<T>()), entry.as_bytes());
        }
    }

    /// Writes half a word by its place among such.
    pub(super) fn write_part(&self, half: u32, place: u32, value: u32) {
        let mut parts: [u32; 2] = self.read(half, place / 2);
        let [first, second] = &mut parts;
        *(if place.is_multiple_of(2) { first } else { second }) = value;
        fill(self.entry(half, place / 2, size_of::<u64>()), parts.as_bytes());
    }

    /// Reads an entry by its place.
    pub(super) fn read<T: FromBytes + IntoBytes>(&self, half: u32, place: u32) -> T {
        let mut entry = T::new_zeroed();
        let bytes = entry.as_mut_bytes().chunks_exact_mut(size_of::<u64>());
        for (bytes, word) in bytes.zip(self.entry(half, place, size_of::<T>())) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        entry
    }

    /// Has a half hold what the other one does.
    pub(super) fn copy_to(&self, half: u32) {
        for (to, from) in self.half(half).iter().zip(self.half(1 - half)) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

/// Writes bytes, and zeros behind them to the end of the last word.
pub(super) fn fill(words: &[AtomicU64], bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks();
    let mut last = [0; size_of::<AtomicU64>()];
    last.iter_mut().zip(rest).for_each(|(last, byte)| *last = *byte);
    let rest = (!rest.is_empty()).then_some(&last);
    for (word, bytes) in words.iter().zip(whole.iter().chain(rest)) {
        word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
    }
}
