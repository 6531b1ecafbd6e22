//! Flows move to a table of another size, by many threads at once, as by CPUs and the agent.
#![expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use lb_common::MAX_BACKENDS;
use lb_common::cell::{Cell, State, TAG_BITS, before};
use lb_common::layout::{
    Address, BACKEND_UP, Backend, Bucket, CELLS_PER_BUCKET, Detail, Forward, Settings,
};
use lb_ebpf::detail::detail_hash;
use lb_ebpf::flow::{NOWHERE, survey_of};
use lb_ebpf::host::hash_key;
use lb_ebpf::migrate::{Movable, Moved, complete, migrate, recall};
use lb_ebpf::tables::Entry;
use zerocopy::FromZeros;

const TICK: u64 = 50_000;
const DETAIL_WORDS: usize = size_of::<Detail>() / 8;

/// A flow table in memory that threads share.
struct Table {
    cells: Vec<AtomicU64>,
    details: Vec<AtomicU64>,
    /// Whether its cells are of the layout before this one.
    is_before: bool,
}

impl Table {
    fn new(buckets: usize) -> Self {
        let zeros = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        let cells = buckets * CELLS_PER_BUCKET;
        Self { cells: zeros(cells), details: zeros(cells * DETAIL_WORDS), is_before: false }
    }

    fn read(&self, word: u64) -> Cell {
        if self.is_before { before::read(word) } else { Cell(word) }
    }

    fn word(&self, cell: Cell) -> u64 {
        if self.is_before { before::written(cell) } else { cell.0 }
    }

    fn mask(&self) -> u32 {
        (self.cells.len() / CELLS_PER_BUCKET) as u32 - 1
    }

    fn bucket(&self, index: u32) -> Option<Entry<Bucket>> {
        let start = index as usize * CELLS_PER_BUCKET;
        let words = self.cells.get(start..start + CELLS_PER_BUCKET)?;
        // SAFETY: the words are those of a bucket, and live as long as all threads.
        Some(unsafe { Entry::new(words.as_ptr().cast::<Bucket>().cast_mut()) })
    }

    fn detail(&self, index: u32) -> Option<Entry<Detail>> {
        let start = index as usize * DETAIL_WORDS;
        let words = self.details.get(start..start + DETAIL_WORDS)?;
        // SAFETY: the words are those of a detail, and live as long as all threads.
        Some(unsafe { Entry::new(words.as_ptr().cast::<Detail>().cast_mut()) })
    }

    fn live(&self) -> impl Iterator<Item = (usize, Cell)> {
        let cells = self.cells.iter().map(|word| self.read(word.load(SeqCst))).enumerate();
        cells.filter(|(_, cell)| cell.state().is_some() && !cell.is_moving())
    }
}

/// Both tables.
struct Pair {
    settings: Settings,
    backend: Backend,
    new: Table,
    old: Table,
}

impl Movable for Pair {
    fn settings(&self) -> Option<&Settings> {
        Some(&self.settings)
    }

    fn read_backend<R>(&self, id: u32, read: impl FnOnce(&Backend) -> R) -> Option<R> {
        (id < MAX_BACKENDS).then(|| read(&self.backend))
    }

    fn bucket(&self, index: u32) -> Option<Entry<Bucket>> {
        self.new.bucket(index)
    }

    fn detail(&self, index: u32) -> Option<Entry<Detail>> {
        self.new.detail(index)
    }

    fn other_bucket(&self, index: u32) -> Option<Entry<Bucket>> {
        self.old.bucket(index)
    }

    fn other_detail(&self, index: u32) -> Option<Entry<Detail>> {
        self.old.detail(index)
    }

    fn other_is_before(&self) -> bool {
        self.old.is_before
    }

    fn survey(&self, index: u32, tick: u64) -> u64 {
        survey_of(&self.settings, self.new.bucket(index).unwrap(), tick)
    }
}

impl Pair {
    fn new(old_buckets: usize, new_buckets: usize) -> Self {
        let (old, new) = (Table::new(old_buckets), Table::new(new_buckets));
        let mut backend = Backend::new_zeroed();
        backend.address = [9, 0, 0, 0];
        backend.vip = [10, 0, 0, 0];
        backend.state = BACKEND_UP;
        let settings = Settings {
            hash_key: hash_key([5, 6]),
            bucket_mask: new.mask(),
            other_mask: old.mask(),
            timeouts: [0, 9, 9, 9, 9, 9, 9, 0],
            ..Settings::new_zeroed()
        };
        Self { settings, backend, new, old }
    }

    /// Puts flows into the old table, in each direction in turn where replies pass; returns their hashes.
    fn fill(&self, n_flows: u32) -> Vec<u64> {
        (0..n_flows).filter_map(|number| self.add(&self.old, number)).collect()
    }

