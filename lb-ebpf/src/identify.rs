//! Finding out whose packet it is. Nothing of the packet is changed here.

use lb_common::layout::Interface;
use lb_common::verdict::Verdict;

use crate::World;
use crate::family::{Family, Ip, Shape, TCP, UDP, VRRP};
use crate::flight::{Flight, Next};
use crate::packet::{Frame, Mac, Packet};
use crate::tables::Tables;
use crate::{cookie, forward, hold, reply, send, transport};

/// Finds out whose packet it is, and what is next to be done; if that is nothing, the verdict is the packet's.
#[inline(never)]
pub(crate) fn identify<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<T>,
    flight: &mut Flight<A>,
) -> Verdict {
    flight.next = Next::NOTHING;
    flight.asks_cookies = 0;
    if let Err(verdict) = A::parse(packet, world.link.length, false, &mut flight.ip) {
        // There may be no word on it in the header.
        flight.ip.shape = Shape::WHOLE;
        return verdict;
    }
    flight.is_parsed = 1;
    let (protocol, shape) = (flight.ip.protocol, flight.ip.shape);
    if protocol == A::ICMP && shape == Shape::WHOLE {
        flight.next = Next::ICMP;
        return Verdict::NotOurs;
    }
    if shape == Shape::LATER_FRAGMENT {
        flight.next = Next::FRAGMENT;
        return Verdict::NotOurs;
    }
    if !matches!(protocol, TCP | UDP) {
        return unbalanced(world.tables, &flight.ip);
    }
    let Some(transport) = transport::parse(packet, &flight.ip) else {
        flight.is_truncated = 1;
        return truncated(world.tables, &flight.ip);
    };
    flight.transport = transport;
    flight.has_ports = 1;
    match whose(world, flight) {
        Ok(next) => {
            flight.next = next;
            flight.asks_cookies = u32::from(cookie::concerns(world.tables, flight));
            Verdict::NotOurs
        }
        Err(Verdict::NotOurs) if hold::answer_waits(packet, world, flight) => Verdict::HeldForPeer,
        Err(verdict) => verdict,
    }
}

/// What is to be done with a packet that has ports.
#[inline(always)]
fn whose<A: Family, T: Tables>(world: &World<T>, flight: &mut Flight<A>) -> Result<Next, Verdict> {
    let (port, protocol) = (flight.transport.destination_port, flight.ip.protocol);
    let follows = flight.ip.shape == Shape::WHOLE || world.settings.follow_fragments != 0;
    match A::listener(world.tables, flight.ip.destination, port, protocol) {
        Some(_) if !is_for_us(world, flight.interface) => Err(Verdict::NotOurs),
        Some(_) if !follows => Err(Verdict::Fragment),
        Some(listener) => {
            flight.listener = listener;
            if flight.ip.ttl <= 1 {
                return Err(send::refuse(world, flight, Verdict::TtlExceeded));
            }
            Ok(forward::find(world, flight))
        }
        None => match A::vip(world.tables, flight.ip.destination) {
            Some(vip) if vip.closed != 0 => Err(Verdict::PortClosed),
            Some(_) => Err(Verdict::VipHostPort),
            None => reply::find(world, flight),
        },
    }
}

/// Whether the frame was sent to this interface. A switch also floods frames for others, and another director
/// may be among those.
#[inline(always)]
pub(crate) fn is_for_us<T: Tables>(world: &World<T>, interface: u32) -> bool {
    has_mac(world.tables, interface, world.link.destination)
}

/// Whether an interface has a MAC address: its own, or that of a virtual router which is Active here.
#[inline(always)]
pub(crate) fn has_mac<T: Tables>(tables: &T, interface: u32, mac: Mac) -> bool {
    let is_at =
        |number| tables.interface(number).is_some_and(|ours: Interface| Mac::from(ours.mac) == mac);
    let router = mac.virtual_router();
    is_at(interface.into())
        || router.is_some_and(|router| is_at(Interface::number(interface, router)))
}

/// A packet without ports that could be balanced by.
#[inline(never)]
pub(crate) fn unbalanced<A: Family, T: Tables>(tables: &T, ip: &Ip<A>) -> Verdict {
    match A::vip(tables, ip.destination) {
        None => Verdict::NotOurs,
        Some(vip) if vip.closed == 0 => Verdict::VipHostPort,
        Some(_) if ip.shape == Shape::UNFOLLOWED => Verdict::ExtensionHeaders,
        Some(_) if ip.shape != Shape::WHOLE => Verdict::Fragment,
        Some(_) if ip.protocol == VRRP => Verdict::VipControl,
        Some(_) => Verdict::ProtocolClosed,
    }
}

/// A packet whose transport header is not all there.
#[inline(never)]
fn truncated<A: Family, T: Tables>(tables: &T, ip: &Ip<A>) -> Verdict {
    if A::vip(tables, ip.destination).is_some() { Verdict::Malformed } else { Verdict::NotOurs }
}
