//! From client to backend.

use lb_common::cell::State;
use lb_common::layout::{BACKEND_DOWN_RESET, BACKEND_UP, Backend, Traffic};
use lb_common::verdict::Verdict;

use crate::checksum::Sum;
use crate::ethernet::Tags;
use crate::family::{Family, Ip};
use crate::flight::Flight;
use crate::flow::Found;
use crate::packet::{Frame, Packet};
use crate::schedule::{find_flow, find_reply, reply_tuple, schedule, write_reply_detail};
use crate::tables::Tables;
use crate::transport::{self, ACK, FIN, Port, RST, SYN, Transport};
use crate::{World, reset};

/// Sends a packet for a listener to its flow's backend, or to one that is chosen now.
#[inline(always)]
pub(crate) fn to_backend<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &mut Flight<A>,
) -> Verdict {
    if flight.ip.ttl <= 1 {
        return refuse(world, flight, Verdict::TtlExceeded);
    }
    flight.hash = flight.tuple().hash(&world.settings.hash_key);
    let flows = flight.flows(world.tables, world.settings);
    let found = find_flow(&flows, flight.hash, flight.listener);
    flight.found = found;
    if let Some(backend) = world.tables.backend(found.cell.backend())
        && stays(&found, backend, &flight.transport)
    {
        if is_news(&found, flight, backend) {
            follow(world, flight, backend);
        }
        if resets(backend, &flight.transport) {
            return reset::answer(packet, world.link, flight);
        }
        return forward(packet, world, flight, found.cell.backend(), backend);
    }
    let id = match schedule(world, flight) {
        Ok(id) => id,
        Err(verdict) => return refuse(world, flight, verdict),
    };
    let Some(backend) = world.tables.backend(id) else {
        return refuse(world, flight, Verdict::NoBackend);
    };
    count(world, flight.listener, id, |traffic| traffic.flows += 1);
    forward(packet, world, flight, id, backend)
}

/// Whether a packet goes to the backend of its flow; if not, the flow begins anew.
#[inline(always)]
fn stays(found: &Found, backend: &Backend, transport: &Transport) -> bool {
    match found.cell.state() {
        // The client takes its port again, while we remember the end of the last connection.
        Some(State::Closing) => !transport.opens(),
        // A new connection never goes to a dead backend; what is left of the old one does.
        Some(State::Syn | State::SynAck | State::Established | State::HalfClosed) => {
            backend.state == BACKEND_UP || !transport.opens()
        }
        Some(State::Udp) => backend.state == BACKEND_UP,
        None => false,
    }
}

/// Whether the client is told that its backend is gone. Never in answer to a reset.
#[inline(always)]
fn resets(backend: &Backend, transport: &Transport) -> bool {
    backend.state == BACKEND_DOWN_RESET && transport.flags & RST == 0
}

/// Whether the packet confirms that the client has heard the backend.
#[inline(always)]
fn confirms<A: Family>(found: &Found, flight: &Flight<A>) -> bool {
    found.cell.state() == Some(State::Syn) && flight.transport.flags & (SYN | ACK) == ACK
}

/// Whether the packet brings the connection nearer to its end.
#[inline(always)]
pub fn closes<A: Family>(found: &Found, flight: &Flight<A>) -> bool {
    let (flags, state) = (flight.transport.flags, found.cell.state_number());
    (flags & FIN != 0 && state < State::HalfClosed as u64)
        || (flags & RST != 0 && state < State::Closing as u64)
}

/// The state of the sender's cell after a packet that closes: the connection stays open for what the other
/// side still has to say (RFC 9293 section 3.6).
#[inline(always)]
pub fn closed_state<A: Family>(found: &Found, partner: Option<State>, flight: &Flight<A>) -> State {
    let is_first = found.cell.state() == Some(State::Established)
        && partner != Some(State::HalfClosed)
        && flight.transport.flags & RST == 0;
    if is_first { State::HalfClosed } else { State::Closing }
}

/// Whether the flow ends with its backend.
#[inline(always)]
fn is_reset<A: Family>(found: &Found, flight: &Flight<A>, backend: &Backend) -> bool {
    resets(backend, &flight.transport) && found.cell.state() != Some(State::Closing)
}

