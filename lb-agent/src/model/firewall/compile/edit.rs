//! Entries put into buckets and taken out of them, where some are there already: see `place` for how they lie.

use std::collections::BTreeMap;

use lb_common::layout::firewall::{CELL_SHIFT, CELL_SPILLED, LONG_PER_BUCKET, LongBucket};
use lb_ebpf::firewall::address::{buckets, cell_hash};

use super::long;

/// A bucket of entries with a key and a value each.
pub(super) trait Bucket: Copy + PartialEq {
    /// What names an entry.
    type Key: Copy + PartialEq;
    /// Places in it.
    const PLACES: usize;

    fn hash(key: Self::Key) -> u64;
    /// The entry in a place, if it is not free.
    fn entry(&self, place: usize) -> Option<(Self::Key, u16)>;
    fn set(&mut self, place: usize, entry: Option<(Self::Key, u16)>);
    /// Notes that an entry whose first bucket this is lies in its second.
    fn spill(&mut self);

    /// The place of an entry with this key; without a key, one that is free.
    fn place(&self, key: Option<Self::Key>) -> Option<usize> {
        (0..Self::PLACES).find(|place| self.entry(*place).map(|(key, _)| key) == key)
    }
}

impl Bucket for [u64; 8] {
    type Key = u64;
    const PLACES: usize = 8;

    fn hash(key: u64) -> u64 {
        cell_hash(key)
    }

    fn entry(&self, place: usize) -> Option<(u64, u16)> {
        let word = self.get(place)?;
        // Its lower half is the value, and above that the mark.
        let value = u16::try_from(word & u64::from(u16::MAX)).ok()?;
        Some((word >> CELL_SHIFT, value)).filter(|(key, _)| *key != 0)
    }

    fn set(&mut self, place: usize, entry: Option<(u64, u16)>) {
        if let Some(word) = self.get_mut(place) {
            let new = entry.map_or(0, |(key, value)| (key << CELL_SHIFT) | u64::from(value));
            *word = new | (*word & CELL_SPILLED);
        }
    }

    fn spill(&mut self) {
        self[0] |= CELL_SPILLED;
    }
}

impl Bucket for LongBucket {
    type Key = long::Key;
    const PLACES: usize = LONG_PER_BUCKET;

    fn hash(key: long::Key) -> u64 {
        long::hash(key)
    }

    fn entry(&self, place: usize) -> Option<(Self::Key, u16)> {
        let (prefix, value) = (self.prefixes.get(place)?, self.values.get(place)?);
        let (length, class) = (value >> 16, u16::try_from(value & u32::from(u16::MAX)).ok()?);
        (length != 0).then_some(((*prefix, length), class))
    }

    fn set(&mut self, place: usize, entry: Option<(Self::Key, u16)>) {
        let mut slots = self.prefixes.iter_mut().zip(&mut self.values);
        if let Some((prefix, value)) = slots.nth(place) {
            let ((bits, length), class) = entry.unwrap_or_default();
            (*prefix, *value) = (bits, (length << 16) | u32::from(class));
        }
    }

    fn spill(&mut self) {
        self.spilled = 1;
    }
}

/// Buckets that are as `before` says, but for those that were changed.
pub(super) struct Edited<F, B> {
    before: F,
    mask: u32,
    pub(super) changed: BTreeMap<u32, B>,
}

impl<B: Bucket, F: Fn(u32) -> B> Edited<F, B> {
    pub(super) fn new(n_buckets: u32, before: F) -> Self {
        Self { before, mask: n_buckets.saturating_sub(1), changed: BTreeMap::new() }
    }

    fn read(&self, number: u32) -> B {
        self.changed.get(&number).copied().unwrap_or_else(|| (self.before)(number))
    }

    fn set(&mut self, number: u32, place: usize, entry: Option<(B::Key, u16)>) {
        let mut bucket = self.read(number);
        bucket.set(place, entry);
        self.changed.insert(number, bucket);
    }

    fn spill(&mut self, number: u32) {
        let mut bucket = self.read(number);
        bucket.spill();
        self.changed.insert(number, bucket);
    }

    /// The buckets of a key.
    fn of(&self, key: B::Key) -> [u32; 2] {
        buckets(B::hash(key), self.mask).into()
    }

    /// Takes an entry out. `None`: there is none.
    pub(super) fn remove(&mut self, key: B::Key) -> Option<()> {
        let (number, place) = self.find(key)?;
        self.set(number, place, None);
        Some(())
    }

    fn find(&self, key: B::Key) -> Option<(u32, usize)> {
        self.of(key)
            .into_iter()
            .find_map(|number| Some((number, self.read(number).place(Some(key))?)))
    }

    /// Puts an entry in, or gives it another value. `None`: there is no room that is soon found.
    pub(super) fn put(&mut self, key: B::Key, value: u16) -> Option<()> {
        if let Some((number, place)) = self.find(key) {
            self.set(number, place, Some((key, value)));
            return Some(());
        }
        if !self.put_where_free(key, value) {
            self.make_way(key)?;
            self.put_where_free(key, value).then_some(())?;
        }
        Some(())
    }

    fn put_where_free(&mut self, key: B::Key, value: u16) -> bool {
        let [first, second] = self.of(key);
        let place = |number| Some((number, self.read(number).place(None)?));
        let Some((number, place)) = place(first).or_else(|| place(second)) else { return false };
        if number == second {
            self.spill(first);
        }
        self.set(number, place, Some((key, value)));
        true
    }

    /// Moves an entry out of a bucket of the key into its other one.
    fn make_way(&mut self, key: B::Key) -> Option<()> {
        for number in self.of(key) {
            for place in 0..B::PLACES {
                let (moved, value) = self.read(number).entry(place)?;
                let others = self.of(moved).into_iter().filter(|other| *other != number);
                let mut free =
                    others.filter_map(|other| Some((other, self.read(other).place(None)?)));
                if let Some((other, free)) = free.next() {
                    let [first, second] = self.of(moved);
                    if other == second {
                        self.spill(first);
                    }
                    self.set(number, place, None);
                    self.set(other, free, Some((moved, value)));
                    return Some(());
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> u64 {
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24
    }

    #[test]
    fn entries_come_change_and_go() {
        let mut cells = Edited::new(16, |_| [0_u64; 8]);
        for number in 1..=70 {
            cells.put(key(number), 7).unwrap();
        }
        cells.put(key(3), 9).unwrap();
        for number in (1..=70).step_by(2).filter(|number| *number != 3) {
            cells.remove(key(number)).unwrap();
        }
        for number in 1..=70 {
            let found = cells.find(key(number)).map(|(bucket, place)| {
                let [first, second] = cells.of(key(number));
                assert!(bucket == first || cells.read(first)[0] & CELL_SPILLED != 0, "{second}");
                cells.read(bucket).entry(place).unwrap().1
            });
            let wanted = if number == 3 { Some(9) } else { (number % 2 == 0).then_some(7) };
            assert_eq!(found, wanted, "{number}");
        }
        assert_eq!(cells.remove(key(71)), None);
    }

    #[test]
    fn what_finds_no_room_is_told() {
        let mut long = Edited::new(1 << 1, |_| LongBucket::default());
        let put = |number| long.put(([number, 0], 64), 1);
        let n_put = (1..=20).map_while(put).count();
        assert!((3..=6).contains(&n_put), "{n_put}");
    }
}
