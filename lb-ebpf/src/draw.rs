//! Drawing an index into a listener's slots for a new flow.
//!
//! All schedulers share the slots; they differ in how the index is drawn. Only the first packet of a flow
//! draws: a TCP packet of a connection that is not known, as after a failover, takes a slot that is the same
//! on every director.

use lb_common::layout::{
    Address, Affinity, AffinityKey, BACKEND_UP, Listener, Load, Scheduler, Settings, run_parts,
};

use crate::World;
use crate::family::{Family, TCP, spread};
use crate::firewall::open;
use crate::flight::Flight;
use crate::tables::Tables;
use crate::verifier::masked;

const SOURCE_HASH: u8 = Scheduler::SourceHash.number();
const FLOW_HASH: u8 = Scheduler::FlowHash.number();
const RANDOM: u8 = Scheduler::Random.number();
const LEAST_LOAD: u8 = Scheduler::LeastLoad.number();

/// Added to a load for a flow that has ended.
const ONE_LESS: u64 = u64::MAX;

/// No backend id.
const NOBODY: u32 = u32::MAX;

/// Slots that are looked at for backends that differ.
pub(crate) const LOOKS: usize = 32;

/// Backends that are tried for a flow where replies of the first ones could not be told apart; a power of two.
pub(crate) const CANDIDATES: usize = 4;

/// What has been drawn for a flow. It lies in the memory of [`crate::flight`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Choice {
    /// The run of slots at that moment.
    run: u64,
    /// The number that names the slot; it may exceed the run's length.
    drawn: u64,
    /// The backend that the source was sent to before, or [`NOBODY`].
    recalled: u32,
    /// The backends that were tried, from the first on; then [`NOBODY`].
    tried: [u32; CANDIDATES],
}

impl Choice {
    /// The backend that this look finds, from 0 on.
    #[inline(always)]
    fn backend<T: Tables>(&self, tables: &T, look: u64) -> Option<u32> {
        if look == 0 && self.recalled != NOBODY {
            return Some(self.recalled);
        }
        self.slot(tables, self.drawn.wrapping_add(look))
    }

    /// The backend to try in this step: first those that looks find, then those that were tried once more.
    #[inline(never)]
    pub(crate) fn candidate<T: Tables>(&mut self, tables: &T, step: usize) -> Option<u32> {
        if step >= LOOKS {
            return self.tried(step - LOOKS);
        }
        let backend = self.backend(tables, step as u64)?;
        self.is_new(backend).then_some(backend)
    }

    /// Notes that a backend is tried; says whether it was not tried before, and there may be one more.
    #[inline(always)]
    fn is_new(&mut self, backend: u32) -> bool {
        let [a, b, c, d] = self.tried;
        if d != NOBODY || a == backend || b == backend || c == backend {
            return false;
        }
        let number = [a, b, c].iter().filter(|tried| **tried != NOBODY).count();
        if let Some(place) = self.tried.get_mut(masked::<{ CANDIDATES - 1 }>(number)) {
            *place = backend;
        }
        true
    }

    /// The backend that was tried as the one of this number, if there was one.
    #[inline(always)]
    fn tried(&self, number: usize) -> Option<u32> {
        let backend = self.tried.get(masked::<{ CANDIDATES - 1 }>(number)).copied();
        backend.filter(|backend| *backend != NOBODY)
    }

    /// The backend that a flow's hash names.
    #[inline(always)]
    pub(crate) fn by_hash<T: Tables>(&self, tables: &T, hash: u64) -> Option<u32> {
        self.slot(tables, steady(hash))
    }

    #[inline(always)]
    fn slot<T: Tables>(&self, tables: &T, number: u64) -> Option<u32> {
        let (base, length) = run_parts(self.run);
        let index = number % u64::from(length.max(1));
        Some(tables.slot(base.wrapping_add(index as u32))?.backend)
    }
}

/// A number that is the same for all packets of a flow, on every director.
#[inline(always)]
fn steady(hash: u64) -> u64 {
    hash >> 8
}

/// Draws for the packet's flow; says whether the listener has slots.
#[inline(never)]
pub(crate) fn draw<A: Family, T: Tables>(world: &World<'_, T>, flight: &mut Flight<A>) -> bool {
    let Some(listener) = world.tables.listener(flight.listener) else { return false };
    let run = current_run(listener);
    let (base, length) = run_parts(run);
    if length == 0 {
        return false;
    }
    flight.choice.run = run;
    flight.choice.recalled = NOBODY;
    flight.choice.tried = [NOBODY; CANDIDATES];
    if listener.affinity_ticks != 0 && begins(flight) {
        flight.choice.recalled = recall(world.tables, flight, listener);
    }
    flight.choice.drawn = match listener.scheduler {
        // Whoever is recalled costs nobody a turn.
        _ if flight.choice.recalled != NOBODY => steady(flight.hash),
        SOURCE_HASH => of_source(world.settings, flight),
        FLOW_HASH => steady(flight.hash),
        _ if !begins(flight) => steady(flight.hash),
        RANDOM => u64::from(world.tables.random()),
        LEAST_LOAD => world.tables.less_loaded(base, length),
        _ => world.tables.draw(listener.cursor),
    };
    true
}

/// Whether every director draws the same for a flow.
#[inline(always)]
pub(crate) fn is_by_hash(listener: &Listener) -> bool {
    matches!(listener.scheduler, SOURCE_HASH | FLOW_HASH)
}

/// A hash of the packet's source.
#[inline(always)]
fn of_source<A: Family>(settings: &Settings, flight: &Flight<A>) -> u64 {
    spread(A::products(&settings.hash_key, flight.ip.source, flight.ip.source))
}

