//! What backends answer to flows that SYN cookies opened.

use lb_common::layout::Backend;
use lb_common::verdict::Verdict;

use super::OUR_SCALE;
use super::jar::Terms;
use super::options::{NO_SCALE, TCP_LENGTH, Told};
use super::segment::{ACKNOWLEDGEMENT, Ends, SEQUENCE, Says, WINDOW, ask, replace, turn_back};
use super::translation::{self, Translation, shifted};
use crate::World;
use crate::detail;
use crate::family::Family;
use crate::flight::Flight;
use crate::packet::{Frame, Packet};
use crate::reply;
use crate::send::count;
use crate::tables::Tables;
use crate::transport::{ACK, RST};

/// The window that a backend is told for a client that has said nothing yet: enough for a greeting, in whatever
/// units.
const FIRST_WINDOW: u16 = 512;

/// Deals with a reply of a flow that a cookie opened.
#[inline(never)]
pub(super) fn reply<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &mut Flight<A>,
) -> Verdict {
    let Some(backend) = world.tables.backend(flight.backend) else { return Verdict::NotOurs };
    let cell = flight.found.place.index();
    if !detail::read_way_back(world, flight, cell) {
        count(world.tables, backend.listener, flight.backend, |traffic| traffic.dropped += 1);
        return Verdict::NoNextHop;
    }
    translation::read(world, flight, cell);
    let Some(header) = packet.window::<TCP_LENGTH>(flight.ip.payload) else {
        return Verdict::Malformed;
    };
    let heard = Heard {
        sequence: u32::from_be(header.u32_at::<SEQUENCE>()),
        acknowledgement: u32::from_be(header.u32_at::<ACKNOWLEDGEMENT>()),
        window: u16::from_be(header.u16_at::<WINDOW>()),
    };
    let is_opening = flight.translation.is_opening != 0;
    if flight.transport.accepts() {
        return if is_opening {
            open(world, flight, backend, heard)
        } else {
            acknowledge(world, flight, heard)
        };
    }
    if is_opening {
        if flight.transport.flags & RST == 0 {
            return reset(world, flight, heard);
        }
        // The client hears a reset only at the number that it expects (RFC 5961 section 3.2).
        let cookie = flight.translation.sequence;
        flight.translation.sequence = cookie.wrapping_add(1).wrapping_sub(heard.sequence);
        flight.translation.timestamp = 0;
    }
    if translation::to_client(packet, flight).is_none() {
        return Verdict::Malformed;
    }
    reply::go_on(packet, world, flight)
}

/// What a backend's packet says.
#[derive(Clone, Copy, Debug)]
struct Heard {
    sequence: u32,
    acknowledgement: u32,
    window: u16,
}

/// The backend has answered: its numbers are known, and the client may speak.
///
/// What the client says then ends the handshake. One that has nothing to say yet would leave the backend waiting, so
/// what opens the window also asks for an answer: it brings once more what the client has had, its byte in the place of
/// the SYN. That it acknowledges at once, and the window it heeds, for the segment is not older than the cookie.
#[inline(always)]
fn open<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &mut Flight<A>,
    backend: &Backend,
    heard: Heard,
) -> Verdict {
    let Translation { sequence: cookie, timestamp, .. } = flight.translation;
    let theirs = flight.options;
    let has_timestamps = theirs.timestamps != 0;
    let has_scale = Terms::told_by(cookie).has_scale();
    let scale = if theirs.scale == NO_SCALE { 0 } else { theirs.scale as i8 };
    flight.translation = Translation {
        is_opening: 0,
        window_shift: if has_scale { scale - OUR_SCALE as i8 } else { 0 },
        sequence: cookie.wrapping_sub(heard.sequence),
        timestamp: if has_timestamps { timestamp.wrapping_sub(theirs.timestamp) } else { 0 },
        ..Translation::NONE
    };
    translation::write(world, flight, flight.found.place.index());
    reply::follow(world, flight, backend);
    let window = if has_scale { shifted(heard.window, -(OUR_SCALE as i8)) } else { heard.window };
    let says =
        Says { flags: ACK, sequence: cookie, acknowledgement: heard.acknowledgement, window };
    let ends = Ends {
        source: A::from_words(&backend.vip),
        destination: flight.peer,
        ports: [backend.vip_port, flight.peer_port],
    };
    replace(flight, ends, says, stamped(has_timestamps, [timestamp, theirs.echo]));
    ask(flight);
    count(world.tables, backend.listener, flight.backend, |traffic| {
        traffic.reply.add(flight.bytes);
    });
    Verdict::ToClient
}

/// The backend repeats its answer, for the client was not heard: we end the handshake.
#[inline(always)]
fn acknowledge<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &mut Flight<A>,
    heard: Heard,
) -> Verdict {
    let says = Says {
        flags: ACK,
        sequence: heard.acknowledgement,
        acknowledgement: heard.sequence.wrapping_add(1),
        window: FIRST_WINDOW,
    };
    answer(world, flight, says);
    Verdict::BackendAcknowledged
}

/// The backend does not answer a SYN but goes on with a connection that the client has forgotten (RFC 9293 section
/// 3.5.1).
#[inline(always)]
fn reset<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &mut Flight<A>,
    heard: Heard,
) -> Verdict {
    let says = Says { flags: RST, sequence: heard.acknowledgement, acknowledgement: 0, window: 0 };
    answer(world, flight, says);
    Verdict::BackendReset
}

/// Sends the backend something in the client's name.
#[inline(always)]
fn answer<A: Family, T: Tables>(world: &World<'_, T>, flight: &mut Flight<A>, says: Says) {
    let theirs = flight.options;
    let told =
        stamped(says.flags & RST == 0 && theirs.timestamps != 0, [theirs.echo, theirs.timestamp]);
    let ends = turn_back(world, flight);
    replace(flight, ends, says, told);
}

/// What a segment tells that is no SYN.
#[inline(always)]
fn stamped(has_timestamps: bool, timestamps: [u32; 2]) -> Told {
    Told { timestamps, has_timestamps, segment: 0, scale: NO_SCALE, has_sack: false }
}
