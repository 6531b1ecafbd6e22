//! The flow table: cells in buckets of one cache line (`lb_common::cell`).
//!
//! A flow has a first and a second bucket. A search goes through the second only where the first has no cell of the
//! flow; inserts prefer the first until it is crowded. Every write is one compare-and-swap from the value read.

use lb_common::cell::{Cell, State, TAG_BITS};
use lb_common::layout::{Bucket, CELLS_PER_BUCKET, HashKey, Settings};
use lb_common::{BUCKETS_PER_MARK, MAX_MARKS};

use crate::family::{Family, product, spread};
use crate::flight::Watch;
use crate::place::{Place, first_bucket, second_bucket};
use crate::tables::{Entry, Tables};
use crate::verifier::rolled;

/// Live cells from which a bucket is crowded: an insert then looks for a less loaded second one.
const CROWDED: u64 = 6;

/// Order of eviction by state number, four bits each: empty, closing, not yet established, UDP.
const RANKS: u64 = 0x314_4220;
/// The rank that is never evicted: established, half-closed.
const NEVER: u64 = 4;

/// Cells with the flow's tag that are looked at; more than two is a chance of one in 10^12.
const MATCHES: usize = 2;

/// The position that is none.
pub const NOWHERE: u64 = u64::MAX;

/// A packet's own 5-tuple, as its words stand in the packet.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Tuple<F: Family> {
    /// Source address.
    pub source: F::Address,
    /// Destination address.
    pub destination: F::Address,
    /// Source port, network order.
    pub source_port: u16,
    /// Destination port, network order.
    pub destination_port: u16,
    /// TCP or UDP.
    pub protocol: u8,
}

impl<F: Family> Tuple<F> {
    /// The keyed hash that places the flow.
    #[inline(always)]
    pub fn hash(&self, key: &HashKey) -> u64 {
        let ports = u32::from(self.source_port) | (u32::from(self.destination_port) << 16);
        let addresses = F::products(key, self.source, self.destination);
        spread(addresses.wrapping_add(product(key[4], ports, self.protocol.into())))
    }
}

/// A cell as it was read.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Found {
    /// Where it is.
    pub place: Place,
    /// What it held; empty where nothing was found.
    pub cell: Cell,
}

impl Found {
    /// Nothing. Not an `Option`, whose undefined half the compiler would copy, which the verifier refuses.
    pub const NONE: Self = Self { place: Place { bucket: 0, slot: 0 }, cell: Cell::EMPTY };

    /// Whether nothing was found.
    #[inline(always)]
    pub fn is_none(&self) -> bool {
        self.cell.is_empty()
    }
}

/// What a new cell says of its flow.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Where the flow stands.
    pub state: State,
    /// Whether its sequence numbers are rewritten.
    pub is_translated: bool,
}

/// The flow table at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Flows<'t, T> {
    /// The maps.
    pub tables: &'t T,
    /// What is the same for all packets.
    pub settings: &'t Settings,
    /// Now.
    pub tick: u64,
    /// Whether the flow at hand is to be judged anew by each packet of its client.
    pub watch: Watch,
}

