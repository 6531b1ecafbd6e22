//! ICMP and ICMPv6: errors about balanced flows reach the party that can act on them (RFC 5508 section 4).
//!
//! An error quotes the packet that it is about. About a reply, the quoted source is the VIP, and the error
//! belongs to the flow's backend; about a forwarded packet, the quoted destination is the backend, and the
//! error belongs to the client. The quoted packet is translated back to what its sender knows.

use lb_common::verdict::Verdict;

use crate::World;
use crate::checksum::Sum;
use crate::cookie::translation::{self, plus};
use crate::detail;
use crate::family::{Family, ICMP, Ip, Shape, TCP, UDP};
use crate::flight::Flight;
use crate::flow::Tuple;
use crate::identify::is_for_us;
use crate::lookup::{find_flow, find_reply};
use crate::nat::is_full_nat;
use crate::packet::{Frame, Packet};
use crate::relay;
use crate::send::way_to;
use crate::tables::Tables;
use crate::too_big::is_too_big;
use crate::transport::{TCP_CHECK, udp_checksum};

/// Length of an ICMP header, the quoted packet follows.
pub(crate) const HEADER: usize = 8;
const CHECK: usize = 2;

/// Bytes of a TCP header up to the end of its checksum.
const TO_TCP_CHECK: usize = TCP_CHECK + 2;

/// What an ICMP message is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Message {
    /// Reports a packet that it quotes.
    Error,
    /// For the host: echo and, in IPv6, neighbour discovery.
    Control,
    /// Anything else.
    Other,
}

/// What an error quotes: a TCP or UDP packet.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Quote<A: Family> {
    /// Its IP header.
    pub ip: Ip<A>,
    source_port: u16,
    destination_port: u16,
    /// What its sequence number becomes less by.
    sequence: u32,
    /// The ends that its sender knows.
    becomes: Tuple<A>,
}

/// Finds out what to do with a message.
#[inline(never)]
pub(crate) fn decide<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &mut Flight<A>,
    quote: &mut Quote<A>,
) -> Verdict {
    let vip = A::vip(world.tables, flight.ip.destination);
    let whole = flight.ip.payload + HEADER <= flight.ip.end;
    let (true, Some(header)) = (whole, packet.window::<HEADER>(flight.ip.payload)) else {
        return if vip.is_some() { Verdict::Malformed } else { Verdict::NotOurs };
    };
    let message = classify::<A>(header.u8_at::<0>());
    // A switch floods errors for others too.
    let is_error = message == Message::Error && is_for_us(world, flight.interface);
    let translated =
        if is_error { about_flow(packet, world, flight, quote, vip.is_some()) } else { None };
    // Tunnels begin at an address of the host's own.
    let is_hosts = vip.is_none_or(|vip| vip.closed == 0);
    if is_error && translated.is_none() && is_hosts {
        relay::note(packet, world.settings, flight, quote);
    }
    match (translated, vip) {
        (Some(verdict), _) => verdict,
        (None, None) => Verdict::NotOurs,
        (None, Some(_)) if message == Message::Control => Verdict::VipControl,
        (None, Some(vip)) if vip.closed == 0 => Verdict::VipHostPort,
        (None, Some(_)) if message == Message::Error => Verdict::ErrorWithoutFlow,
        (None, Some(_)) => Verdict::ProtocolClosed,
    }
}

/// Turns an error about a flow of ours to whom it concerns; `None` where it is not about one.
#[inline(always)]
fn about_flow<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &mut Flight<A>,
    quote: &mut Quote<A>,
    to_vip: bool,
) -> Option<Verdict> {
    read_quote(packet, &flight.ip, quote)?;
    if to_vip {
        to_backend(packet, world, flight, quote)
    } else {
        to_client(packet, world, flight, quote)
    }
}

#[inline(always)]
fn classify<A: Family>(kind: u8) -> Message {
    if A::ICMP == ICMP {
        match kind {
            // RFC 792: unreachable (with "fragmentation needed"), time exceeded, parameter problem.
            3 | 11 | 12 => Message::Error,
            0 | 8 => Message::Control,
            _ => Message::Other,
        }
    } else {
        match kind {
            // RFC 4443: unreachable, packet too big, time exceeded, parameter problem.
            1..=4 => Message::Error,
            // RFC 4443: echo; RFC 4861: neighbour discovery.
            128 | 129 | 133..=137 => Message::Control,
            _ => Message::Other,
        }
    }
}

