//! A table of frames that come to a backend, and of what becomes of them; built with etherparse.

use std::net::SocketAddr;

use lb_common::decap::{HOST, Settings, VIP, Verdict};
use lb_ebpf::decap::HostMaps;

use crate::cast::packet::{Body, CUSTOMER, Packet, SERVICE, packet, tcp, udp};
use crate::cast::{Cast, DIRECTOR_BACK, FAMILIES, SERVERS};

/// UDP port of GUE.
pub const GUE: u16 = 6080;

/// How a tunnel carries a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// IP in IP.
    Ip,
    /// GUE of version 1: IP directly behind UDP.
    Direct,
    /// GUE of version 0, with a header.
    Header,
}

pub const CARRIERS: [Carrier; 3] = [Carrier::Ip, Carrier::Direct, Carrier::Header];

/// A frame, and what becomes of it.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    pub frame: Vec<u8>,
    pub verdict: Verdict,
    /// The frame afterwards.
    pub after: Vec<u8>,
}

/// A backend with addresses and VIPs of both families; directors are the only sources that are allowed.
pub fn backend() -> HostMaps {
    let settings = Settings { gue_port: GUE.to_be(), restricted: 1, segments: [1400, 1380] };
    let mut maps = HostMaps::new(settings);
    for cast in FAMILIES {
        maps.add(cast.backends[0].ip(), HOST);
        maps.add(cast.vip.ip(), VIP);
        maps.sources.push(cast.director);
    }
    maps
}

/// A packet from the director to the backend.
pub fn outer(cast: Cast, body: Body) -> Packet {
    let source = SocketAddr::new(cast.director, 45_000);
    let destination = SocketAddr::new(cast.backends[0].ip(), GUE);
    packet(source, destination, body).link(DIRECTOR_BACK, SERVERS[0])
}

/// A packet in a tunnel over the family of `cast`.
pub fn carry(cast: Cast, carrier: Carrier, inner: &Packet) -> Packet {
    carry_bytes(cast, carrier, protocol_of(inner), &inner.ip_bytes())
}

fn protocol_of(inner: &Packet) -> u8 {
    if inner.destination.is_ipv4() { 4 } else { 41 }
}

/// The same with any bytes.
pub fn carry_bytes(cast: Cast, carrier: Carrier, protocol: u8, inner: &[u8]) -> Packet {
    let datagram = |payload: Vec<u8>| Body::Udp { checksum: true, payload };
    let body = match carrier {
        Carrier::Ip => Body::Other(protocol, inner.to_vec()),
        Carrier::Direct => datagram(inner.to_vec()),
        Carrier::Header => datagram([&[0, protocol, 0, 0], inner].concat()),
    };
    outer(cast, body)
}

/// A client's packet to a VIP, in frames like those that carry it.
pub fn request(cast: Cast) -> Packet {
    let packet = tcp(cast.client, cast.vip).ack().payload(b"GET / HTTP/1.1\r\n");
    packet.link(DIRECTOR_BACK, SERVERS[0])
}

fn case(name: &str, frame: &Packet, verdict: Verdict, after: &Packet) -> Case {
    Case { name: name.to_owned(), frame: frame.bytes(), verdict, after: after.bytes() }
}

fn untouched(name: &str, frame: &Packet, verdict: Verdict) -> Case {
    case(name, frame, verdict, frame)
}

/// Every way to carry either family over either.
pub fn ways() -> Vec<(Cast, Carrier, Cast)> {
    let of = |outer| {
        CARRIERS.iter().flat_map(move |carrier| FAMILIES.map(|inner| (outer, *carrier, inner)))
    };
    FAMILIES.into_iter().flat_map(of).collect()
}

/// What is decapsulated, over all ways.
fn decapsulated(outer: Cast, carrier: Carrier, inner: Cast) -> Vec<Case> {
    let plain = request(inner);
    let tags = [(SERVICE, 0x0123), (CUSTOMER, 0xa456)];
    let over_options = match outer.vip {
        SocketAddr::V4(_) => carry(outer, carrier, &plain).options(&[1; 40]),
        SocketAddr::V6(_) => carry(outer, carrier, &plain).extension(60, &[1, 4, 0, 0, 0, 0]),
    };
    let with_options = match inner.vip {
        SocketAddr::V4(_) => plain.clone().options(&[1; 8]),
        SocketAddr::V6(_) => plain.clone().extension(0, &[1, 4, 0, 0, 0, 0]),
    };
    let datagram = udp(inner.client, inner.vip).link(DIRECTOR_BACK, SERVERS[0]);
    let part = request(inner).fragment(64, true);
    let nested = Packet { body: Body::Other(4, vec![0x45; 40]), ..plain.clone() };
    let whole = |packet: &Packet| carry(outer, carrier, packet);
    let yes = Verdict::Decapsulated;
    vec![
        case("plain", &whole(&plain), yes, &plain),
        case("one tag", &whole(&plain).tags(&tags[1..]), yes, &plain.clone().tags(&tags[1..])),
        case("two tags", &whole(&plain).tags(&tags), yes, &plain.clone().tags(&tags)),
        case("padded", &whole(&plain).padding(&[7; 9]), yes, &plain.clone().padding(&[7; 9])),
        case("outer options", &over_options, yes, &plain),
        case("inner options", &whole(&with_options), yes, &with_options),
        case("a datagram", &whole(&datagram), yes, &datagram),
        case("an inner fragment", &whole(&part), yes, &part),
        case("a tunnel within", &whole(&nested), yes, &nested),
    ]
}