impl<T: Tables> Flows<'_, T> {
    /// Touches all that a search and an insert of a flow may need. Each place is far away: asked for together, they
    /// are waited for once.
    #[inline(always)]
    pub fn fetch(&self, hash: u64) {
        let mask = self.settings.bucket_mask;
        let first = first_bucket(hash, mask);
        for index in [first, second_bucket(first, hash, mask)] {
            if let Some(bucket) = self.tables.bucket(index) {
                bucket.load(0);
            }
        }
        // The details of a bucket are on one page.
        if let Some(detail) = self.tables.detail(Place { bucket: first, slot: 0 }.index()) {
            detail.touch();
        }
    }

    /// The cell of a flow that is not expired, or [`Found::NONE`]. A cell that `accept` refuses belongs to
    /// another flow with the same tag.
    #[inline(always)]
    pub fn find(&self, hash: u64, accept: impl Fn(&Found) -> bool) -> Found {
        let mut found = Found::NONE;
        let mut from = 0;
        for _ in 0..MATCHES {
            let mut position = self.tables.search(hash, from, self.tick);
            if position == NOWHERE && self.settings.other_mask != 0 {
                position = self.tables.recall(hash, self.tick);
            }
            if position == NOWHERE {
                break;
            }
            let place = self.place(hash, position);
            let cell = Cell(self.tables.bucket(place.bucket).map_or(0, |b| b.load(place.slot)));
            let candidate = Found { place, cell };
            if cell.tag() == tag_of(hash) && accept(&candidate) {
                found = candidate;
                break;
            }
            from = position + 1;
        }
        found
    }

    /// The place of a position in the flow's two buckets, one after the other.
    #[inline(always)]
    fn place(&self, hash: u64, position: u64) -> Place {
        Place::of(hash, self.settings.bucket_mask, position)
    }

    /// Takes a place for a new flow: one that is free, or that of the least worthy flow which is not
    /// established. [`Found::NONE`]: there is none.
    #[inline(always)]
    pub fn insert(&self, hash: u64, backend: u32, kind: Kind, reply: bool) -> Found {
        let cell = self.cell(tag_of(hash), backend, kind, reply);
        // The second round is for a race that was lost to another CPU.
        for _ in 0..2 {
            let candidate = self.candidate(hash);
            if candidate.rank >= NEVER {
                break;
            }
            let place = candidate.place;
            let Some(bucket) = self.tables.bucket(place.bucket) else { break };
            let old = bucket.load(place.slot);
            if rank(Cell(old), self.tick, self.settings) <= candidate.rank
                && self.tables.swap(bucket, place.slot, old, cell.0)
            {
                mark(self.tables, place.bucket);
                return Found { place, cell };
            }
        }
        Found::NONE
    }

    /// The cell of a flow that is seen now.
    #[inline(always)]
    fn cell(&self, tag: u64, backend: u32, kind: Kind, reply: bool) -> Cell {
        let cell = Cell::new(tag, backend, self.tick, kind.state, reply);
        cell.under(self.generation(cell)).translated(kind.is_translated)
    }

    /// Puts a new flow in the place of an old one with the same 5-tuple. [`Found::NONE`]: another CPU was
    /// quicker.
    #[inline(always)]
    pub fn replace(&self, old: &Found, backend: u32, kind: Kind) -> Found {
        let reply = old.cell.is_reply();
        let cell = self.cell(old.cell.tag(), backend, kind, reply);
        if self.swap(old, cell) { Found { place: old.place, cell } } else { Found::NONE }
    }

    /// Notes that a flow was seen now, in this state; says whether that ends it, which one of several CPUs is told.
    #[inline(always)]
    pub fn touch(&self, found: &Found, state: State) -> bool {
        if self.swap(found, self.seen(found.cell, state)) {
            state == State::Closing && found.cell.is_open()
        } else {
            self.touch_again(found, state)
        }
    }

    #[inline(always)]
    fn seen(&self, cell: Cell, state: State) -> Cell {
        cell.seen(self.tick, state).under(self.generation(cell))
    }

    #[inline(always)]
    fn generation(&self, cell: Cell) -> u16 {
        self.watch.generation(cell, self.settings.generation)
    }

    /// Whether a flow was last seen in another tick, or accepted by rules that have changed since.
    #[inline(always)]
    pub fn is_stale(&self, cell: Cell) -> bool {
        cell.idle_ticks(self.tick) != 0 || cell.generation() != self.generation(cell)
    }

    /// Once more with what another CPU has written, if it is still the same flow; states only go forward.
    #[inline(always)]
    fn touch_again(&self, found: &Found, state: State) -> bool {
        let Some(bucket) = self.tables.bucket(found.place.bucket) else { return false };
        let cell = Cell(bucket.load(found.place.slot));
        let same = cell.tag() == found.cell.tag()
            && cell.backend() == found.cell.backend()
            && cell.is_reply() == found.cell.is_reply();
        same && cell.state_number() <= state as u64
            && self.swap(&Found { place: found.place, cell }, self.seen(cell, state))
            && state == State::Closing
            && cell.is_open()
    }

    /// Frees a place, if no other CPU has touched it since; says whether that ends the flow of its cell.
    #[inline(always)]
    pub fn remove(&self, found: &Found) -> bool {
        self.swap(found, Cell::EMPTY) && found.cell.is_open()
    }

    #[inline(always)]
    fn swap(&self, found: &Found, new: Cell) -> bool {
        let bucket = found.place.bucket;
        let is_written = self
            .tables
            .bucket(bucket)
            .is_some_and(|bucket| self.tables.swap(bucket, found.place.slot, found.cell.0, new.0));
        if is_written && new.is_news_to(found.cell) {
            mark(self.tables, bucket);
        }
        is_written
    }

    /// The best place for a new flow.
    #[inline(always)]
    fn candidate(&self, hash: u64) -> Candidate {
        let mask = self.settings.bucket_mask;
        Candidate::of(hash, mask, |bucket| self.tables.survey(bucket, self.tick))
    }
}

