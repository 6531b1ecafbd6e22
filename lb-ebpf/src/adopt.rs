//! Takes in what another director tells of a flow, beside the packet path of this one.
//!
//! What was told fills a place that is free, or that of a flow which is worth less. Where the flow has a cell
//! already, the director wins that saw it last: a cell that this one's packets have used carries the generation
//! of its rules, one that was only told does not. Where two have used it and say different things, the one holds
//! that has the VIP now.

use lb_common::cell::{Cell, State};
use lb_common::layout::{Detail, Settings};

use crate::detail::detail_hash;
use crate::flow::{Candidate, rank, tag_of};
use crate::migrate::{Movable, POSITIONS, hash_of};
use crate::place::Place;

/// Times that a place is tried while packets write it.
const ATTEMPTS: usize = 3;

/// Who has the VIP of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Holder {
    /// Nobody has said.
    #[default]
    Unknown,
    /// This director.
    Here,
    /// Another one.
    There,
}

/// A cell as another director has it.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// The id that its backend has here.
    pub backend: u32,
    /// Where the flow stands.
    pub state: State,
    /// Whether it is the cell of the direction from backend to client.
    pub is_reply: bool,
    /// Whether sequence numbers are rewritten.
    pub is_translated: bool,
    /// Who has its VIP.
    pub holder: Holder,
    /// Ticks since its last packet.
    pub idle_ticks: u64,
    /// The flow in full.
    pub detail: Detail,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adopted {
    /// The cell at this index says the same now, or is of the same flow and was seen later. The cell is the one
    /// that was told, as it would stand here.
    At(u32, Cell),
    /// The cell of the flow here is as new, or newer, and says something else.
    Newer,
    /// There is no place for it.
    NoPlace,
    /// It has been idle for longer than its timeout, or belongs to no backend.
    Void,
    /// Flows are being moved to a table of another size; not before that has ended.
    NotNow,
}

/// Takes in what was told of a flow.
pub fn adopt<M: Movable>(maps: &M, told: &Told, tick: u64) -> Adopted {
    let Some(settings) = maps.settings() else { return Adopted::Void };
    if settings.other_mask != 0 {
        return Adopted::NotNow;
    }
    let hash = maps.read_backend(told.backend, |backend| {
        let is_live = backend.state != 0 && backend.protocol == told.detail.protocol;
        is_live.then(|| detail_hash(&settings.hash_key, &told.detail, backend, told.is_reply))
    });
    let Some(hash) = hash.flatten().flatten() else { return Adopted::Void };
    let cell = cell_of(told, hash, settings, tick);
    if cell.is_expired(tick, &settings.timeouts) {
        return Adopted::Void;
    }
    for _ in 0..ATTEMPTS {
        let done = match find(maps, settings, hash, told.is_reply, tick) {
            Some((place, old)) => renew(maps, settings, place, (old, cell), told, tick),
            None => insert(maps, settings, hash, cell, told, tick),
        };
        if let Some(done) = done {
            return done;
        }
    }
    Adopted::Newer
}

/// A generation of rules where there are none yet; the first ones are of another.
const OTHER_THAN_NONE: u16 = 3;

/// The cell as it is written here: of no generation that rules of this director have or will have before the next
/// sweeps, for they have not seen the flow.
fn cell_of(told: &Told, hash: u64, settings: &Settings, tick: u64) -> Cell {
    let seen = tick.wrapping_sub(told.idle_ticks);
    let cell = Cell::new(tag_of(hash), told.backend, seen, told.state, told.is_reply);
    let cell = cell.translated(told.is_translated);
    cell.under(if settings.generation == 0 { OTHER_THAN_NONE } else { 0 })
}

/// The live cell of this flow and direction.
fn find<M: Movable>(
    maps: &M,
    settings: &Settings,
    hash: u64,
    is_reply: bool,
    tick: u64,
) -> Option<(Place, Cell)> {
    (0..POSITIONS).find_map(|position| {
        let place = Place::of(hash, settings.bucket_mask, position);
        let cell = Cell(maps.bucket(place.bucket)?.load(place.slot));
        let is_candidate = cell.tag() == tag_of(hash)
            && cell.state().is_some()
            && !cell.is_moving()
            && cell.is_reply() == is_reply
            && !cell.is_expired(tick, &settings.timeouts);
        let is_it =
            is_candidate && hash_of(maps, settings, maps.detail(place.index()), cell) == Some(hash);
        is_it.then_some((place, cell))
    })
}

/// Whether the packets of this director have used a cell since it was told of.
fn is_own(cell: Cell, settings: &Settings) -> bool {
    cell.generation() == settings.generation
}

/// Brings the cell of a flow in step. `None`: a packet was quicker.
fn renew<M: Movable>(
    maps: &M,
    settings: &Settings,
    place: Place,
    (old, new): (Cell, Cell),
    told: &Told,
    tick: u64,
) -> Option<Adopted> {
    let (mine, theirs) = (idle(old, tick), idle(new, tick));
    let known = maps.detail(place.index())?.get();
    let goes_elsewhere = old.backend() != new.backend() || source(&known) != source(&told.detail);
    let is_behind = match (is_own(old, settings), told.holder) {
        (false, _) => mine < theirs,
        (true, Holder::Here) if goes_elsewhere => true,
        (true, Holder::There) if goes_elsewhere => false,
        (true, Holder::Unknown | Holder::Here | Holder::There) => mine <= theirs,
    };
    let is_same = !new.is_news_to(old) && source(&known) == source(&told.detail);
    if is_behind {
        return Some(if is_same { Adopted::At(place.index(), new) } else { Adopted::Newer });
    }
    if !is_same || way_back(&known) != way_back(&told.detail) {
        return put(maps, place, (old, new), &told.detail);
    }
    let bucket = maps.bucket(place.bucket)?;
    bucket.swap(place.slot, old.0, new.0).then_some(Adopted::At(place.index(), new))
}

/// Seen from the next tick, in which a packet may already have come.
fn idle(cell: Cell, tick: u64) -> u64 {
    cell.idle_ticks(tick.wrapping_add(1))
}

fn source(detail: &Detail) -> ([u32; 4], u16) {
    (detail.source, detail.source_port)
}

fn way_back(detail: &Detail) -> (u32, [u8; 6], [u16; 2]) {
    (detail.hop_interface, detail.hop_neighbour, detail.hop_tags)
}

/// Takes a place for a flow that has none. `None`: a packet was quicker.
fn insert<M: Movable>(
    maps: &M,
    settings: &Settings,
    hash: u64,
    cell: Cell,
    told: &Told,
    tick: u64,
) -> Option<Adopted> {
    let Candidate { place, rank: worth } =
        Candidate::of(hash, settings.bucket_mask, |bucket| maps.survey(bucket, tick));
    if worth >= rank(cell, tick, settings) {
        return Some(Adopted::NoPlace);
    }
    let evicted = Cell(maps.bucket(place.bucket)?.load(place.slot));
    if rank(evicted, tick, settings) > worth {
        return None;
    }
    put(maps, place, (evicted, cell), &told.detail)
}

/// Writes a cell with its detail. Until that is there the cell is not to be found.
fn put<M: Movable>(
    maps: &M,
    place: Place,
    (old, new): (Cell, Cell),
    detail: &Detail,
) -> Option<Adopted> {
    let bucket = maps.bucket(place.bucket)?;
    if !bucket.swap(place.slot, old.0, new.arriving().0) {
        return None;
    }
    maps.detail(place.index())?.update(|entry| *entry = *detail);
    bucket.swap(place.slot, new.arriving().0, new.0).then_some(Adopted::At(place.index(), new))
}
