//! From backend to client.

use lb_common::cell::State;
use lb_common::layout::Backend;
use lb_common::verdict::Verdict;

use crate::World;
use crate::cookie::translation;
use crate::detail;
use crate::draw;
use crate::family::{Family, Shape};
use crate::flight::{Flight, Next};
use crate::flow::{Found, Tuple};
use crate::forward::{closed_state, closes, partner_state};
use crate::identify::is_for_us;
use crate::lookup::{find_flow, find_reply};
use crate::nat::rewrite_own;
use crate::packet::{Frame, Packet};
use crate::send::count;
use crate::tables::Tables;
use crate::transport::{ACK, Port};

/// Finds the flow that a packet answers.
#[inline(always)]
pub(crate) fn find<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &mut Flight<A>,
) -> Result<Next, Verdict> {
    flight.reply = flight.tuple();
    flight.hash = flight.reply.hash(&world.settings.hash_key);
    let flows = flight.flows(world.tables, world.settings);
    flows.fetch(flight.hash);
    let found = find_reply(&flows, &flight.reply, flight.hash);
    if found.is_none() || !is_for_us(world, flight.interface) {
        return Err(Verdict::NotOurs);
    }
    // A backend opens no connection to a VIP's client: this one answers a client that came to it directly,
    // from the port of a connection that has ended.
    if found.cell.state() == Some(State::Closing) && flight.transport.accepts() {
        flows.remove(&found);
        return Err(Verdict::NotOurs);
    }
    flight.found = found;
    flight.backend = found.cell.backend();
    if flight.ip.ttl <= 1 {
        return Err(Verdict::TtlExceeded);
    }
    Ok(Next::TO_CLIENT)
}

/// Gives a reply of a balanced flow the VIP as its source.
#[inline(always)]
pub(crate) fn go_on<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &mut Flight<A>,
) -> Verdict {
    let Some(backend) = world.tables.backend(flight.backend) else { return Verdict::NotOurs };
    if flight.ip.shape != Shape::WHOLE && world.settings.follow_fragments == 0 {
        return Verdict::Fragment;
    }
    let cell = flight.found.place.index();
    if is_news(world, flight) && detail::read_way_back(world, flight, cell) {
        follow(world, flight, backend);
    }
    deliver(packet, world, flight, cell, backend)
}

/// Rewrites the packet for the client of the cell with this index.
#[inline(never)]
pub(crate) fn deliver<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &mut Flight<A>,
    cell: u32,
    backend: &Backend,
) -> Verdict {
    let (listener, id) = (backend.listener, flight.backend);
    if !detail::read_way_back(world, flight, cell) {
        count(world.tables, listener, id, |traffic| traffic.dropped += 1);
        return Verdict::NoNextHop;
    }
    if rewrite_own(packet, flight, backend, Port::Source).is_none() {
        return Verdict::Malformed;
    }
    count(world.tables, listener, id, |traffic| traffic.reply.add(flight.bytes));
    Verdict::ToClient
}

/// Whether the backend answers for the first time.
#[inline(always)]
fn answers<A: Family>(found: &Found, flight: &Flight<A>) -> bool {
    found.cell.state() == Some(State::Syn) && flight.transport.flags & ACK != 0
}

/// Whether the flow's cells are to be written: on a new tick, a new state or under new rules only.
#[inline(always)]
fn is_news<A: Family, T: Tables>(world: &World<'_, T>, flight: &Flight<A>) -> bool {
    let found = &flight.found;
    answers(found, flight)
        || closes(found, flight)
        || flight.flows(world.tables, world.settings).is_stale(found.cell)
}

/// Keeps the cells of a known flow up to date: that of the other direction too, or it would expire under a
/// flow that only ever answers.
#[inline(never)]
pub(crate) fn follow<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &Flight<A>,
    backend: &Backend,
) {
    let found = &flight.found;
    let Some(old) = found.cell.state() else { return };
    let flows = flight.flows(world.tables, world.settings);
    let forward = forward_tuple(flight, backend);
    let hash = forward.hash(&world.settings.hash_key);
    flows.fetch(hash);
    let partner = find_flow(&flows, hash, backend.listener);
    let is_ours = !partner.is_none() && partner.cell.backend() == found.cell.backend();
    let new = if closes(found, flight) {
        closed_state(found, if is_ours { partner.cell.state() } else { None }, flight)
    } else if answers(found, flight) {
        State::SynAck
    } else {
        old
    };
    flows.touch(found, new);
    if is_ours {
        if flows.touch(&partner, partner_state(&partner, new)) {
            draw::ended_of::<A, T>(world, backend.listener, &flight.peer, flight.backend);
        }
        if flight.is_translated != 0 {
            translation::write(world, flight, partner.place.index());
        }
    }
}

/// The 5-tuple of the client's packets.
#[inline(always)]
pub(crate) fn forward_tuple<A: Family>(flight: &Flight<A>, backend: &Backend) -> Tuple<A> {
    Tuple {
        source: flight.peer,
        destination: A::from_words(&backend.vip),
        source_port: flight.peer_port,
        destination_port: backend.vip_port,
        protocol: flight.ip.protocol,
    }
}
