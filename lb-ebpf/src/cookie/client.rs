//! What clients send to a service that answers with SYN cookies.

use lb_common::cell::State;
use lb_common::layout::{Listener, SynCookies};
use lb_common::verdict::Verdict;

use super::jar::{self, Terms};
use super::options::{self, NO_SCALE, TCP_LENGTH, Told};
use super::segment::{
    ACKNOWLEDGEMENT, Ends, SEQUENCE, Says, WINDOW, replace, turn_back,
};
use super::translation::{self, Translation, shifted};
use super::OUR_SCALE;
use crate::World;
use crate::detail;
use crate::family::Family;
use crate::flight::Flight;
use crate::forward;
use crate::nat::is_full_nat;
use crate::packet::{Frame, Packet};
use crate::send::{count, refuse, way_to};
use crate::tables::Tables;
use crate::transport::{ACK, RST, SYN};

/// Deals with a packet of no flow, or of one that has no backend any more.
#[inline(always)]
pub(super) fn unknown<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &mut Flight<A>,
) -> Verdict {
    let Some(listener) = world.tables.listener(flight.listener) else { return Verdict::NoBackend };
    let is_active = is_active(listener);
    if flight.transport.opens() {
        return if is_active { answer(packet, world, flight) } else { forward::begin(packet, world, flight) };
    }
    if find_cookie(packet, world, flight) {
        return open(world, flight);
    }
    if is_active {
        return refuse(world, flight, Verdict::SynCookieInvalid);
    }
    forward::begin(packet, world, flight)
}

/// Deals with a packet of a flow that a cookie opened, or of one that has ended.
#[inline(always)]
pub(super) fn known<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &mut Flight<A>,
) -> Verdict {
    let (cell, index) = (flight.found.cell, flight.found.place.index());
    let has_ended = cell.state() == Some(State::Closing);
    if has_ended && find_cookie(packet, world, flight) {
        return open(world, flight);
    }
    if !cell.is_translated() {
        return forward::go_on(packet, world, flight);
    }
    if !detail::is_of_client(world, flight, index) {
        return refuse(world, flight, Verdict::NoNextHop);
    }
    translation::read(world, flight, index);
    let Some(backend) = world.tables.backend(flight.backend) else { return Verdict::NoBackend };
    let is_over = flight.transport.flags & RST != 0 || forward::resets(backend, &flight.transport);
    if flight.translation.is_opening != 0 && !is_over {
        return repeat(packet, world, flight);
    }
    // A reset in our name answers the packet as the client sent it.
    if !forward::resets(backend, &flight.transport)
        && flight.translation.is_opening == 0
        && translation::to_backend(packet, flight).is_none()
    {
        return refuse(world, flight, Verdict::Malformed);
    }
    forward::go_on(packet, world, flight)
}

/// The client repeats itself before the backend has answered: so does what it was sent.
#[inline(always)]
fn repeat<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &mut Flight<A>,
) -> Verdict {
    if flight.transport.opens() {
        return answer(packet, world, flight);
    }
    if !find_cookie(packet, world, flight) {
        return refuse(world, flight, Verdict::SynCookieInvalid);
    }
    let Some(backend) = world.tables.backend(flight.backend) else { return Verdict::NoBackend };
    detail::keep_source(flight);
    let cell = flight.found.place.index();
    if is_full_nat(backend) && !detail::read_own_source(world, flight, cell) {
        return refuse(world, flight, Verdict::NoNextHop);
    }
    ask(world, flight)
}

/// Whether SYNs are answered with cookies now.
#[inline(always)]
fn is_active(listener: &Listener) -> bool {
    listener.syn_cookies == SynCookies::Always.number()
}

