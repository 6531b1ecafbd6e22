//! Places in buckets: each entry lies in one of two that its hash names.

use lb_ebpf::firewall::address::buckets;

/// Entries that are moved to make room for one.
const MOST_MOVES: usize = 500;

/// Where entries lie.
pub(super) struct Places<const N: usize> {
    /// Numbers of entries by bucket.
    pub(super) buckets: Vec<[Option<u32>; N]>,
    /// Buckets with an entry that lies in its second one.
    pub(super) spilled: Vec<bool>,
    hashes: Vec<u64>,
    mask: u32,
    turn: usize,
}

impl<const N: usize> Places<N> {
    /// Finds places for entries with these hashes in this many buckets; `None` where there is no room.
    pub(super) fn find(hashes: Vec<u64>, n_buckets: u32) -> Option<Self> {
        let count = usize::try_from(n_buckets).ok()?;
        let (empty, whole) = (vec![[None; N]; count], vec![false; count]);
        let entries = 0..u32::try_from(hashes.len()).ok()?;
        let mask = n_buckets.checked_sub(1)?;
        let mut places = Self { buckets: empty, spilled: whole, hashes, mask, turn: 0 };
        for entry in entries {
            places.insert(entry)?;
        }
        Some(places)
    }

    /// The same in as few buckets as they fill to four fifths, if there is room in these, or in more: a power of two.
    pub(super) fn find_few(hashes: &[u64], most_buckets: u32) -> Option<Self> {
        let few = (hashes.len() * 5).div_ceil(4 * N).next_power_of_two();
        let mut n_buckets = u32::try_from(few).ok()?.clamp(2, most_buckets);
        loop {
            let places = Self::find(hashes.to_vec(), n_buckets);
            if places.is_some() || n_buckets >= most_buckets {
                return places;
            }
            n_buckets *= 2;
        }
    }

    fn insert(&mut self, entry: u32) -> Option<()> {
        let (first, second) = self.of(entry)?;
        if self.put(first, entry)? || self.put(second, entry)? {
            return Some(());
        }
        let (mut entry, mut bucket) = (entry, first);
        for _ in 0..MOST_MOVES {
            entry = self.replace(bucket, entry)?;
            let (first, second) = self.of(entry)?;
            bucket = if bucket == first { second } else { first };
            if self.put(bucket, entry)? {
                return Some(());
            }
        }
        None
    }

    fn of(&self, entry: u32) -> Option<(usize, usize)> {
        let hash = self.hashes.get(usize::try_from(entry).ok()?)?;
        let (first, second) = buckets(*hash, self.mask);
        Some((usize::try_from(first).ok()?, usize::try_from(second).ok()?))
    }

    /// Whether there was room.
    fn put(&mut self, bucket: usize, entry: u32) -> Option<bool> {
        let free = self.buckets.get_mut(bucket)?.iter_mut().find(|place| place.is_none());
        let Some(place) = free else { return Some(false) };
        *place = Some(entry);
        self.note(bucket, entry)?;
        Some(true)
    }

    /// Puts an entry in the place of another one.
    fn replace(&mut self, bucket: usize, entry: u32) -> Option<u32> {
        self.turn = (self.turn + 1) % N;
        let place = self.buckets.get_mut(bucket)?.get_mut(self.turn)?;
        let other = place.replace(entry)?;
        self.note(bucket, entry)?;
        Some(other)
    }

    fn note(&mut self, bucket: usize, entry: u32) -> Option<()> {
        let (first, _) = self.of(entry)?;
        if bucket != first {
            *self.spilled.get_mut(first)? = true;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_lies_in_one_of_its_buckets_and_the_first_knows_of_those_in_the_second() {
        let hashes: Vec<u64> =
            (1..=190_u64).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        let places = Places::<3>::find(hashes.clone(), 64).unwrap();
        for (entry, hash) in (0..).zip(hashes) {
            let (first, second) = buckets(hash, 63);
            let lies_in = |bucket: u32| {
                places.buckets[usize::try_from(bucket).unwrap()].contains(&Some(entry))
            };
            assert!(lies_in(first) != lies_in(second));
            assert!(lies_in(first) || places.spilled[usize::try_from(first).unwrap()]);
        }
    }

    #[test]
    fn entries_take_few_buckets_and_more_where_these_are_too_few() {
        let n_buckets = |hashes: &[u64], most| {
            Places::<3>::find_few(hashes, most).map(|places| places.buckets.len())
        };
        let spread: Vec<u64> = (0..300).map(lb_ebpf::family::mix).collect();
        assert_eq!(n_buckets(&spread, 1_024), Some(128));
        assert_eq!(n_buckets(&[], 1_024), Some(2));
        // In two or four buckets, all of these have the same two.
        let alike: Vec<u64> = (0..7).map(|number| number << 2).collect();
        assert_eq!(n_buckets(&alike, 1_024), Some(8));
        assert_eq!(n_buckets(&alike, 4), None);
    }

    #[test]
    fn more_entries_than_places_find_none() {
        assert!(Places::<3>::find((0..13).map(|number| number << 16).collect(), 4).is_none());
        assert!(Places::<3>::find(vec![0; 7], 4).is_none());
        assert!(Places::<3>::find(vec![0; 6], 4).is_some());
    }
}
