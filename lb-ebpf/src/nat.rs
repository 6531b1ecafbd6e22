//! Rewriting addresses and ports, towards the backend and back to the client.

use lb_common::layout::{Backend, Forward};

use crate::checksum::Sum;
use crate::family::{Family, Ip, Shape};
use crate::flight::Flight;
use crate::packet::{Frame, Packet};
use crate::transport::{self, Port, Transport};

/// Whether the backend sees a source of ours instead of the client.
#[inline(always)]
pub(crate) fn is_full_nat(backend: &Backend) -> bool {
    backend.forward == Forward::FullNat.number()
}

/// Gives a client's packet its backend as the destination, or a reply the VIP as its source; `end` says which.
/// Full NAT rewrites the other end too, to `peer`.
#[inline(always)]
pub(crate) fn rewrite<A: Family, F: Frame>(
    packet: &Packet<F>,
    (ip, transport): (&Ip<A>, &Transport),
    (peer, peer_port): (A::Address, u16),
    backend: &Backend,
    end: Port,
) -> Option<()> {
    let Backend { delta, port, vip_port, .. } = *backend;
    let (address, delta, old, new, other) = match end {
        Port::Destination => (&backend.address, delta, vip_port, port, Port::Source),
        Port::Source => (&backend.vip, !delta, port, vip_port, Port::Destination),
    };
    let header = A::header(packet, ip.start)?;
    set_address::<A>(header, end, A::from_words(address));
    // The delta is of address and port together.
    let mut addresses = Sum::of(delta).without(Sum::default().change(old, new));
    let mut all = Sum::of(delta);
    if is_full_nat(backend) {
        let (hidden, hidden_port) = match other {
            Port::Source => (ip.source, transport.source_port),
            Port::Destination => (ip.destination, transport.destination_port),
        };
        set_address::<A>(header, other, peer);
        let change = A::change(Sum::default(), hidden, peer);
        addresses = addresses.join(change);
        all = all.join(change).change(hidden_port, peer_port);
    }
    A::pass_on(header, ip.ttl, addresses);
    if ip.shape == Shape::LATER_FRAGMENT {
        return Some(());
    }
    if is_full_nat(backend) {
        transport::set_port(packet, ip, other, peer_port)?;
    }
    transport::rewrite(packet, ip, end, new, all)
}

/// [`rewrite`] of the packet at hand.
#[inline(always)]
pub(crate) fn rewrite_own<A: Family, F: Frame>(
    packet: &Packet<F>,
    flight: &Flight<A>,
    backend: &Backend,
    end: Port,
) -> Option<()> {
    let peer = (flight.peer, flight.peer_port);
    rewrite(packet, (&flight.ip, &flight.transport), peer, backend, end)
}

#[inline(always)]
fn set_address<A: Family>(header: A::Header<'_>, end: Port, address: A::Address) {
    match end {
        Port::Source => A::set_source(header, address),
        Port::Destination => A::set_destination(header, address),
    }
}
