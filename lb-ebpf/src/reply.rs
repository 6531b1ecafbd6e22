//! From backend to client.

use lb_common::cell::State;
use lb_common::layout::Backend;
use lb_common::verdict::Verdict;

use crate::checksum::Sum;
use crate::ethernet::Tags;
use crate::family::{Family, Ip, Shape};
use crate::flight::Flight;
use crate::flow::{Found, Tuple};
use crate::forward::{closed_state, closes, count, partner_state};
use crate::packet::{Frame, Packet};
use crate::schedule::{find_flow, find_reply};
use crate::tables::Tables;
use crate::transport::{self, ACK, Port};
use crate::{World, is_for_us};

/// Gives a reply of a balanced flow the VIP as its source; leaves everything else alone.
#[inline(always)]
pub(crate) fn to_client<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &mut Flight<A>,
) -> Verdict {
    flight.reply = flight.tuple();
    flight.hash = flight.reply.hash(&world.settings.hash_key);
    let flows = flight.flows(world.tables, world.settings);
    let found = find_reply(&flows, &flight.reply, flight.hash);
    if found.is_none() || !is_for_us(world, flight.interface) {
        return Verdict::NotOurs;
    }
    // A backend opens no connection to a VIP's client: this one answers a client that came to it directly,
    // from the port of a connection that has ended.
    if found.cell.state() == Some(State::Closing) && flight.transport.accepts() {
        flows.remove(&found);
        return Verdict::NotOurs;
    }
    flight.found = found;
    let Some(backend) = world.tables.backend(found.cell.backend()) else {
        return Verdict::NotOurs;
    };
    if flight.ip.shape != Shape::WHOLE {
        return Verdict::Fragment;
    }
    if flight.ip.ttl <= 1 {
        return Verdict::TtlExceeded;
    }
    if is_news(&found, flight) {
        follow(world, flight, backend);
    }
    deliver(packet, world, flight, backend)
}

/// Rewrites the packet for the client.
#[inline(never)]
fn deliver<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &mut Flight<A>,
    backend: &Backend,
) -> Verdict {
    let (listener, id) = (backend.listener, flight.found.cell.backend());
    if !hop_back(world, flight, flight.found.place.index()) {
        count(world, listener, id, |traffic| traffic.dropped += 1);
        return Verdict::NoNextHop;
    }
    if rewrite(packet, &flight.ip, backend).is_none() {
        return Verdict::Malformed;
    }
    count(world, listener, id, |traffic| traffic.reply.add(flight.bytes));
    Verdict::ToClient
}

#[inline(always)]
fn rewrite<A: Family, F: Frame>(packet: &Packet<F>, ip: &Ip<A>, backend: &Backend) -> Option<()> {
    let header = A::header(packet, ip.start)?;
    A::set_source(header, A::from_words(&backend.vip));
    A::pass_on(header, ip.ttl, Sum::of(!backend.address_delta));
    let change = Sum::of(!backend.transport_delta);
    transport::rewrite(packet, ip, Port::Source, backend.vip_port, change)
}

/// Whether the backend answers for the first time.
#[inline(always)]
fn answers<A: Family>(found: &Found, flight: &Flight<A>) -> bool {
    found.cell.state() == Some(State::Syn) && flight.transport.flags & ACK != 0
}

/// Whether the flow's cells are to be written: on a new tick or a new state only.
#[inline(always)]
fn is_news<A: Family>(found: &Found, flight: &Flight<A>) -> bool {
    answers(found, flight) || closes(found, flight) || found.cell.idle_ticks(flight.tick) != 0
}

/// Keeps the cells of a known flow up to date: that of the other direction too, or it would expire under a
/// flow that only ever answers.
#[inline(never)]
fn follow<A: Family, T: Tables>(world: &World<'_, T>, flight: &Flight<A>, backend: &Backend) {
    let found = &flight.found;
    let Some(old) = found.cell.state() else { return };
    let flows = flight.flows(world.tables, world.settings);
    let forward = forward_tuple(flight, backend);
    let hash = forward.hash(&world.settings.hash_key);
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
        flows.touch(&partner, partner_state(&partner, new));
    }
}

/// The 5-tuple of the client's packets.
#[inline(always)]
fn forward_tuple<A: Family>(flight: &Flight<A>, backend: &Backend) -> Tuple<A> {
    Tuple {
        source: flight.ip.destination,
        destination: A::from_words(&backend.vip),
        source_port: flight.transport.destination_port,
        destination_port: backend.vip_port,
        protocol: flight.ip.protocol,
    }
}

/// Writes the way that the last packet of the reply's client came; says whether it is known.
#[inline(always)]
pub(crate) fn hop_back<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &mut Flight<A>,
    index: u32,
) -> bool {
    let Some(detail) = world.tables.detail(index) else { return false };
    let is_theirs = detail.update(|detail| {
        flight.hop.interface = detail.hop_interface;
        flight.hop.destination = detail.hop_neighbour.into();
        flight.hop.tags = Tags { control: detail.hop_tags, kind: detail.hop_tag_type };
        // A cell is taken before its detail is written; until then it describes another flow.
        A::same(A::from_words(&detail.destination), flight.reply.destination)
            && detail.destination_port == flight.reply.destination_port
    });
    if !is_theirs {
        return false;
    }
    flight.hop.source = world.link.destination;
    if flight.hop.interface != flight.interface {
        let Some(interface) = world.tables.interface(flight.hop.interface) else { return false };
        flight.hop.source = interface.mac.into();
    }
    true
}