/// Notes that a cell of a bucket holds something that peers do not know of.
#[inline(never)]
fn mark<T: Tables>(tables: &T, bucket: u32) {
    if let Some(mark) = tables.mark((bucket / BUCKETS_PER_MARK) & (MAX_MARKS - 1)) {
        mark.raise();
    }
}

/// A place for a flow, and the rank of what was there.
pub(crate) struct Candidate {
    pub(crate) place: Place,
    pub(crate) rank: u64,
}

impl Candidate {
    /// The best place for the flow with this hash.
    #[inline(always)]
    pub(crate) fn of(hash: u64, mask: u32, survey_of: impl Fn(u32) -> u64) -> Self {
        let mut bucket = first_bucket(hash, mask);
        let mut survey = survey_of(bucket);
        if survey >> 4 >= CROWDED {
            let second = second_bucket(bucket, hash, mask);
            let other = survey_of(second);
            if other >> 4 < survey >> 4 {
                bucket = second;
                survey = other;
            }
        }
        let place = Place { bucket, slot: survey as usize & 0xf };
        Self { place, rank: survey >> 8 }
    }
}

/// The first position from `from` on, in the first bucket and then the second one, with a live cell of the
/// flow's tag; [`NOWHERE`] if there is none.
#[inline(always)]
pub fn search<T: Tables>(tables: &T, hash: u64, from: u64, tick: u64) -> u64 {
    let Some(settings) = tables.settings() else { return NOWHERE };
    let mut index = first_bucket(hash, settings.bucket_mask);
    let mut position = 0;
    for _ in rolled(2) {
        let Some(bucket) = tables.bucket(index) else { return NOWHERE };
        for slot in rolled(CELLS_PER_BUCKET) {
            let cell = Cell(bucket.load(slot));
            if cell.tag() == tag_of(hash)
                && position >= from
                && !cell.is_empty()
                && !cell.is_expired(tick, &settings.timeouts)
            {
                return position;
            }
            position += 1;
        }
        index = second_bucket(index, hash, settings.bucket_mask);
    }
    NOWHERE
}

/// The least worthy cell of a bucket: its rank, the number of live cells in the bucket and its slot, four
/// bits each.
#[inline(always)]
pub fn survey<T: Tables>(tables: &T, index: u32, tick: u64) -> u64 {
    let (Some(settings), Some(bucket)) = (tables.settings(), tables.bucket(index)) else {
        return u64::MAX;
    };
    survey_of(settings, bucket, tick)
}

/// The same, of a bucket that is at hand.
#[inline(always)]
pub fn survey_of(settings: &Settings, bucket: Entry<Bucket>, tick: u64) -> u64 {
    let mut lowest = u64::MAX;
    let mut live = 0;
    for slot in rolled(CELLS_PER_BUCKET) {
        let rank = rank(Cell(bucket.load(slot)), tick, settings);
        lowest = lowest.min((rank << 8) | slot as u64);
        live += (rank + 7) >> 3;
    }
    lowest | (live << 4)
}

/// How much a cell is worth keeping: 0 for nothing at all.
#[inline(always)]
pub(crate) fn rank(cell: Cell, tick: u64, settings: &Settings) -> u64 {
    if cell.is_expired(tick, &settings.timeouts) {
        0
    } else {
        (RANKS >> (cell.state_number() * 4)) & 0xf
    }
}

#[inline(always)]
pub(crate) fn tag_of(hash: u64) -> u64 {
    hash >> (64 - TAG_BITS)
}
