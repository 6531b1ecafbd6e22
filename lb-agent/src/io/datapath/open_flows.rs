//! How many flows each source has open: the packet path counts those that it sees begin and end, and each sweep of the
//! flow table puts right what it does not see. See `lb_ebpf::firewall::open`.

use std::sync::atomic::Ordering;

use aya::maps::MapData;
use lb_common::cell::Cell;
use lb_common::layout::limit::{OPEN_BITS, SOURCE_BUCKETS, SOURCE_MASKS};
use lb_common::layout::{Bucket, CELLS_PER_BUCKET, Detail, HashKey};
use lb_common::map;
use lb_ebpf::family::Family;
use lb_ebpf::firewall::open::{bucket_of, flows_of, hash, of_source, place, tag_of, word};
use lb_ebpf::tables::Entry;
use lb_ebpf::v4::V4;
use lb_ebpf::v6::V6;

use super::error::Result;
use super::mapping::Mapping;

/// Bits of a source's tag.
const TAG_BITS: u32 = u64::BITS - OPEN_BITS;

/// The bits by which sources are told apart, as the map has them; zeros: nobody asks.
pub type Masks = [u64; 3];

/// The words of all sources.
pub struct OpenFlows(Mapping);

/// A count under way: one go over all cells.
#[derive(Debug, Default)]
pub struct Count {
    masks: Masks,
    /// The words when it began.
    before: Vec<u64>,
    /// The bucket and tag of the source of each open flow.
    sources: Vec<u64>,
}

impl OpenFlows {
    /// Maps [`map::SOURCE_FLOWS`].
    pub fn of(map: &MapData) -> Result<Self> {
        Mapping::new(map, map::SOURCE_FLOWS, SOURCE_MASKS + 1, size_of::<Bucket>()).map(Self)
    }

    fn masks(&self) -> Masks {
        let mut masks =
            self.0.words().iter().skip(n_words()).map(|word| word.load(Ordering::Relaxed));
        std::array::from_fn(|_| masks.next().unwrap_or(0))
    }