/// Reads the packet that the one behind `ip` quotes, where it is one of TCP or UDP with its ports.
#[inline(never)]
fn read_quote<A: Family, F: Frame>(
    packet: &Packet<F>,
    ip: &Ip<A>,
    quote: &mut Quote<A>,
) -> Option<()> {
    A::parse(packet, ip.payload + HEADER, true, &mut quote.ip).ok()?;
    // The quoted length is that of the packet before it was cut, and some routers change it.
    quote.ip.end = ip.end;
    // An error goes to whoever sent what it quotes.
    if !A::same(ip.destination, quote.ip.source) {
        return None;
    }
    let has_ports = matches!(quote.ip.shape, Shape::WHOLE | Shape::FIRST_FRAGMENT);
    if !matches!(quote.ip.protocol, TCP | UDP) || !has_ports {
        return None;
    }
    // RFC 792: at least eight bytes of the quoted payload are there.
    if quote.ip.payload + 8 > quote.ip.end {
        return None;
    }
    let ports = packet.window::<8>(quote.ip.payload)?;
    quote.source_port = ports.u16_at::<0>();
    quote.destination_port = ports.u16_at::<2>();
    quote.sequence = 0;
    Some(())
}

/// The 5-tuple of the packets that answer the quoted one.
#[inline(always)]
fn answering<A: Family>(quote: &Quote<A>) -> Tuple<A> {
    Tuple {
        source: quote.ip.destination,
        destination: quote.ip.source,
        source_port: quote.destination_port,
        destination_port: quote.source_port,
        protocol: quote.ip.protocol,
    }
}

/// An error about a reply: quoted from VIP to client.
#[inline(always)]
fn to_backend<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &mut Flight<A>,
    quote: &mut Quote<A>,
) -> Option<Verdict> {
    let vip = quote.ip.source;
    let listener = A::listener(world.tables, vip, quote.source_port, quote.ip.protocol)?;
    let hash = answering(quote).hash(&world.settings.hash_key);
    let flows = flight.flows(world.tables, world.settings);
    let found = find_flow(&flows, hash, listener);
    if found.is_none() {
        return None;
    }
    let backend = world.tables.backend(found.cell.backend())?;
    if flight.ip.ttl <= 1 {
        return Some(Verdict::TtlExceeded);
    }
    flight.hash = hash;
    let room = way_to(flight, backend);
    if flight.hop.interface == 0 {
        return Some(Verdict::NoNextHop);
    }
    // RFC 4443 section 2.4: no error is sent about an error.
    if is_too_big(flight, backend.mtu, room) {
        return Some(Verdict::TooBig);
    }
    // A backend that has the VIP gets the error as it is.
    if !backend.is_nat() {
        return Some(Verdict::ErrorToBackend);
    }
    let client = (quote.ip.destination, quote.destination_port);
    if !is_full_nat(backend) {
        (flight.peer, flight.peer_port) = client;
    } else if !detail::read_source(world, flight, found.place.index(), client) {
        return Some(Verdict::NoNextHop);
    }
    if found.cell.is_translated() {
        quote.sequence = translation::sequence(world, found.place.index());
    }
    let address = A::from_words(&backend.address);
    quote.becomes = Tuple {
        source: address,
        destination: flight.peer,
        source_port: backend.port,
        destination_port: flight.peer_port,
        protocol: quote.ip.protocol,
    };
    let inner = translate(packet, quote)?;
    A::set_destination(A::header(packet, flight.ip.start)?, address);
    let outer = A::change(Sum::default(), flight.ip.destination, address);
    finish(packet, &flight.ip, inner, outer)?;
    Some(Verdict::ErrorToBackend)
}

