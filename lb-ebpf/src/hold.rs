//! Holding the packets of TCP connections that only another director may know, which has fallen silent.
//!
//! Its agent may have died while its packet path lived on: what that began since, nobody was told of, and the agent's
//! next start tells it. Until then such packets are dropped, and TCP sends them again. To schedule them anew would take
//! them to another backend, and to leave answers to the host would show clients the backend's own address; either
//! side then resets a connection that is whole.

use lb_common::filter;

use crate::World;
use crate::draw;
use crate::family::{Family, TCP};
use crate::flight::Flight;
use crate::identify::is_for_us;
use crate::nat::is_full_nat;
use crate::packet::{Frame, Packet};
use crate::quick::may_be;
use crate::source;
use crate::tables::Tables;

/// Whether a client's packet, whose flow would begin now at the flight's backend, is held. Where a hash has chosen
/// that, so had the other director, unless it chose a source of full NAT besides.
#[inline(always)]
pub(crate) fn waits<A: Family, T: Tables>(world: &World<'_, T>, flight: &Flight<A>) -> bool {
    if draw::begins(flight) || !is_on(world.tables) {
        return false;
    }
    let (Some(listener), Some(backend)) =
        (world.tables.listener(flight.listener), world.tables.backend(flight.backend))
    else {
        return false;
    };
    !draw::is_by_hash(listener) || is_full_nat(backend)
}

/// Whether a packet that answers no flow is held: from a backend, and not for this host, as the answers to its health
/// checks are.
#[inline(never)]
pub(crate) fn answer_waits<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &Flight<A>,
) -> bool {
    let (ip, transport) = (&flight.ip, &flight.transport);
    if ip.protocol != TCP || transport.opens() || !is_on(world.tables) {
        return false;
    }
    let from = filter::of_replies(&A::to_words(ip.source), transport.source_port, TCP);
    let port = transport.destination_port;
    may_be(world.tables, from)
        && is_for_us(world, flight.interface)
        && (source::may_be_given::<A>(world.settings, ip.destination, port)
            || packet.is_routed(&flight.tuple()))
}

#[inline(always)]
fn is_on<T: Tables>(tables: &T) -> bool {
    let until = tables.held_until();
    until != 0 && tables.nanoseconds() < until
}
