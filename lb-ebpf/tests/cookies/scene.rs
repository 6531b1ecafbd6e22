//! A client and a backend that have agreed on options, and what each of them sends.

use std::net::SocketAddr;

use lb_common::layout::{Forward, SynCookies};
use lb_common::verdict::Verdict;

use crate::cast::packet::{Body, Packet, tcp};
use crate::cast::ways::{FIRST_PORT, nat_source};
use crate::cast::{
    Cast, DIRECTOR_BACK, DIRECTOR_FRONT, FAMILIES, ROUTER, SERVERS, Sent, TCP, World,
};

/// The client's initial sequence number.
pub const CLIENT: u32 = 0xffff_fff0;
/// The backend's.
pub const BACKEND: u32 = 0x8000_0001;
/// The client's timestamps begin here.
pub const CLIENT_CLOCK: u32 = 1_000;
/// The backend's do here.
pub const BACKEND_CLOCK: u32 = 0xffff_ff00;
/// By how many bits the backend shifts its windows.
pub const BACKEND_SCALE: u8 = 9;
/// By how many the director tells clients that windows are shifted.
pub const DIRECTOR_SCALE: u8 = 7;

/// What a client offers.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    pub segment: Option<u16>,
    pub scale: Option<u8>,
    pub sack: bool,
    pub timestamps: bool,
}

/// As Linux, as Windows, and as a client that knows no options.
pub const OFFERS: [Offer; 4] = [
    Offer { segment: Some(1460), scale: Some(10), sack: true, timestamps: true },
    Offer { segment: Some(1440), scale: Some(8), sack: true, timestamps: false },
    Offer { segment: Some(1400), scale: None, sack: false, timestamps: true },
    Offer { segment: None, scale: None, sack: false, timestamps: false },
];

/// Options of a SYN in some order of a sender's own.
pub fn opening_options(offer: Offer, clocks: [u32; 2]) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(segment) = offer.segment {
        bytes.extend([2, 4]);
        bytes.extend(segment.to_be_bytes());
    }
    if let Some(scale) = offer.scale {
        bytes.extend([1, 3, 3, scale]);
    }
    if offer.timestamps {
        bytes.extend([1]);
        bytes.extend(timestamps(clocks));
    }
    if offer.sack {
        bytes.extend([1, 4, 2]);
    }
    while !bytes.len().is_multiple_of(4) {
        bytes.push(0);
    }
    bytes
}

/// The option with timestamps.
pub fn timestamps(clocks: [u32; 2]) -> Vec<u8> {
    let mut bytes = vec![8, 10];
    for clock in clocks {
        bytes.extend(clock.to_be_bytes());
    }
    bytes
}

/// The options of a segment of the director's own: 20 bytes, with nothing in the place of what is not said.
pub fn our_options(opening: Option<(u16, Option<u8>, bool)>, clocks: Option<[u32; 2]>) -> Vec<u8> {
    let mut bytes = vec![1; 20];
    if let Some((segment, scale, sack)) = opening {
        bytes[..2].copy_from_slice(&[2, 4]);
        bytes[2..4].copy_from_slice(&segment.to_be_bytes());
        if sack {
            bytes[4..6].copy_from_slice(&[4, 2]);
        }
        if let Some(scale) = scale {
            bytes[17..].copy_from_slice(&[3, 3, scale]);
        }
    }
    if let Some(clocks) = clocks {
        bytes[6..16].copy_from_slice(&timestamps(clocks));
    }
    bytes
}

/// A packet with these numbers and this window.
pub fn numbered(packet: Packet, sequence: u32, acknowledgement: u32, window: u16) -> Packet {
    let mut packet = packet;
    let Body::Tcp(header, _) = &mut packet.body else { panic!("not TCP: {packet:?}") };
    header.sequence_number = sequence;
    header.acknowledgment_number = acknowledgement;
    header.window_size = window;
    packet
}

/// A segment that the director makes: TTL 64, no traffic class, no flow label, no identification.
pub fn ours(packet: Packet) -> Packet {
    let mut packet = packet.ttl(64).traffic_class(0);
    packet.flow_label = 0;
    packet.identification = 0;
    packet
}

/// Four bytes of a frame without VLAN tags, behind an offset of its TCP header.
pub fn number_at(bytes: &[u8], cast: Cast, offset: usize) -> u32 {
    let start = 14 + if cast.vip.is_ipv4() { 20 } else { 40 } + offset;
    u32::from_be_bytes(bytes[start..start + 4].try_into().unwrap())
}

/// A connection through a director that always answers with cookies.
pub struct Scene {
    pub world: World,
    pub cast: Cast,
    pub offer: Offer,
    /// What the backend takes for the client.
    pub source: SocketAddr,
    pub cookie: u32,
    /// The timestamp that came with the cookie.
    pub clock: u32,
}

impl Scene {
    /// The client has asked and been sent a cookie.
    pub fn asked(cast: Cast, forward: Forward, offer: Offer) -> Self {
        let mut world = World::by(cast, TCP, forward);
        world.tables.listeners[world.listener as usize].syn_cookies = SynCookies::Always.number();
        let source =
            if forward == Forward::Nat { cast.client } else { nat_source(cast, FIRST_PORT) };
        let mut scene = Self { world, cast, offer, source, cookie: 0, clock: 0 };
        let sent = scene.world.front(&scene.opening());
        assert_eq!(sent.verdict, Verdict::SynCookieSent);
        scene.cookie = number_at(&sent.bytes, cast, 4);
        scene.clock = if offer.timestamps { number_at(&sent.bytes, cast, 28) } else { 0 };
        scene
    }

