//! Sending a client's packet to its backend, in the way that the backend is reached.

use lb_common::layout::{Backend, Forward, Traffic};
use lb_common::verdict::Verdict;

use crate::World;
use crate::ethernet::Tags;
use crate::family::Family;
use crate::flight::Flight;
use crate::nat::rewrite_own;
use crate::packet::{Frame, Packet};
use crate::tables::Tables;
use crate::too_big;
use crate::transport::Port;

/// Sends the packet on. It is rewritten here; what grows it is written when it leaves.
#[inline(never)]
pub(crate) fn send<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &mut Flight<A>,
    backend: &Backend,
) -> Verdict {
    let id = flight.backend;
    let room = way_to(flight, backend);
    if flight.hop.interface == 0 {
        count(world.tables, backend.listener, id, |traffic| traffic.dropped += 1);
        return Verdict::NoNextHop;
    }
    if too_big::is_too_big(flight, backend.mtu, room) {
        count(world.tables, backend.listener, id, |traffic| traffic.dropped += 1);
        // Where what is put in front fits alone, there is no way.
        return too_big::report(world, flight, usize::from(backend.mtu).saturating_sub(room));
    }
    if backend.is_nat() && rewrite_own(packet, flight, backend, Port::Destination).is_none() {
        return refuse(world, flight, Verdict::Malformed);
    }
    count(world.tables, backend.listener, id, |traffic| traffic.forward.add(flight.bytes));
    if flight.unremembered == 0 { Verdict::ToBackend } else { Verdict::ToBackendUnremembered }
}

/// Writes the way to a backend, with interface 0 where none is known; returns the bytes that are put in front
/// of the packet.
#[inline(always)]
pub(crate) fn way_to<A: Family>(flight: &mut Flight<A>, backend: &Backend) -> usize {
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5] = backend.macs;
    flight.hop.interface = backend.interface;
    flight.hop.destination = [d0, d1, d2, d3, d4, d5].into();
    flight.hop.source = [s0, s1, s2, s3, s4, s5].into();
    // The neighbour was found without tags, so it hears none.
    flight.hop.tags = Tags::NONE;
    if backend.forward <= Forward::Dsr.number() {
        return 0;
    }
    crate::tunnel::choose(flight, backend)
}

/// Counts a packet that goes no further at its listener.
#[inline(always)]
pub(crate) fn refuse<A: Family, T: Tables>(
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
    tables: &T,
    listener: u32,
    backend: u32,
    what: impl Fn(&mut Traffic),
) {
    if let Some(entry) = tables.listener_traffic(listener) {
        entry.update(&what);
    }
    if let Some(entry) = tables.backend_traffic(backend) {
        entry.update(&what);
    }
}