/// What is not, over all ways.
fn refused(outer: Cast, carrier: Carrier, inner: Cast) -> Vec<Case> {
    let plain = request(inner);
    let whole = carry(outer, carrier, &plain);
    let bytes = plain.ip_bytes();
    let cut = |length| carry_bytes(outer, carrier, protocol_of(&plain), &bytes[..length]);
    let stranger = whole.clone().from(outer.client);
    let elsewhere = whole.clone().to(SocketAddr::new(outer.backends[1].ip(), GUE));
    let foreign = carry(outer, carrier, &plain.clone().to(inner.other_vip));
    let foreign_stranger = foreign.clone().from(outer.client);
    vec![
        untouched("a stranger", &stranger, Verdict::ForbiddenSource),
        untouched("not here", &elsewhere, Verdict::NotHere),
        untouched("not a VIP", &foreign, Verdict::NotVip),
        untouched("a stranger's own tunnel", &foreign_stranger, Verdict::NotVip),
        untouched("first fragment", &whole.clone().fragment(0, true), Verdict::Fragment),
        untouched("inner cut by one", &cut(bytes.len() - 1), Verdict::MalformedInner),
        untouched("inner header cut", &cut(19), Verdict::MalformedInner),
        untouched("inner header cut short", &cut(4), Verdict::MalformedInner),
    ]
}

/// What has nothing to do with tunnels, and what GUE carries besides IP.
fn strays(cast: Cast) -> Vec<Case> {
    let gue = |payload: &[u8]| outer(cast, Body::Udp { checksum: true, payload: payload.to_vec() });
    let ip = request(cast).ip_bytes();
    let after = |header: [u8; 4]| gue(&[&header, ip.as_slice()].concat());
    let other_port = gue(&ip).to(SocketAddr::new(cast.backends[0].ip(), GUE + 1));
    let is_v4 = cast.vip.is_ipv4();
    let later = |carrier| carry(cast, carrier, &request(cast)).fragment(16, false);
    vec![
        untouched("a client's own", &request(cast), Verdict::NotTunnel),
        untouched("another port", &other_port, Verdict::NotTunnel),
        untouched("a later fragment of UDP", &later(Carrier::Direct), Verdict::NotTunnel),
        untouched("a later fragment of IP in IP", &later(Carrier::Ip), Verdict::Fragment),
        untouched("GUE control", &after([0x20, 4, 0, 0]), Verdict::OtherGue),
        untouched("GUE options", &after([0x01, 4, 0, 0]), Verdict::OtherGue),
        untouched("GUE flags", &after([0, 4, 0x80, 0]), Verdict::OtherGue),
        untouched("GUE with Ethernet", &after([0, 97, 0, 0]), Verdict::OtherGue),
        untouched("GUE version 2", &after([0x80, 4, 0, 0]), Verdict::OtherGue),
        untouched("version 1, but not IP", &after([0x55, 4, 0, 0]), Verdict::OtherGue),
        untouched("empty GUE", &gue(&[]), Verdict::MalformedInner),
        untouched("GUE of a byte", &gue(&[0x45]), Verdict::MalformedInner),
        // Its family is said twice, and the two differ.
        untouched("lies", &after([0, if is_v4 { 41 } else { 4 }, 0, 0]), Verdict::MalformedInner),
    ]
}

/// The UDP length is more than what there is, or less than its header.
fn wrong_lengths(cast: Cast) -> Vec<Case> {
    let whole = carry(cast, Carrier::Direct, &request(cast)).bytes();
    let at = 14 + if cast.vip.is_ipv4() { 20 } else { 40 } + 4;
    let with = |length: u16| {
        let mut frame = whole.clone();
        frame[at..at + 2].copy_from_slice(&length.to_be_bytes());
        let (name, verdict) = (format!("UDP length {length}"), Verdict::Malformed);
        Case { name, after: frame.clone(), frame, verdict }
    };
    vec![with(7), with(0), with(u16::MAX)]
}

/// The whole table.
pub fn table() -> Vec<Case> {
    let mut cases = Vec::new();
    for (outer, carrier, inner) in ways() {
        let mut named = decapsulated(outer, carrier, inner);
        named.extend(refused(outer, carrier, inner));
        named.extend(super::congestion::cases(outer, carrier, inner));
        for case in &mut named {
            case.name = format!("{}, {carrier:?} over {}", case.name, outer.director);
        }
        cases.extend(named);
    }
    for cast in FAMILIES {
        cases.extend(strays(cast));
        cases.extend(wrong_lengths(cast));
    }
    let mut arp = [SERVERS[0], DIRECTOR_BACK].concat();
    arp.extend([8, 6, 0, 1, 8, 0, 6, 4]);
    let (name, verdict) = ("ARP".to_owned(), Verdict::NotIp);
    cases.push(Case { name, after: arp.clone(), frame: arp, verdict });
    cases
}