    /// The client has sent the cookie back.
    pub fn opened(cast: Cast, forward: Forward, offer: Offer) -> Self {
        let scene = Self::asked(cast, forward, offer);
        let sent = scene.world.front(&scene.cookie_back());
        assert_eq!((sent.verdict, sent.backend()), (Verdict::SynCookieAccepted, 0));
        scene
    }

    /// The backend has answered.
    pub fn answered(cast: Cast, forward: Forward, offer: Offer) -> Self {
        let scene = Self::opened(cast, forward, offer);
        assert_eq!(scene.world.back(&scene.answer()).verdict, Verdict::ToClient);
        scene
    }

    /// The client has spoken.
    pub fn established(cast: Cast, forward: Forward, offer: Offer) -> Self {
        let scene = Self::answered(cast, forward, offer);
        let data = scene.by_client().payload(b"hello");
        assert_eq!(scene.world.front(&data).verdict, Verdict::ToBackend);
        scene
    }

    /// All of both families, both ways, all offers.
    pub fn all(reach: fn(Cast, Forward, Offer) -> Self) -> Vec<Self> {
        let ways = [Forward::Nat, Forward::FullNat];
        let with = |cast| {
            let of = move |forward| OFFERS.map(|offer| reach(cast, forward, offer));
            ways.into_iter().flat_map(of)
        };
        FAMILIES.into_iter().flat_map(with).collect()
    }

    /// The client's SYN.
    pub fn opening(&self) -> Packet {
        let options = opening_options(self.offer, [CLIENT_CLOCK, 0]);
        let packet = tcp(self.cast.client, self.cast.vip).syn().tcp_options(&options);
        numbered(packet, CLIENT, 0, 64_240)
    }

    /// Options of a client's packet that is no SYN.
    pub fn client_options(&self, echo: u32) -> Vec<u8> {
        let clocks = [CLIENT_CLOCK + 1, echo];
        let clocks = if self.offer.timestamps { timestamps(clocks) } else { Vec::new() };
        if clocks.is_empty() { clocks } else { [vec![1, 1], clocks].concat() }
    }

    /// What the client says next after the cookie.
    pub fn by_client(&self) -> Packet {
        let packet = tcp(self.cast.client, self.cast.vip).ack();
        let packet = packet.tcp_options(&self.client_options(self.clock));
        numbered(packet, CLIENT.wrapping_add(1), self.cookie.wrapping_add(1), 60)
    }

    /// The client's answer to the cookie.
    pub fn cookie_back(&self) -> Packet {
        self.by_client()
    }

    /// The backend's SYN-ACK.
    pub fn answer(&self) -> Packet {
        let offer = Offer { scale: self.offer.scale.map(|_| BACKEND_SCALE), ..self.offer };
        let options = opening_options(offer, [BACKEND_CLOCK, CLIENT_CLOCK + 1]);
        let packet = tcp(self.cast.backends[0], self.source).syn().ack().tcp_options(&options);
        let packet = numbered(packet, BACKEND, CLIENT.wrapping_add(1), 65_160);
        packet.link(SERVERS[0], DIRECTOR_BACK)
    }

    /// A later packet of the backend.
    pub fn by_backend(&self) -> Packet {
        let clocks = [BACKEND_CLOCK.wrapping_add(500), CLIENT_CLOCK + 1];
        let options = if self.offer.timestamps { timestamps(clocks) } else { Vec::new() };
        let options = if options.is_empty() { options } else { [vec![1, 1], options].concat() };
        let packet = tcp(self.cast.backends[0], self.source).ack().tcp_options(&options);
        let packet = numbered(packet, BACKEND.wrapping_add(1), CLIENT.wrapping_add(6), 500);
        packet.link(SERVERS[0], DIRECTOR_BACK)
    }

    /// A client's packet as the backend gets it, but for its numbers.
    pub fn at_backend(&self, packet: &Packet) -> Packet {
        let packet = packet.clone().from(self.source).to(self.cast.backends[0]).ttl(packet.ttl - 1);
        packet.link(DIRECTOR_BACK, SERVERS[0])
    }

    /// A backend's packet as the client gets it, but for its numbers.
    pub fn at_client(&self, packet: &Packet) -> Packet {
        let packet = packet.clone().from(self.cast.vip).to(self.cast.client).ttl(packet.ttl - 1);
        packet.link(DIRECTOR_FRONT, ROUTER)
    }

    /// A packet of the client, which must end in a verdict.
    #[track_caller]
    pub fn front(&self, packet: &Packet, verdict: Verdict) -> Sent {
        let sent = self.world.front(packet);
        assert_eq!(sent.verdict, verdict, "{:?}", self.offer);
        sent
    }

    /// A packet of the backend, which must end in a verdict.
    #[track_caller]
    pub fn back(&self, packet: &Packet, verdict: Verdict) -> Sent {
        let sent = self.world.back(packet);
        assert_eq!(sent.verdict, verdict, "{:?}", self.offer);
        sent
    }
}