/// Answers a SYN with a cookie. The window is closed, so that the client says nothing that would be lost while its
/// backend is asked; it is opened when the backend has answered.
#[inline(never)]
fn answer<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &mut Flight<A>,
) -> Verdict {
    let header = packet.window::<TCP_LENGTH>(flight.ip.payload);
    let Some(header) = header else { return Verdict::Malformed };
    let sequence = u32::from_be(header.u32_at::<SEQUENCE>());
    if options::read(packet, &flight.ip, &mut flight.options).is_none() {
        return refuse(world, flight, Verdict::Malformed);
    }
    let terms = Terms::of::<A>(&flight.options);
    let (cookie, timestamp) = jar::make(world, flight, sequence, terms);
    let says = Says {
        flags: SYN | ACK,
        sequence: cookie,
        acknowledgement: sequence.wrapping_add(1),
        window: 0,
    };
    let told = Told {
        timestamps: [timestamp, flight.options.timestamp],
        has_timestamps: flight.options.timestamps != 0,
        segment: jar::our_segment::<A>(),
        scale: if terms.has_scale() { OUR_SCALE } else { NO_SCALE },
        has_sack: terms.has_sack(),
    };
    let ends = turn_back(world, flight);
    replace(flight, ends, says, told);
    Verdict::SynCookieSent
}

/// Whether the packet brings a valid cookie back; if it does, the flight knows what it tells.
///
/// The packet is the client's first after its SYN, or a question about our window: some then send a number that is
/// one lower (RFC 9293 section 3.8.6.1).
#[inline(never)]
fn find_cookie<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &mut Flight<A>,
) -> bool {
    if flight.transport.flags & (SYN | ACK | RST) != ACK {
        return false;
    }
    let Some(header) = packet.window::<TCP_LENGTH>(flight.ip.payload) else { return false };
    let sequence = u32::from_be(header.u32_at::<SEQUENCE>());
    let cookie = u32::from_be(header.u32_at::<ACKNOWLEDGEMENT>()).wrapping_sub(1);
    let window = u16::from_be(header.u16_at::<WINDOW>());
    let mut first = sequence.wrapping_sub(1);
    if !jar::is_ours(world, flight, first, cookie) {
        first = sequence;
        if !jar::is_ours(world, flight, first, cookie) {
            return false;
        }
    }
    if options::read(packet, &flight.ip, &mut flight.options).is_none() {
        return false;
    }
    let timestamp = flight.options.echo;
    flight.translation =
        Translation { is_opening: 1, window_shift: 0, sequence: cookie, timestamp, first, window };
    true
}

/// Begins the flow of a client whose cookie is valid.
#[inline(always)]
fn open<A: Family, T: Tables>(world: &World<'_, T>, flight: &mut Flight<A>) -> Verdict {
    // From here on the packet is the SYN that it takes the place of.
    flight.transport.flags = SYN;
    flight.is_translated = 1;
    let verdict = world.tables.schedule(world, flight);
    if verdict != Verdict::ToBackend {
        return refuse(world, flight, verdict);
    }
    count(world, flight.listener, flight.backend, |traffic| traffic.flows += 1);
    ask(world, flight)
}

/// Sends the backend the SYN that the client once sent.
#[inline(always)]
fn ask<A: Family, T: Tables>(world: &World<'_, T>, flight: &mut Flight<A>) -> Verdict {
    let Some(backend) = world.tables.backend(flight.backend) else { return Verdict::NoBackend };
    way_to(flight, backend);
    let id = flight.backend;
    if flight.hop.interface == 0 {
        count(world, backend.listener, id, |traffic| traffic.dropped += 1);
        return Verdict::NoNextHop;
    }
    let Translation { sequence, first, window, .. } = flight.translation;
    let terms = Terms::told_by(sequence);
    let scale = if terms.has_scale() { terms.scale() as i8 } else { 0 };
    let says =
        Says { flags: SYN, sequence: first, acknowledgement: 0, window: shifted(window, scale) };
    let told = Told {
        timestamps: [flight.options.timestamp, 0],
        has_timestamps: flight.options.timestamps != 0,
        segment: terms.segment::<A>(),
        scale: terms.scale(),
        has_sack: terms.has_sack(),
    };
    let ends = Ends {
        source: flight.peer,
        destination: A::from_words(&backend.address),
        ports: [flight.peer_port, backend.port],
    };
    replace(flight, ends, says, told);
    count(world, backend.listener, id, |traffic| traffic.forward.add(flight.bytes));
    Verdict::SynCookieAccepted
}
