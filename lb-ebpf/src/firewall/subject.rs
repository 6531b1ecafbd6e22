//! What the rules ask about a packet.

use lb_common::layout::Backend;
use lb_common::layout::firewall::{
    KIND_ICMP, KIND_ICMPV6, KIND_LATER, KIND_PROTOCOL, KIND_TCP, NO_LISTENER, PAGE,
};
use lb_common::verdict::Verdict;

use crate::family::{Family, Shape, TCP, UDP};
use crate::flight::{Flight, Next};
use crate::packet::{Frame, Packet};
use crate::transport::ACK;

/// What the rules ask about a packet.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Subject<A: Family> {
    /// Where it comes from.
    pub source: A::Address,
    /// Where it goes.
    pub destination: A::Address,
    /// [`PAGE`] times its kind, and its protocol, flags or type.
    pub kind: u32,
    /// 1 where it has ports.
    pub has_ports: u32,
    /// The listener that it is for, or [`NO_LISTENER`].
    pub listener: u32,
    /// Index of the interface that it came by.
    pub interface: u32,
    /// Source port, network order.
    pub source_port: u16,
    /// Destination port, network order.
    pub destination_port: u16,
}

impl<A: Family> Subject<A> {
    /// A packet, identified. One that does not name what rules ask about, although its receiver may find it there, is
    /// not to go on.
    #[inline(always)]
    pub(crate) fn of<F: Frame>(packet: &Packet<F>, flight: &Flight<A>) -> Result<Self, Verdict> {
        let is_served = matches!(flight.next, Next::TO_BACKEND | Next::TO_ANY_BACKEND);
        let listener = if is_served { flight.listener } else { NO_LISTENER };
        let (kind, has_ports) = kind(packet, flight)?;
        Ok(Self {
            source: flight.ip.source,
            destination: flight.ip.destination,
            kind,
            has_ports,
            listener,
            interface: flight.interface,
            source_port: flight.transport.source_port,
            destination_port: flight.transport.destination_port,
        })
    }

    /// The next packet of the client whose flow a reply answers.
    #[inline(always)]
    pub(crate) fn of_client(flight: &Flight<A>, backend: &Backend) -> Self {
        let kind = if flight.ip.protocol == TCP {
            number(KIND_TCP, ACK)
        } else {
            number(KIND_PROTOCOL, flight.ip.protocol)
        };
        Self {
            source: flight.peer,
            destination: A::from_words(&backend.vip),
            kind,
            has_ports: 1,
            listener: backend.listener,
            interface: flight.hop.interface,
            source_port: flight.peer_port,
            destination_port: backend.vip_port,
        }
    }
}

/// The number of a packet's kind, and 1 where it has ports.
#[inline(always)]
fn kind<A: Family, F: Frame>(
    packet: &Packet<F>,
    flight: &Flight<A>,
) -> Result<(u32, u32), Verdict> {
    let ip = &flight.ip;
    if flight.is_truncated != 0 {
        return Err(Verdict::Malformed);
    }
    if ip.shape == Shape::UNFOLLOWED {
        return Err(Verdict::ExtensionHeaders);
    }
    if ip.shape == Shape::LATER_FRAGMENT {
        return Ok((number(KIND_LATER, ip.protocol), 0));
    }
    match ip.protocol {
        TCP => Ok((number(KIND_TCP, flight.transport.flags), 1)),
        UDP => Ok((number(KIND_PROTOCOL, UDP), 1)),
        protocol if protocol == A::ICMP => {
            let first = packet.window::<1>(ip.payload).filter(|_| ip.payload < ip.end);
            let kind = if A::NUMBER == 4 { KIND_ICMP } else { KIND_ICMPV6 };
            first.map(|first| (number(kind, first.u8_at::<0>()), 0)).ok_or(Verdict::Malformed)
        }
        protocol => Ok((number(KIND_PROTOCOL, protocol), 0)),
    }
}

#[inline(always)]
fn number(kind: u32, value: u8) -> u32 {
    kind * PAGE as u32 + u32::from(value)
}
