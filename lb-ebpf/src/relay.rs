//! Errors of routers about encapsulated packets that were too long for them, or that they could not bring to their
//! backend: the sender of the packet inside is told (RFC 2003 section 4, RFC 2473 section 8).
//!
//! The error quotes our outer header and, behind it, as much of the packet inside as the router saw fit. Where
//! that shows the flow, the error is cut down to the packet inside and built anew around it.

use lb_common::layout::{Address, Settings};
use lb_common::verdict::Verdict;
use network_types::udp::UdpHdr;

use crate::family::{Family, ICMP, Shape, UDP};
use crate::flight::{Facts, Flight, Scratch};
use crate::icmp::{HEADER, Quote};
use crate::lookup::find_flow;
use crate::packet::{Frame, Packet};
use crate::tables::Tables;
use crate::transport::Transport;
use crate::v4::V4;
use crate::v6::V6;
use crate::{Outcome, World, begin, detail, end, ethernet, leave, too_big};

/// A packet inside of a tunnel that an error is about.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Relay {
    /// Where it begins; 0: there is none.
    pub start: usize,
    /// Where what is quoted of it ends.
    pub end: usize,
    /// Its `EtherType`, network order.
    pub kind: u16,
    /// What the way takes of it, in bytes; 0: there is no way.
    pub mtu: u16,
    /// Where the tunnel led.
    pub destination: Address,
}

/// What an error says of a tunnel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    TooLong,
    NoWay,
    /// Nothing that concerns the sender of the packet inside.
    Other,
}

#[inline(always)]
fn says<A: Family>(kind_and_code: [u8; 2]) -> Says {
    if A::ICMP == ICMP {
        match kind_and_code {
            [3, 4] => Says::TooLong,
            // RFC 2003 section 4.1: that a source route failed is the director's own affair.
            [3, 5] => Says::Other,
            // RFC 2003 section 4.4: the tunnel's time to live, not the packet's.
            [3, _] | [11, 0] => Says::NoWay,
            _ => Says::Other,
        }
    } else {
        match kind_and_code {
            [2, 0] => Says::TooLong,
            [1, _] | [3, 0] => Says::NoWay,
            _ => Says::Other,
        }
    }
}

/// Notes what an error says of one of our tunnels.
#[inline(never)]
pub(crate) fn note<A: Family, F: Frame>(
    packet: &Packet<F>,
    settings: &Settings,
    flight: &mut Flight<A>,
    quote: &mut Quote<A>,
) -> Option<()> {
    let ip = &flight.ip;
    let header = packet.window::<HEADER>(ip.payload)?;
    let says = says::<A>(header.u16_at::<0>().to_ne_bytes());
    if says == Says::Other {
        return None;
    }
    let mtu = u32::from_be(header.u32_at::<4>()) & 0xffff;
    A::parse(packet, ip.payload + HEADER, true, &mut quote.ip).ok()?;
    // An error goes to whoever sent what it quotes.
    if !A::same(ip.destination, quote.ip.source) {
        return None;
    }
    let start = match quote.ip.protocol {
        UDP => {
            let udp = packet.window::<{ UdpHdr::LEN }>(quote.ip.payload)?;
            let is_gue = udp.u16_at::<2>() == settings.gue_port;
            if is_gue { quote.ip.payload + UdpHdr::LEN } else { return None }
        }
        V4::ENCAPSULATED | V6::ENCAPSULATED => quote.ip.payload,
        _ => return None,
    };
    let version = packet.window::<1>(start)?.u8_at::<0>() >> 4;
    let mtu = mtu.saturating_sub((start - quote.ip.start) as u32);
    let mtu = match says {
        // RFC 1191 section 5: a router that knows of no MTU says zero, which tells the sender inside nothing.
        Says::TooLong if mtu == 0 => return None,
        Says::TooLong => mtu,
        Says::NoWay | Says::Other => 0,
    };
    flight.relay = Relay {
        start,
        end: ip.end,
        kind: if version == 4 { ethernet::IPV4 } else { ethernet::IPV6 },
        mtu: mtu as u16,
        destination: A::to_words(quote.ip.destination),
    };
    Some(())
}

/// Tells the sender of the packet inside; an error about a packet of no flow is left to the host.
#[inline(never)]
pub(crate) fn relay<F: Frame, T: Tables>(
    packet: &mut Packet<F>,
    tables: &T,
    settings: &Settings,
    scratch: &mut Scratch,
) -> Outcome {
    let Scratch { link, v4, v6 } = scratch;
    let world = World { tables, settings, link };
    let about = if world.link.kind == ethernet::IPV4 { v4.flight.relay } else { v6.flight.relay };
    if about.kind == ethernet::IPV4 {
        let verdict = answer(packet, &world, v4, &about);
        end(verdict, &v4.flight)
    } else {
        let verdict = answer(packet, &world, v6, &about);
        end(verdict, &v6.flight)
    }
}

#[inline(never)]
fn answer<A: Family, F: Frame, T: Tables>(
    packet: &mut Packet<F>,
    world: &World<T>,
    facts: &mut Facts<A>,
    about: &Relay,
) -> Verdict {
    if find(packet, world, &mut facts.flight, about).is_none() {
        return Verdict::NotOurs;
    }
    leave(packet, Verdict::ErrorToClient, world.settings, &facts.flight)
}

/// Finds the flow of the packet inside, and prepares the error to its client.
#[inline(always)]
fn find<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<T>,
    flight: &mut Flight<A>,
    relay: &Relay,
) -> Option<()> {
    begin(packet, world, flight);
    A::parse(packet, relay.start, true, &mut flight.ip).ok()?;
    flight.ip.end = relay.end;
    let has_ports = matches!(flight.ip.shape, Shape::WHOLE | Shape::FIRST_FRAGMENT);
    if !has_ports || flight.ip.payload + UdpHdr::LEN > relay.end {
        return None;
    }
    let ports = packet.window::<{ UdpHdr::LEN }>(flight.ip.payload)?;
    flight.transport = Transport {
        source_port: ports.u16_at::<0>(),
        destination_port: ports.u16_at::<2>(),
        flags: 0,
    };
    let (port, protocol) = (flight.transport.destination_port, flight.ip.protocol);
    let listener = A::listener(world.tables, flight.ip.destination, port, protocol)?;
    let hash = flight.tuple().hash(&world.settings.hash_key);
    let flows = flight.flows(world.tables, world.settings);
    let found = find_flow(&flows, hash, listener);
    let backend = world.tables.backend(found.cell.backend())?;
    let [a, b, c, d] = backend.address;
    let is_there = [a, b, c, d] == relay.destination && !backend.is_nat();
    detail::keep_source(flight);
    flight.reply.destination = flight.peer;
    flight.reply.destination_port = flight.peer_port;
    if found.is_none() || !is_there {
        return None;
    }
    if !detail::read_way_back(world, flight, found.place.index()) || !world.tables.may_report() {
        return None;
    }
    too_big::prepare(relay.kind, flight, usize::from(relay.mtu));
    Some(())
}
