//! What clients send to a service that answers with SYN cookies.

use lb_common::cell::State;
use lb_common::layout::run_parts;
use lb_common::verdict::Verdict;

use super::OUR_SCALE;
use super::jar::{self, Terms};
use super::options::{NO_SCALE, TCP_LENGTH, Told};
use super::segment::{ACKNOWLEDGEMENT, Ends, SEQUENCE, Says, WINDOW, replace, turn_back};
use super::translation::{self, Translation, shifted};
use crate::World;
use crate::detail;
use crate::draw;
use crate::family::Family;
use crate::flight::{Flight, Next};
use crate::forward;
use crate::guard;
use crate::nat::is_full_nat;
use crate::packet::{Frame, Packet};
use crate::schedule;
use crate::send::{count, refuse, way_to};
use crate::tables::Tables;
use crate::transport::{ACK, RST, SYN};

/// Deals with a packet of no flow, of one that a cookie opened, or of one that has ended.
#[inline(always)]
pub(super) fn deal<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &mut Flight<A>,
) -> Verdict {
    judge(packet, world, flight);
    let verdict = match flight.next {
        Next::ANSWER => answer(packet, world, flight),
        Next::OPEN => open(world, flight),
        Next::RECALL => recall(world, flight),
        Next::TO_BACKEND => return forward::go_on(packet, world, flight),
        Next::TO_ANY_BACKEND => return forward::begin(packet, world, flight),
        _ => Verdict::from_number(flight.refusal as u8).unwrap_or(Verdict::SynCookieInvalid),
    };
    if verdict == Verdict::ToBackend {
        ask(world, flight)
    } else if verdict == Verdict::SynCookieSent {
        verdict
    } else {
        refuse(world, flight, verdict)
    }
}

/// Finds out what is to be done with the packet: it is written where the flight's next step stands, so that the many
/// ways to get there end.
#[inline(never)]
fn judge<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &mut Flight<A>,
) {
    let is_known = flight.next == Next::TO_BACKEND;
    let (cell, index) = (flight.found.cell, flight.found.place.index());
    if is_known && cell.is_translated() {
        if !detail::is_of_client(world, flight, index) {
            return stop(flight, Verdict::NoNextHop);
        }
        translation::read(world, flight, index);
    }
    let is_opening = flight.is_translated != 0 && flight.translation.is_opening != 0;
    let may_begin = !is_known || is_opening || cell.state() == Some(State::Closing);
    if may_begin && find_cookie(packet, world, flight) {
        flight.next = if is_opening { Next::RECALL } else { Next::OPEN };
    } else if is_known {
        of_known(packet, world, flight, is_opening);
    } else {
        of_unknown(world, flight);
    }
}

/// Nothing is to be done with the packet any more.
#[inline(always)]
fn stop<A: Family>(flight: &mut Flight<A>, verdict: Verdict) {
    flight.next = Next::NOTHING;
    flight.refusal = verdict.number();
}

#[inline(always)]
fn of_unknown<A: Family, T: Tables>(world: &World<'_, T>, flight: &mut Flight<A>) {
    let (id, opens) = (flight.listener, flight.transport.opens());
    let Some(listener) = world.tables.listener(id) else { return };
    // Without backends there is nobody to connect to, and the client is not to believe so.
    let (_, n_slots) = run_parts(draw::current_run(listener));
    if n_slots == 0 || !guard::answers_with_cookies(world.tables, id, listener, opens) {
        flight.next = Next::TO_ANY_BACKEND;
    } else if opens {
        flight.next = Next::ANSWER;
    } else {
        stop(flight, Verdict::SynCookieInvalid);
    }
}

#[inline(always)]
fn of_known<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &mut Flight<A>,
    is_opening: bool,
) {
    let backend = world.tables.backend(flight.backend);
    let resets = backend.is_some_and(|backend| forward::resets(backend, &flight.transport));
    let is_over = is_opening && flight.transport.flags & RST != 0;
    // A reset in the backend's name answers the packet as the client sent it.
    if flight.is_translated == 0 || resets || is_over {
        return;
    }
    if !is_opening {
        if translation::to_backend(packet, flight).is_none() {
            stop(flight, Verdict::Malformed);
        }
    } else if flight.transport.opens() {
        flight.next = Next::ANSWER;
    } else {
        stop(flight, Verdict::SynCookieInvalid);
    }
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
pub(crate) fn find_cookie<A: Family, F: Frame, T: Tables>(
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
    let timestamp = flight.options.echo;
    flight.translation =
        Translation { is_opening: 1, window_shift: 0, sequence: cookie, timestamp, first, window };
    true
}

/// Begins the flow of a client whose cookie is valid; says [`Verdict::ToBackend`] where it could.
#[inline(always)]
fn open<A: Family, T: Tables>(world: &World<'_, T>, flight: &mut Flight<A>) -> Verdict {
    // From here on the packet is the SYN that it takes the place of.
    flight.transport.flags = SYN;
    flight.is_translated = 1;
    let verdict = schedule::admit(world, flight);
    if verdict == Verdict::ToBackend {
        count(world.tables, flight.listener, flight.backend, |traffic| traffic.flows += 1);
        guard::answered(world.tables, flight.listener);
    }
    verdict
}

/// The client repeats itself before the backend has answered: it is asked again. Says [`Verdict::ToBackend`] where
/// it can be.
#[inline(always)]
fn recall<A: Family, T: Tables>(world: &World<'_, T>, flight: &mut Flight<A>) -> Verdict {
    let Some(backend) = world.tables.backend(flight.backend) else { return Verdict::NoBackend };
    let cell = flight.found.place.index();
    if !is_full_nat(backend) {
        detail::keep_source(flight);
    } else if !detail::read_own_source(world, flight, cell) {
        return Verdict::NoNextHop;
    }
    Verdict::ToBackend
}

/// Sends the backend the SYN that the client once sent.
#[inline(never)]
fn ask<A: Family, T: Tables>(world: &World<'_, T>, flight: &mut Flight<A>) -> Verdict {
    let Some(backend) = world.tables.backend(flight.backend) else { return Verdict::NoBackend };
    way_to(flight, backend);
    let id = flight.backend;
    if flight.hop.interface == 0 {
        count(world.tables, backend.listener, id, |traffic| traffic.dropped += 1);
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
    count(world.tables, backend.listener, id, |traffic| traffic.forward.add(flight.bytes));
    Verdict::SynCookieAccepted
}
