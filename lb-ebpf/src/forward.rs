//! From client to backend.

use lb_common::cell::State;
use lb_common::layout::{BACKEND_DOWN_RESET, BACKEND_UP, Backend};
use lb_common::verdict::Verdict;

use crate::detail;
use crate::family::Family;
use crate::flight::{Flight, Next};
use crate::flow::{Found, Kind};
use crate::lookup::{find_flow, find_other_reply, find_reply, reply_tuple};
use crate::nat::is_full_nat;
use crate::packet::{Frame, Packet};
use crate::send::{count, refuse, send};
use crate::tables::Tables;
use crate::transport::{ACK, FIN, RST, SYN, Transport};
use crate::{World, draw, guard, reset, schedule};

/// Finds the flow of a packet for a listener.
#[inline(always)]
pub(crate) fn find<A: Family, T: Tables>(world: &World<'_, T>, flight: &mut Flight<A>) -> Next {
    flight.hash = flight.tuple().hash(&world.settings.hash_key);
    let flows = flight.flows(world.tables, world.settings);
    flows.fetch(flight.hash);
    flight.found = find_flow(&flows, flight.hash, flight.listener);
    flight.backend = flight.found.cell.backend();
    match world.tables.backend(flight.backend) {
        Some(backend) if stays(&flight.found, backend, &flight.transport) => Next::TO_BACKEND,
        _ => Next::TO_ANY_BACKEND,
    }
}

/// Sends a packet of a known flow to its backend.
#[inline(always)]
pub(crate) fn go_on<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &mut Flight<A>,
) -> Verdict {
    let Some(backend) = world.tables.backend(flight.backend) else { return Verdict::NoBackend };
    let cell = flight.found.place.index();
    if is_full_nat(backend) && !detail::read_own_source(world, flight, cell) {
        return refuse(world, flight, Verdict::NoNextHop);
    }
    if is_news(world, flight, backend) && !follow(world, flight, backend) {
        return refuse(world, flight, Verdict::ReplyConflict);
    }
    if resets(backend, &flight.transport) {
        return reset::answer(packet, world.link, flight);
    }
    send(packet, world, flight, backend)
}

/// Sends a packet to a backend that is chosen now.
#[inline(always)]
pub(crate) fn begin<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &mut Flight<A>,
) -> Verdict {
    let verdict = schedule::admit(world, flight);
    if verdict != Verdict::ToBackend {
        return refuse(world, flight, verdict);
    }
    let Some(backend) = world.tables.backend(flight.backend) else { return Verdict::NoBackend };
    if flight.unremembered == 0 {
        count(world.tables, flight.listener, flight.backend, |traffic| traffic.flows += 1);
    }
    send(packet, world, flight, backend)
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
pub(crate) fn resets(backend: &Backend, transport: &Transport) -> bool {
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

/// Whether the flow's cells are to be written: on a new tick, a new state or under new rules only, and when the
/// client asks again, for it may have heard nothing because the reply's cell was lost.
#[inline(always)]
fn is_news<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &Flight<A>,
    backend: &Backend,
) -> bool {
    let found = &flight.found;
    confirms(found, flight)
        || closes(found, flight)
        || is_reset(found, flight, backend)
        || flight.transport.opens()
        || flight.flows(world.tables, world.settings).is_stale(found.cell)
}

/// Keeps the cells of a known flow up to date; says whether its replies are still its own.
#[inline(always)]
fn follow<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &mut Flight<A>,
    backend: &Backend,
) -> bool {
    if !is_full_nat(backend) {
        detail::keep_source(flight);
    }
    if backend.is_nat() {
        follow_both(world, flight, backend)
    } else {
        follow_alone(world, flight, backend);
        true
    }
}

/// Where replies go past the director, the client alone tells how the connection stands.
#[inline(never)]
fn follow_alone<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &mut Flight<A>,
    backend: &Backend,
) {
    let found = &flight.found;
    let Some(old) = found.cell.state() else { return };
    let new = if closes(found, flight) || is_reset(found, flight, backend) {
        State::Closing
    } else if confirms(found, flight) {
        State::Established
    } else {
        old
    };
    if flight.flows(world.tables, world.settings).touch(found, new) {
        draw::ended(world, flight, found.cell.backend());
    }
    detail::write(world, flight, found.place.index());
}

#[inline(never)]
fn follow_both<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &mut Flight<A>,
    backend: &Backend,
) -> bool {
    flight.reply = reply_tuple(flight, backend);
    let found = &flight.found;
    let Some(old) = found.cell.state() else { return true };
    let flows = flight.flows(world.tables, world.settings);
    let hash = flight.reply.hash(&world.settings.hash_key);
    flows.fetch(hash);
    let partner = find_reply(&flows, &flight.reply, hash);
    let is_ours = !partner.is_none() && partner.cell.backend() == found.cell.backend();
    // The cell of its replies may have made room, and the source have been given to another flow since.
    if is_full_nat(backend)
        && !partner.is_none()
        && !detail::is_of_client(world, flight, partner.place.index())
    {
        if flows.remove(found) {
            draw::ended(world, flight, found.cell.backend());
        }
        return false;
    }
    let theirs = if is_ours { partner.cell.state() } else { None };
    let new = if is_reset(found, flight, backend) {
        State::Closing
    } else if closes(found, flight) {
        closed_state(found, theirs, flight)
    } else if confirms(found, flight) && theirs == Some(State::SynAck) {
        guard::answered(world.tables, flight.listener);
        State::Established
    } else {
        old
    };
    if flows.touch(found, new) {
        draw::ended(world, flight, found.cell.backend());
    }
    if is_ours {
        flows.touch(&partner, partner_state(&partner, new));
        detail::write(world, flight, partner.place.index());
    } else if partner.is_none() {
        let kind = Kind { state: new, is_translated: flight.is_translated != 0 };
        let partner = flows.insert(hash, found.cell.backend(), kind, true);
        if partner.is_none() {
            return true;
        }
        // Another CPU may have given the source to another flow meanwhile.
        if is_full_nat(backend)
            && !find_other_reply(&flows, &flight.reply, hash, &partner).is_none()
        {
            flows.remove(&partner);
            return false;
        }
        detail::write(world, flight, partner.place.index());
    }
    true
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