    /// Has sources told apart by other bits from now on, or by none; all are counted anew.
    pub fn tell_apart(&self, masks: Masks) {
        if self.masks() == masks {
            return;
        }
        let (words, header) = self.0.words().split_at(n_words().min(self.0.words().len()));
        for (place, mask) in header.iter().zip(masks) {
            place.store(mask, Ordering::Relaxed);
        }
        for word in words {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Begins a count.
    #[must_use]
    pub fn begin(&self) -> Count {
        let masks = self.masks();
        let words = self.0.words().iter().take(n_words());
        let before = if masks == Masks::default() {
            Vec::new()
        } else {
            words.map(|word| word.load(Ordering::Relaxed)).collect()
        };
        Count { masks, before, sources: Vec::new() }
    }

    /// Has every source have as many flows as were counted, and what the packet path adds from now on.
    ///
    /// A count between what there was when it began and what there is now says nothing against the latter: it has only
    /// missed, or met, what happened meanwhile.
    pub fn settle(&self, mut count: Count) {
        if !count.is_wanted() || self.masks() != count.masks {
            return;
        }
        count.sources.sort_unstable();
        let mut rest = count.sources.as_slice();
        let before = count.before.as_chunks::<CELLS_PER_BUCKET>().0;
        for (number, before) in (0..SOURCE_BUCKETS).zip(before) {
            let n_here = rest.partition_point(|source| source >> TAG_BITS <= u64::from(number));
            let (here, others) = rest.split_at(n_here);
            rest = others;
            if let Some(bucket) = self.0.entry(number) {
                settle_bucket(bucket, before, counted(here));
            }
        }
    }
}

/// The words of sources, before those that say how they are told apart.
fn n_words() -> usize {
    usize::try_from(SOURCE_BUCKETS).unwrap_or(0) * CELLS_PER_BUCKET
}

impl Count {
    /// Whether anybody asks.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.masks != Masks::default()
    }

    /// Counts a cell, if it is that of an open flow from client to backend.
    pub fn add(&mut self, key: &HashKey, cell: Cell, detail: impl FnOnce() -> Option<Detail>) {
        if !cell.is_open() || cell.is_reply() || cell.is_moving() {
            return;
        }
        let Some(detail) = detail() else { return };
        let hash = match detail.family {
            4 => hash::<V4>(key, self.masks, V4::from_words(&detail.client)),
            6 => hash::<V6>(key, self.masks, V6::from_words(&detail.client)),
            _ => return,
        };
        self.sources.push((u64::from(bucket_of(hash)) << TAG_BITS) | tag_of(hash));
    }
}

/// Tags and how often they are there.
fn counted(sorted: &[u64]) -> Vec<(u64, u64)> {
    let of_tag = |run: &[u64]| {
        let flows = u64::try_from(run.len()).unwrap_or(u64::MAX);
        run.first().map(|source| (source & ((1 << TAG_BITS) - 1), flows))
    };
    sorted.chunk_by(PartialEq::eq).filter_map(of_tag).collect()
}

fn settle_bucket(
    bucket: Entry<Bucket>,
    before: &[u64; CELLS_PER_BUCKET],
    mut counted: Vec<(u64, u64)>,
) {
    let flows_before = |tag| before.iter().map(|word| of_source(*word, tag)).max().unwrap_or(0);
    for slot in 0..CELLS_PER_BUCKET {
        let old = bucket.load(slot);
        let (tag, now) = (tag_of(old), flows_of(old));
        if now == 0 {
            continue;
        }
        let known = counted.iter().position(|(counted, _)| *counted == tag);
        let flows = known.map_or(0, |known| counted.swap_remove(known).1);
        let then = flows_before(tag);
        if !(then.min(now)..=then.max(now)).contains(&flows) {
            // Where the packet path was quicker, the next count will tell.
            bucket.swap(slot, old, word(tag, flows));
        }
    }
    // Those that have most get a place first.
    counted.sort_unstable_by_key(|(_, flows)| std::cmp::Reverse(*flows));
    for (tag, flows) in counted {
        let slot = place(bucket, tag);
        let old = bucket.load(slot);
        if flows_before(tag) < flows && flows_of(old) < flows {
            bucket.swap(slot, old, word(tag, flows));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell as Memory;

    use lb_ebpf::firewall::Maps;
    use lb_ebpf::host::HostTables;

    use super::*;

    /// Runs `settle_bucket` on a bucket: what it held, what was counted while it became `now`.
    fn settled(
        before: &[(u64, u64)],
        now: &[(u64, u64)],
        counted: &[(u64, u64)],
    ) -> Vec<(u64, u64)> {
        let words = |sources: &[(u64, u64)]| {
            let mut words = [0; CELLS_PER_BUCKET];
            words
                .iter_mut()
                .zip(sources)
                .for_each(|(place, (tag, flows))| *place = word(*tag, *flows));
            words
        };
        let mut tables = HostTables::new(1, [1, 2]);
        tables.firewall.source_flows = vec![Memory::new(words(now))];
        let bucket = tables.source_flows(0).unwrap();
        settle_bucket(bucket, &words(before), counted.to_vec());
        let mut left: Vec<_> = bucket
            .get()
            .iter()
            .filter(|word| **word != 0)
            .map(|word| (tag_of(*word), flows_of(*word)))
            .collect();
        left.sort_unstable();
        left
    }

    #[test]
    fn what_nobody_has_seen_end_is_put_right() {
        assert_eq!(settled(&[(1, 9), (2, 5)], &[(1, 9), (2, 5)], &[(1, 4)]), [(1, 4)]);
        assert_eq!(settled(&[], &[], &[(1, 3), (2, 7)]), [(1, 3), (2, 7)]);
    }

    #[test]
    fn what_happens_during_a_count_is_not_undone() {
        let now = [(1, 9)];
        for counted in 5..=9 {
            assert_eq!(settled(&[(1, 5)], &now, &[(1, counted)]), now, "{counted}");
        }
        assert_eq!(settled(&[], &[(1, 2)], &[]), [(1, 2)], "it has begun since");
        assert_eq!(settled(&[(1, 2)], &[], &[(1, 2)]), [], "it has ended since");
    }

    #[test]
    fn those_with_most_flows_have_the_places() {
        let counted: Vec<_> = (1..=20).map(|tag| (tag, tag)).collect();
        let most: Vec<_> = (13..=20).map(|tag| (tag, tag)).collect();
        assert_eq!(settled(&[], &[], &counted), most);
        assert_eq!(settled(&most, &most, &counted), most, "and keep them");
    }

    #[test]
    fn flows_are_counted_by_bucket_and_tag() {
        let source = |bucket: u64, tag| (bucket << TAG_BITS) | tag;
        let sorted = [source(3, 1), source(3, 1), source(3, 8)];
        assert_eq!(counted(&sorted), [(1, 2), (8, 1)]);
    }
}