/// The run is swapped by the agent in one store; it is read in one load.
#[inline(always)]
pub(crate) fn current_run(listener: &Listener) -> u64 {
    let run: *const u64 = &raw const listener.run;
    // SAFETY: the pointer comes from a reference; volatile since the agent may change the word meanwhile.
    unsafe { run.read_volatile() }
}

/// Whether the packet is the first of its flow, and not of a connection that was made elsewhere.
#[inline(always)]
pub(crate) fn begins<A: Family>(flight: &Flight<A>) -> bool {
    flight.ip.protocol != TCP || flight.transport.opens()
}

/// Of two slots drawn by chance, the index of the one with less load for its weight.
#[inline(always)]
pub fn less_loaded<T: Tables>(tables: &T, base: u32, length: u32) -> u64 {
    let first = tables.random() % length.max(1);
    // Another one, where there is another one.
    let distance = 1 + tables.random() % length.wrapping_sub(1).max(1);
    let second = (first + distance) % length.max(1);
    let (Some(a), Some(b)) =
        (tables.slot(base.wrapping_add(first)), tables.slot(base.wrapping_add(second)))
    else {
        return u64::from(first);
    };
    let of_a = flows(tables, a.backend) * u64::from(b.weight);
    let of_b = flows(tables, b.backend) * u64::from(a.weight);
    u64::from(if of_b < of_a { second } else { first })
}

#[inline(always)]
fn flows<T: Tables>(tables: &T, backend: u32) -> u64 {
    tables.load(backend).map_or(0, |load| Load::flows(load.base, load.change))
}

/// Notes that the packet's flow has begun at its backend.
#[inline(never)]
pub(crate) fn began<A: Family, T: Tables>(world: &World<'_, T>, flight: &Flight<A>) {
    let backend = flight.backend;
    let Some(listener) = world.tables.listener(flight.listener) else { return };
    if listener.scheduler == LEAST_LOAD && !flight.transport.closes() {
        world.tables.add_load(backend, 1);
    }
    if !flight.transport.closes() {
        open::note::<A, T>(world, &flight.ip.source, true);
    }
    if listener.affinity_ticks != 0 && begins(flight) {
        let affinity = Affinity { backend, tick: flight.tick as u32 };
        world.tables.set_affinity(&key(flight, listener), &affinity);
    }
}

/// Notes that the flow of a client's packet has ended at a backend.
#[inline(always)]
pub(crate) fn ended<A: Family, T: Tables>(world: &World<'_, T>, flight: &Flight<A>, backend: u32) {
    ended_of::<A, T>(world, flight.listener, &flight.ip.source, backend);
}

/// Notes that a client's flow has ended at a backend.
#[inline(always)]
pub(crate) fn ended_of<A: Family, T: Tables>(
    world: &World<'_, T>,
    listener: u32,
    client: &A::Address,
    backend: u32,
) {
    lighten(world.tables, listener, backend);
    open::note::<A, T>(world, client, false);
}

#[inline(never)]
fn lighten<T: Tables>(tables: &T, listener: u32, backend: u32) {
    if tables.listener(listener).is_some_and(|listener| listener.scheduler == LEAST_LOAD) {
        tables.add_load(backend, ONE_LESS);
    }
}

/// The backend that the packet's source was sent to not too long ago, if it takes new flows;
/// [`NOBODY`] if there is none.
#[inline(always)]
fn recall<A: Family, T: Tables>(tables: &T, flight: &Flight<A>, listener: &Listener) -> u32 {
    let Some(affinity) = tables.affinity(&key(flight, listener)) else { return NOBODY };
    let is_recent = is_within(flight.tick, affinity.tick, listener.affinity_ticks);
    let takes_flows = tables.load(affinity.backend).is_some_and(|load| load.takes_flows != 0);
    // An id that was free for a while may be another listener's now.
    let is_ours = tables
        .backend(affinity.backend)
        .is_some_and(|backend| backend.state == BACKEND_UP && backend.listener == flight.listener);
    if is_recent && takes_flows && is_ours { affinity.backend } else { NOBODY }
}

/// Whether something was noted at most so many ticks ago. Seen from the next tick, in which another CPU may
/// already have noted it.
#[inline(always)]
pub fn is_within(now: u64, noted: u32, ticks: u32) -> bool {
    (now as u32).wrapping_add(1).wrapping_sub(noted) <= ticks.saturating_add(1)
}

#[inline(always)]
fn key<A: Family>(flight: &Flight<A>, listener: &Listener) -> AffinityKey {
    affinity_key(flight.listener, listener, A::to_words(flight.ip.source))
}

/// Where it is noted what a source was sent to.
#[inline(always)]
#[must_use]
pub fn affinity_key(id: u32, listener: &Listener, source: Address) -> AffinityKey {
    AffinityKey { listener: id, source: prefix(source, listener.affinity_prefix) }
}

/// The leading `bits` of an address, and zeros behind them.
#[inline(always)]
pub(crate) fn prefix([a, b, c, d]: Address, bits: u32) -> Address {
    [leading(a, bits, 0), leading(b, bits, 32), leading(c, bits, 64), leading(d, bits, 96)]
}

/// The part of a word, in network order and `before` bits from the first, that the leading `bits` cover.
#[inline(always)]
fn leading(word: u32, bits: u32, before: u32) -> u32 {
    let bits = bits.saturating_sub(before).min(32);
    // In 64 bits, for a word cannot be shifted by its own width.
    let mask = !(u64::from(u32::MAX) >> bits) as u32;
    word & mask.to_be()
}