/// Whether the flow's cells are to be written: on a new tick or a new state only, and when the client asks
/// again, for it may have heard nothing because the reply's cell was lost.
#[inline(always)]
fn is_news<A: Family>(found: &Found, flight: &Flight<A>, backend: &Backend) -> bool {
    confirms(found, flight)
        || closes(found, flight)
        || is_reset(found, flight, backend)
        || flight.transport.opens()
        || found.cell.idle_ticks(flight.tick) != 0
}

/// Keeps the cells of a known flow up to date.
#[inline(never)]
fn follow<A: Family, T: Tables>(world: &World<'_, T>, flight: &mut Flight<A>, backend: &Backend) {
    flight.reply = reply_tuple(flight, backend);
    let found = &flight.found;
    let Some(old) = found.cell.state() else { return };
    let flows = flight.flows(world.tables, world.settings);
    let hash = flight.reply.hash(&world.settings.hash_key);
    let partner = find_reply(&flows, &flight.reply, hash);
    let is_ours = !partner.is_none() && partner.cell.backend() == found.cell.backend();
    let theirs = if is_ours { partner.cell.state() } else { None };
    let new = if is_reset(found, flight, backend) {
        State::Closing
    } else if closes(found, flight) {
        closed_state(found, theirs, flight)
    } else if confirms(found, flight) && theirs == Some(State::SynAck) {
        State::Established
    } else {
        old
    };
    flows.touch(found, new);
    if is_ours {
        flows.touch(&partner, partner_state(&partner, new));
        write_reply_detail(world, flight, partner.place.index());
    } else if partner.is_none() {
        let partner = flows.insert(hash, found.cell.backend(), new, true);
        if !partner.is_none() {
            write_reply_detail(world, flight, partner.place.index());
        }
    }
}

/// The state of the other direction's cell: only these two are decided for both, and never backwards.
#[inline(always)]
pub fn partner_state(partner: &Found, state: State) -> State {
    let is_for_both = matches!(state, State::Established | State::Closing);
    if is_for_both && partner.cell.state_number() < state as u64 {
        state
    } else {
        partner.cell.state().unwrap_or(state)
    }
}

/// Rewrites the packet for the backend.
#[inline(never)]
fn forward<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &mut Flight<A>,
    id: u32,
    backend: &Backend,
) -> Verdict {
    if !hop_to(flight, backend) {
        count(world, backend.listener, id, |traffic| traffic.dropped += 1);
        return Verdict::NoNextHop;
    }
    if rewrite(packet, &flight.ip, backend).is_none() {
        return refuse(world, flight, Verdict::Malformed);
    }
    count(world, backend.listener, id, |traffic| traffic.forward.add(flight.bytes));
    Verdict::ToBackend
}

#[inline(always)]
fn rewrite<A: Family, F: Frame>(packet: &Packet<F>, ip: &Ip<A>, backend: &Backend) -> Option<()> {
    let header = A::header(packet, ip.start)?;
    A::set_destination(header, A::from_words(&backend.address));
    A::pass_on(header, ip.ttl, Sum::of(backend.address_delta));
    let change = Sum::of(backend.transport_delta);
    transport::rewrite(packet, ip, Port::Destination, backend.port, change)
}

/// Writes the way to a backend; says whether it is known.
#[inline(always)]
pub fn hop_to<A: Family>(flight: &mut Flight<A>, backend: &Backend) -> bool {
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5] = backend.macs;
    flight.hop.interface = backend.interface;
    flight.hop.destination = [d0, d1, d2, d3, d4, d5].into();
    flight.hop.source = [s0, s1, s2, s3, s4, s5].into();
    // The neighbour was found without tags, so it hears none.
    flight.hop.tags = Tags::NONE;
    backend.interface != 0
}

/// Counts a packet that goes no further at its listener.
#[inline(always)]
fn refuse<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &Flight<A>,
    verdict: Verdict,
) -> Verdict {
    if let Some(entry) = world.tables.listener_traffic(flight.listener) {
        entry.update(|traffic| traffic.dropped += 1);
    }
    verdict
}

/// Counts something at a listener and at one of its backends.
#[inline(always)]
pub(crate) fn count<T: Tables>(
    world: &World<'_, T>,
    listener: u32,
    backend: u32,
    what: impl Fn(&mut Traffic),
) {
    if let Some(entry) = world.tables.listener_traffic(listener) {
        entry.update(&what);
    }
    if let Some(entry) = world.tables.backend_traffic(backend) {
        entry.update(&what);
    }
}
