//! Moves flows between the flow table and another one, of another size or of the layout before, while packets of
//! theirs come in.
//!
//! A packet that does not find its flow looks into the other table and takes the flow's cell over; the agent
//! moves the rest. A move has four steps, and whoever finds it half done completes it:
//!
//! ```text
//! new place: free -> arriving (not to be found)     its detail is written
//! old place: live -> gone to the new place          here it is decided who of several has moved it
//! new place: arriving -> live
//! ```

mod movable;

use lb_common::cell::Cell;
use lb_common::layout::{Bucket, CELLS_PER_BUCKET, Detail, Settings};

use crate::detail::detail_hash;
use crate::flow::{Candidate, NOWHERE, rank, tag_of};
use crate::place::Place;
use crate::tables::Entry;
use crate::verifier::rolled;
pub use movable::Movable;
use movable::{load_other, swap_other};

/// Positions of a flow: two buckets.
pub(crate) const POSITIONS: u64 = 2 * CELLS_PER_BUCKET as u64;

/// Times that a move is tried while others write the cell.
const ATTEMPTS: usize = 4;

/// What became of a cell of the other table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// It holds no flow that is to be moved.
    Nothing,
    /// It has moved.
    Now,
    /// It is still there: there is no place for it, or its detail is another flow's.
    Not,
}

/// Moves the cell with this index of the other table.
pub fn migrate<M: Movable>(maps: &M, index: u32, tick: u64) -> Moved {
    let place = Place::at(index);
    let (Some(settings), Some(bucket)) = (maps.settings(), maps.other_bucket(place.bucket)) else {
        return Moved::Nothing;
    };
    let cell = load_other(maps, bucket, place.slot);
    if cell.is_empty() || cell.is_expired(tick, &settings.timeouts) {
        return Moved::Nothing;
    }
    let detail = maps.other_detail(place.index());
    let Some(hash) = hash_of(maps, settings, detail, cell) else { return Moved::Not };
    if is_there(maps, settings, hash, cell, detail) {
        swap_other(maps, bucket, place.slot, cell, Cell::EMPTY);
        return Moved::Now;
    }
    let old = place.position(hash, settings.other_mask);
    match hand_over(maps, hash, old, reserve(maps, hash, old, tick), tick) {
        NOWHERE | AGAIN => Moved::Not,
        _ => Moved::Now,
    }
}

/// Completes the move to the cell with this index, if somebody has left it half done.
pub fn complete<M: Movable>(maps: &M, index: u32, tick: u64) {
    let place = Place::at(index);
    let (Some(settings), Some(bucket)) = (maps.settings(), maps.bucket(place.bucket)) else {
        return;
    };
    let cell = Cell(bucket.load(place.slot));
    let hash = hash_of(maps, settings, maps.detail(index), cell.arrived());
    if let Some(hash) = hash.filter(|_| cell.is_arriving()) {
        recall(maps, hash, tick);
    }
}

/// Whether the flow of a cell has one in the new table too: two packets of it began it at the same time.
fn is_there<M: Movable>(
    maps: &M,
    settings: &Settings,
    hash: u64,
    cell: Cell,
    detail: Option<Entry<Detail>>,
) -> bool {
    let ends = |detail: Entry<Detail>| {
        let Detail { client, source, client_port, source_port, protocol, .. } = detail.get();
        (client, source, client_port, source_port, protocol)
    };
    (0..POSITIONS).any(|position| {
        let place = Place::of(hash, settings.bucket_mask, position);
        let Some(bucket) = maps.bucket(place.bucket) else { return false };
        let other = Cell(bucket.load(place.slot));
        other.tag() == cell.tag()
            && other.state().is_some()
            && !other.is_arriving()
            && other.is_reply() == cell.is_reply()
            && maps.detail(place.index()).map(ends) == detail.map(ends)
    })
}

/// Takes the cell of a flow over from the other table; says its position, or [`NOWHERE`].
#[inline(always)]
pub fn recall<M: Movable>(maps: &M, hash: u64, tick: u64) -> u64 {
    let old = maps.old_position(hash);
    if old == NOWHERE {
        return NOWHERE;
    }
    for _ in rolled(ATTEMPTS) {
        let position = maps.hand_over(hash, old, maps.reserve(hash, old, tick), tick);
        if position != AGAIN {
            return position;
        }
    }
    NOWHERE
}

/// The position of a flow in the other table, or that which it had there; [`NOWHERE`] if there is none.
#[inline(always)]
pub fn old_position<M: Movable>(maps: &M, hash: u64) -> u64 {
    let Some(settings) = maps.settings() else { return NOWHERE };
    let mut moving = NOWHERE;
    for position in rolled(POSITIONS as usize) {
        let position = position as u64;
        let place = Place::of(hash, settings.other_mask, position);
        let Some(bucket) = maps.other_bucket(place.bucket) else { break };
        let cell = load_other(maps, bucket, place.slot);
        if cell.tag() == tag_of(hash) {
            if cell.is_moving() {
                // Its own hash can no longer be told.
                moving = position;
            } else if maps.other_hash(place.index(), cell) == hash {
                return position;
            }
        }
    }
    moving
}

