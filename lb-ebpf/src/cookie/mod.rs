//! SYN cookies (RFC 4987 section 3.6): a flow begins when a client proves that it has heard us, and until then
//! nothing is remembered of it.
//!
//! ```text
//! client                        director                       backend
//!   | -- SYN, x ------------------> |                               |
//!   | <-- SYN-ACK, cookie, shut --- |                               |
//!   | -- ACK, cookie + 1 ---------> | -- SYN, x ------------------> |   cells and details are taken
//!   | <-- ACK, window, old byte --- | <-- SYN-ACK, y -------------- |   cookie - y is noted
//!   | -- ACK, cookie + 1 ---------> | -- ACK, y + 1 --------------> |   and so on, translated
//! ```
//!
//! The one hard fact: for each frame that comes in, one may go out. So the client's window stays closed until the
//! backend is there. What opens it brings a byte that the client has had, so that the client answers even if it has
//! nothing to say yet, and ends the backend's handshake. Where that is lost the backend repeats its SYN-ACK after a
//! second, and that is answered in the client's name.

use lb_common::cell::State;
use lb_common::verdict::{Kind, Verdict};

use crate::family::{Family, Shape, TCP};
use crate::flight::{Flight, Next, Scratch};
use crate::packet::{Frame, Packet};
use crate::tables::Tables;
use crate::transport::{ACK, RST, SYN};
use crate::verifier::needed;
use crate::{Outcome, World, end, ethernet, fragment, leave, rest, settle};

mod backend;
mod client;
mod jar;
pub mod options;
pub mod segment;
mod siphash;
pub mod translation;

pub(crate) use client::find_cookie;

/// By how many bits we shift the windows that clients are told. The backend may use another shift, but larger
/// windows than 65,535 times 2^7 bytes need that much at least.
const OUR_SCALE: u8 = 7;

/// Whether a packet that has been identified is for [`third`].
#[inline(always)]
pub(crate) fn concerns<A: Family, T: Tables>(tables: &T, flight: &Flight<A>) -> bool {
    if flight.ip.protocol != TCP {
        return false;
    }
    let cell = flight.found.cell;
    match flight.next {
        Next::TO_CLIENT => cell.is_translated(),
        Next::TO_BACKEND if cell.is_translated() => true,
        Next::TO_BACKEND => {
            cell.state() == Some(State::Closing)
                && flight.transport.flags & (SYN | ACK | RST) == ACK
                && uses_cookies(tables, flight.listener)
        }
        Next::TO_ANY_BACKEND => uses_cookies(tables, flight.listener),
        _ => false,
    }
}

#[inline(always)]
fn uses_cookies<T: Tables>(tables: &T, listener: u32) -> bool {
    tables.listener(listener).is_some_and(|listener| listener.syn_cookies != 0)
}

/// Deals with a packet that [`second`](crate::second) has left.
#[inline(always)]
pub fn third<F: Frame, T: Tables>(packet: &mut Packet<F>, tables: &T) -> Outcome {
    let bytes = needed(packet.length() as u64);
    let outcome = match (tables.settings(), tables.scratch()) {
        (Some(settings), Some(scratch)) => scratch.update(|Scratch { link, v4, v6 }| {
            let world = World { tables, settings, link };
            if world.link.kind == ethernet::IPV4 {
                balance(packet, &world, &mut v4.flight)
            } else {
                balance(packet, &world, &mut v6.flight)
            }
        }),
        _ => rest(Verdict::NotIp),
    };
    settle(tables, outcome.verdict, bytes);
    outcome
}

/// What is the same for both families, once for each.
#[inline(never)]
fn balance<A: Family, F: Frame, T: Tables>(
    packet: &mut Packet<F>,
    world: &World<T>,
    flight: &mut Flight<A>,
) -> Outcome {
    flight.segment.is_there = 0;
    let options = options::read(packet, &flight.ip, &mut flight.options);
    let verdict = match flight.next {
        _ if options.is_none() => Verdict::Malformed,
        Next::TO_CLIENT => backend::reply(packet, world, flight),
        _ => client::deal(packet, world, flight),
    };
    let mut verdict = flight.decided(verdict);
    if flight.ip.shape == Shape::FIRST_FRAGMENT {
        fragment::remember(world, flight, verdict);
    }
    if verdict.kind() == Kind::Forwarded {
        verdict = if flight.segment.is_there == 0 {
            leave(packet, verdict, world.settings, flight)
        } else {
            leave_instead(packet, verdict, flight)
        };
    }
    end(verdict, flight)
}

/// Writes the segment that takes the packet's place.
#[inline(always)]
fn leave_instead<A: Family, F: Frame>(
    packet: &mut Packet<F>,
    verdict: Verdict,
    flight: &Flight<A>,
) -> Verdict {
    let hop = &flight.hop;
    if !packet.extend(hop.end as i32 - packet.length() as i32) {
        return Verdict::Malformed;
    }
    let Some(length) = ethernet::write(packet, hop) else { return Verdict::NoNextHop };
    let written = segment::write(packet, length, &flight.segment);
    if written.is_some() { verdict } else { Verdict::Malformed }
}