/// An error about a forwarded packet: quoted from client to backend.
#[inline(always)]
fn to_client<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &mut Flight<A>,
    quote: &mut Quote<A>,
) -> Option<Verdict> {
    flight.reply = answering(quote);
    let hash = flight.reply.hash(&world.settings.hash_key);
    let flows = flight.flows(world.tables, world.settings);
    let found = find_reply(&flows, &flight.reply, hash);
    if found.is_none() {
        return None;
    }
    let backend = world.tables.backend(found.cell.backend())?;
    if flight.ip.ttl <= 1 {
        return Some(Verdict::TtlExceeded);
    }
    if !detail::read_way_back(world, flight, found.place.index()) {
        return Some(Verdict::NoNextHop);
    }
    let vip = A::from_words(&backend.vip);
    let client = flight.peer;
    quote.becomes = Tuple {
        source: client,
        destination: vip,
        source_port: flight.peer_port,
        destination_port: backend.vip_port,
        protocol: quote.ip.protocol,
    };
    let inner = translate(packet, quote)?;
    // An error of the backend itself comes from the VIP, as far as the client knows; one of a router on
    // the way keeps its source.
    let (sender, receiver) = (flight.ip.source, flight.ip.destination);
    let from_backend = A::same(sender, A::from_words(&backend.address));
    let source = if from_backend { vip } else { sender };
    let header = A::header(packet, flight.ip.start)?;
    A::set_source(header, source);
    A::set_destination(header, client);
    let outer = A::change(A::change(Sum::default(), sender, source), receiver, client);
    finish(packet, &flight.ip, inner, outer)?;
    Some(Verdict::ErrorToClient)
}

/// Writes the quoted ends; returns what that changes in a checksum over the quoted packet.
#[inline(never)]
fn translate<A: Family, F: Frame>(packet: &Packet<F>, quote: &Quote<A>) -> Option<Sum> {
    let (header, new) = (A::header(packet, quote.ip.start)?, &quote.becomes);
    A::set_source(header, new.source);
    A::set_destination(header, new.destination);
    let ports = packet.window::<8>(quote.ip.payload)?;
    ports.set_u16::<0>(new.source_port);
    ports.set_u16::<2>(new.destination_port);
    let mut numbers = Sum::default();
    if quote.sequence != 0 {
        let old = ports.u32_at::<4>();
        let new = plus(old, quote.sequence.wrapping_neg());
        ports.set_u32::<4>(new);
        numbers = numbers.change_u32(old, new);
    }
    let addresses = A::change(Sum::default(), quote.ip.source, new.source);
    let addresses = A::change(addresses, quote.ip.destination, new.destination);
    let ports = Sum::default().change(quote.source_port, new.source_port);
    let ports = ports.change(quote.destination_port, new.destination_port);
    fix_quote(packet, quote, addresses, ports.join(numbers))
}

/// Corrects the quoted checksums, as far as they are quoted.
#[inline(always)]
fn fix_quote<A: Family, F: Frame>(
    packet: &Packet<F>,
    quote: &Quote<A>,
    addresses: Sum,
    ports: Sum,
) -> Option<Sum> {
    let header = A::fix(A::header(packet, quote.ip.start)?, addresses);
    let change = addresses.join(ports);
    let transport = if quote.ip.protocol == UDP {
        let udp = packet.window::<8>(quote.ip.payload)?;
        let old = udp.u16_at::<6>();
        let new = udp_checksum(old, change);
        udp.set_u16::<6>(new);
        Sum::default().change(old, new)
    } else if quote.ip.payload + TO_TCP_CHECK <= quote.ip.end {
        let tcp = packet.window::<TO_TCP_CHECK>(quote.ip.payload)?;
        let old = tcp.u16_at::<TCP_CHECK>();
        let new = change.applied_to(old);
        tcp.set_u16::<TCP_CHECK>(new);
        Sum::default().change(old, new)
    } else {
        Sum::default()
    };
    Some(change.join(header).join(transport))
}

/// Finishes the error itself: its own header and checksum.
#[inline(always)]
fn finish<A: Family, F: Frame>(
    packet: &Packet<F>,
    ip: &Ip<A>,
    inner: Sum,
    outer: Sum,
) -> Option<()> {
    A::pass_on(A::header(packet, ip.start)?, ip.ttl, outer);
    let header = packet.window::<HEADER>(ip.payload)?;
    // RFC 4443 section 2.3: the checksum of ICMPv6 covers the addresses; that of ICMP does not.
    let change = if A::ICMP == ICMP { inner } else { inner.join(outer) };
    header.set_u16::<CHECK>(change.applied_to(header.u16_at::<CHECK>()));
    Some(())
}