    fn add(&self, table: &Table, number: u32) -> Option<u64> {
        let mut detail = Detail::new_zeroed();
        let client: Address = [number, 0, 0, 0];
        let is_hidden = self.backend.forward == Forward::FullNat.number();
        let source = if is_hidden { [!number, 0, 0, 0] } else { client };
        (detail.client, detail.source, detail.family) = (client, source, 4);
        let is_reply = self.backend.is_nat() && number % 2 == 1;
        let hash = detail_hash(&self.settings.hash_key, &detail, &self.backend, is_reply).unwrap();
        let bucket = hash as u32 & table.mask();
        let free = |slot: &usize| table.bucket(bucket).unwrap().load(*slot) == 0;
        let slot = (0..CELLS_PER_BUCKET).find(free)?;
        let cell =
            Cell::new(hash >> (64 - TAG_BITS), number % 1_000, TICK, State::Established, is_reply);
        assert!(table.bucket(bucket).unwrap().swap(slot, 0, table.word(cell)));
        let index = bucket * CELLS_PER_BUCKET as u32 + slot as u32;
        table.detail(index).unwrap().update(|place| *place = detail);
        Some(hash)
    }

    fn move_all(&self) -> Vec<Moved> {
        (0..self.old.cells.len() as u32).map(|index| migrate(self, index, TICK)).collect()
    }

    /// Every flow is in the new table once, with a detail that fits.
    fn check(&self, hashes: &[u64]) {
        assert_eq!(self.old.live().count(), 0);
        let arriving = self.new.cells.iter().filter(|word| Cell(word.load(SeqCst)).is_moving());
        assert_eq!(arriving.count(), 0);
        let hash_of = |(index, cell): (usize, Cell)| {
            let detail = self.new.detail(index as u32).unwrap().get();
            assert_eq!(cell.backend(), detail.client[0] % 1_000);
            let key = &self.settings.hash_key;
            let hash = detail_hash(key, &detail, &self.backend, cell.is_reply()).unwrap();
            assert_eq!(cell.tag(), hash >> (64 - TAG_BITS));
            hash
        };
        let mut found: Vec<_> = self.new.live().map(hash_of).collect();
        let mut expected = hashes.to_vec();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }
}

#[test]
fn flows_that_all_threads_move_at_once_are_moved_once_each_and_found_all_the_time() {
    for (old, new, is_before, forward) in [
        (512, 4_096, false, Forward::Nat),
        (512, 4_096, false, Forward::FullNat),
        (512, 4_096, false, Forward::Dsr),
        (4_096, 512, false, Forward::Nat),
        (1_024, 1_024, true, Forward::FullNat),
    ] {
        let mut pair = Pair::new(old, new);
        pair.old.is_before = is_before;
        pair.backend.forward = forward.number();
        let hashes = pair.fill(2_000);
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (pair, mut order) = (&pair, hashes.clone());
                order.rotate_left(thread * 100);
                scope.spawn(move || {
                    for hash in order {
                        let position = recall(pair, hash, TICK);
                        assert!(position != NOWHERE, "a packet of a flow found it");
                    }
                });
            }
            scope.spawn(|| pair.move_all());
        });
        pair.check(&hashes);
    }
}

#[test]
fn a_flow_that_is_in_both_tables_is_in_the_new_one_once() {
    let pair = Pair::new(64, 512);
    let hash = pair.add(&pair.old, 7).unwrap();
    pair.add(&pair.new, 7).unwrap();
    assert_eq!(pair.move_all().iter().filter(|moved| **moved == Moved::Now).count(), 1);
    pair.check(&[hash]);
}

#[test]
fn established_flows_without_a_place_stay_where_they_are() {
    let pair = Pair::new(64, 1);
    let hashes = pair.fill(20);
    let moved = pair.move_all();
    let n_left = moved.iter().filter(|moved| **moved == Moved::Not).count();
    assert_eq!(n_left, hashes.len() - CELLS_PER_BUCKET, "the only bucket is full");
    assert_eq!(pair.old.live().count(), n_left);
    assert_eq!(pair.new.live().count(), CELLS_PER_BUCKET);
}

#[test]
fn idle_flows_and_strangers_are_not_moved() {
    let pair = Pair::new(64, 512);
    let hashes = pair.fill(20);
    assert_eq!(recall(&pair, hashes[0], TICK + 20), NOWHERE);
    assert_eq!(recall(&pair, hashes[0] ^ 1, TICK), NOWHERE, "the same tag, another flow");
    for index in 0..pair.old.cells.len() as u32 {
        assert_eq!(migrate(&pair, index, TICK + 20), Moved::Nothing);
        pair.old.detail(index).unwrap().update(|detail| detail.client = [u32::MAX; 4]);
        pair.old.detail(index).unwrap().update(|detail| detail.source = [u32::MAX; 4]);
    }
    assert!(pair.move_all().iter().all(|moved| *moved != Moved::Now), "details of other flows");
    assert_eq!(pair.new.live().count(), 0);
}

#[test]
fn a_move_is_completed_by_whoever_comes_next() {
    let pair = Pair::new(64, 512);
    let hashes = pair.fill(20);
    pair.move_all();
    for word in &pair.new.cells {
        let cell = Cell(word.load(SeqCst));
        if !cell.is_empty() {
            word.store(cell.arriving().0, SeqCst);
        }
    }
    assert!(recall(&pair, hashes[0], TICK) != NOWHERE);
    assert_eq!(pair.new.live().count(), 1);
    (0..pair.new.cells.len() as u32).for_each(|index| complete(&pair, index, TICK));
    pair.check(&hashes);
}