/// Another CPU was writing.
const AGAIN: u64 = POSITIONS;

/// Takes a place for the flow that is in this position in the other table: one that is free, or that of a flow
/// that is worth less. Says its position, [`AGAIN`], or [`NOWHERE`].
#[inline(always)]
pub fn reserve<M: Movable>(maps: &M, hash: u64, old: u64, tick: u64) -> u64 {
    let Some(settings) = maps.settings() else { return NOWHERE };
    let Candidate { place, rank: worth } =
        Candidate::of(hash, settings.bucket_mask, |bucket| maps.survey(bucket, tick));
    let from = Place::of(hash, settings.other_mask, old);
    let (Some(from_bucket), Some(bucket)) =
        (maps.other_bucket(from.bucket), maps.bucket(place.bucket))
    else {
        return NOWHERE;
    };
    let cell = load_other(maps, from_bucket, from.slot);
    if cell.tag() != tag_of(hash) || cell.is_moving() {
        return AGAIN;
    }
    if worth >= rank(cell, tick, settings) {
        return NOWHERE;
    }
    let evicted = bucket.load(place.slot);
    let is_taken = rank(Cell(evicted), tick, settings) <= worth
        && bucket.swap(place.slot, evicted, cell.arriving().0);
    if is_taken { place.position(hash, settings.bucket_mask) } else { AGAIN }
}

/// Moves the flow that is in this position in the other table to the one that was taken for it; says where it is
/// now, which may be elsewhere, or [`AGAIN`].
#[inline(always)]
pub fn hand_over<M: Movable>(maps: &M, hash: u64, old: u64, new: u64, tick: u64) -> u64 {
    let Some(settings) = maps.settings() else { return NOWHERE };
    let from = Place::of(hash, settings.other_mask, old);
    let Some(bucket) = maps.other_bucket(from.bucket) else { return NOWHERE };
    let cell = load_other(maps, bucket, from.slot);
    if cell.tag() != tag_of(hash) {
        return NOWHERE;
    }
    let mut position = cell.gone_to().unwrap_or(new);
    if new < POSITIONS {
        let to = Place::of(hash, settings.bucket_mask, new);
        if !arrive(maps, bucket, from, to, cell, cell.gone(new, tick)) {
            position = AGAIN;
        }
    }
    if position < POSITIONS { settle(maps, settings, hash, position, tick) } else { position }
}

/// Lets the old place point to the new one, or gives that back.
#[inline(always)]
fn arrive<M: Movable>(
    maps: &M,
    old: Entry<Bucket>,
    from: Place,
    to: Place,
    cell: Cell,
    gone: Cell,
) -> bool {
    let Some(new) = maps.bucket(to.bucket) else { return false };
    let reserved = Cell(new.load(to.slot));
    if reserved.0 == cell.arriving().0 {
        copy_detail(maps, from, to);
        if swap_other(maps, old, from.slot, cell, gone) {
            return true;
        }
    }
    if reserved.is_arriving() && reserved.tag() == cell.tag() {
        new.swap(to.slot, reserved.0, Cell::EMPTY.0);
    }
    false
}

/// The hash of the flow that a cell of the other table stands for; zero where its detail is another flow's.
#[inline(always)]
pub fn other_hash<M: Movable>(maps: &M, index: u32, cell: Cell) -> u64 {
    let Some(settings) = maps.settings() else { return 0 };
    hash_of(maps, settings, maps.other_detail(index), cell).unwrap_or(0)
}

/// The hash of the flow that a cell stands for; `None` where its detail is another flow's.
#[inline(always)]
pub(crate) fn hash_of<M: Movable>(
    maps: &M,
    settings: &Settings,
    detail: Option<Entry<Detail>>,
    cell: Cell,
) -> Option<u64> {
    let detail = detail?;
    let hash = maps.read_backend(cell.backend(), |backend| {
        detail.update(|detail| detail_hash(&settings.hash_key, detail, backend, cell.is_reply()))
    });
    hash.flatten().filter(|hash| tag_of(*hash) == cell.tag())
}

#[inline(always)]
fn copy_detail<M: Movable>(maps: &M, from: Place, to: Place) {
    if let (Some(from), Some(to)) = (maps.other_detail(from.index()), maps.detail(to.index())) {
        from.update(|from| to.update(|to| *to = *from));
    }
}

/// Lets the cell be found that is in this position now.
#[inline(always)]
fn settle<M: Movable>(maps: &M, settings: &Settings, hash: u64, position: u64, tick: u64) -> u64 {
    let to = Place::of(hash, settings.bucket_mask, position);
    let Some(bucket) = maps.bucket(to.bucket) else { return NOWHERE };
    let cell = Cell(bucket.load(to.slot));
    if cell.tag() != tag_of(hash) || cell.is_expired(tick, &settings.timeouts) {
        return NOWHERE;
    }
    if cell.is_arriving() {
        bucket.swap(to.slot, cell.0, cell.arrived().0);
    }
    position
}
