//! Worlds of every way of forwarding, and what is in front of encapsulated packets.

use std::net::{IpAddr, SocketAddr};

use lb_common::layout::{Forward, address};
use lb_ebpf::host::{HostTables, NextHop};

use super::packet::{Body, Packet, packet};
use super::{
    BACK, Cast, DIRECTOR_BACK, DIRECTOR_FRONT, FAMILIES, FRONT, HASH_KEY, SERVERS, V4, V6, World,
};

/// Every way of forwarding.
pub const WAYS: [Forward; 7] = [
    Forward::Nat,
    Forward::FullNat,
    Forward::Dsr,
    Forward::IpipV4,
    Forward::IpipV6,
    Forward::GueV4,
    Forward::GueV6,
];
/// Those that put a header in front.
pub const TUNNELS: [Forward; 4] =
    [Forward::IpipV4, Forward::IpipV6, Forward::GueV4, Forward::GueV6];

/// UDP port of GUE.
pub const GUE_PORT: u16 = 6_080;
/// Source ports of GUE: the dynamic ones.
pub const FIRST_GUE_SOURCE: u16 = 49_152;
/// Sources of tunnels: these addresses, with any last byte.
const TUNNEL_SOURCES: [&str; 2] = ["10.77.0.0", "2001:db8:77::"];
/// Ports of full NAT begin here.
pub const FIRST_PORT: u16 = 20_000;

/// Bytes of the outer IP header.
pub fn outer_header(forward: Forward) -> usize {
    if matches!(forward, Forward::IpipV4 | Forward::GueV4) { 20 } else { 40 }
}

impl World {
    /// A service that is forwarded to in this way, with sources for tunnels and for full NAT.
    pub fn by(cast: Cast, protocol: u8, forward: Forward) -> Self {
        Self::by_of(cast, protocol, forward, HostTables::new(1024, HASH_KEY))
    }

    /// The same with any tables.
    pub fn by_of(cast: Cast, protocol: u8, forward: Forward, tables: HostTables) -> Self {
        let mut world = Self::of(cast, protocol, tables, BACK);
        for (index, id) in world.backends.clone().into_iter().enumerate() {
            world.redirect(id, index, forward);
        }
        let settings = &mut world.tables.settings;
        let [v4, v6] = TUNNEL_SOURCES.map(|source| address(source.parse().unwrap()).0);
        (settings.tunnel_v4, settings.tunnel_v6) = (v4[0], v6);
        (settings.tunnel_v4_entropy, settings.tunnel_v6_entropy) =
            (0xff_u32.to_be(), 0xff_u32.to_be());
        settings.gue_port = GUE_PORT.to_be();
        settings.nat_sources = [1, 1];
        settings.nat_v4[0] = address(V4.director).0[0];
        settings.nat_v6[0] = address(V6.director).0;
        (settings.nat_first_port, settings.nat_ports) = (FIRST_PORT, 1_000);
        world
    }

    /// The same with all on one interface.
    pub fn one_armed_by(cast: Cast, protocol: u8, forward: Forward) -> Self {
        let mut world = Self::by(cast, protocol, forward);
        for backend in &mut world.tables.backends {
            backend.interface = FRONT;
            backend.macs[6..].copy_from_slice(&DIRECTOR_FRONT);
        }
        world
    }

    /// Reaches a backend in another way; in front of a tunnel it has an address of the outer family.
    pub fn redirect(&mut self, id: u32, index: usize, forward: Forward) {
        let id = usize::try_from(id).unwrap();
        let listener = self.tables.backends[id].listener;
        let mut endpoint = tunnel_end(self.cast, forward, index);
        if !matches!(forward, Forward::Nat | Forward::FullNat) {
            endpoint.set_port(self.cast.vip.port());
        }
        let hop = NextHop { interface: BACK, neighbour: SERVERS[index], source: DIRECTOR_BACK };
        self.tables.add_backend_by(forward, listener, endpoint, hop);
        let backend = self.tables.backends.pop().unwrap();
        self.tables.backends[id] = backend;
    }

    /// Lets all backends be reached by a way that takes packets up to this length.
    pub fn narrow(&mut self, mtu: u16) {
        self.tables.backends.iter_mut().for_each(|backend| backend.mtu = mtu);
    }
}

/// Where a backend is reached.
pub fn tunnel_end(cast: Cast, forward: Forward, index: usize) -> SocketAddr {
    match forward {
        Forward::Nat | Forward::FullNat | Forward::Dsr => cast.backends[index],
        Forward::IpipV4 | Forward::GueV4 => V4.backends[index],
        Forward::IpipV6 | Forward::GueV6 => V6.backends[index],
    }
}

/// The first source of full NAT.
pub fn nat_source(cast: Cast, port: u16) -> SocketAddr {
    SocketAddr::new(cast.director, port)
}

/// What varies with the flow in the outer headers of a frame to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entropy {
    /// The outer source.
    pub source: IpAddr,
    /// The IPv6 flow label; 0 in IPv4.
    pub label: u32,
    /// The UDP source port; 0 without UDP.
    pub port: u16,
}

/// Reads it from a frame without tags, and holds it against what may vary.
#[track_caller]
pub fn entropy(frame: &[u8], forward: Forward) -> Entropy {
    let header = outer_header(forward);
    let (source, label) = if header == 20 {
        let octets: [u8; 4] = frame[26..30].try_into().unwrap();
        (IpAddr::from(octets), 0)
    } else {
        let octets: [u8; 16] = frame[22..38].try_into().unwrap();
        let word = u32::from_be_bytes(frame[14..18].try_into().unwrap());
        (IpAddr::from(octets), word & 0xf_ffff)
    };
    let is_gue = matches!(forward, Forward::GueV4 | Forward::GueV6);
    let at = 14 + header;
    let port = if is_gue { u16::from_be_bytes([frame[at], frame[at + 1]]) } else { 0 };
    assert!(!is_gue || port >= FIRST_GUE_SOURCE, "{port}");
    let prefix: IpAddr = TUNNEL_SOURCES[usize::from(header == 40)].parse().unwrap();
    let ((mut words, _), (own, _)) = (address(source), address(prefix));
    let last = if header == 20 { 0 } else { 3 };
    words[last] &= !0xff_u32.to_be();
    assert_eq!(words, own, "{source} is not of the prefix");
    Entropy { source, label, port }
}

/// An IP packet as the backend gets it through a tunnel: around it what RFC 2003, 2473 and 4213 ask for, and in GUE a UDP
/// header without a checksum.
pub fn encapsulated(inner: &Packet, forward: Forward, index: usize, with: Entropy) -> Packet {
    let bytes = inner.ip_bytes();
    let is_v6 = inner.destination.is_ipv6();
    let traffic_class = if is_v6 { (bytes[0] << 4) | (bytes[1] >> 4) } else { bytes[1] };
    let body = if with.port == 0 {
        Body::Other(if is_v6 { 41 } else { 4 }, bytes)
    } else {
        Body::Udp { checksum: false, payload: bytes }
    };
    let mut to = tunnel_end(inner.cast(), forward, index);
    to.set_port(GUE_PORT);
    let outer = packet(SocketAddr::new(with.source, with.port), to, body);
    Packet {
        traffic_class,
        flow_label: with.label,
        identification: 0,
        padding: inner.padding.clone(),
        ..outer.link(DIRECTOR_BACK, SERVERS[index])
    }
}

impl Packet {
    /// The cast of its family.
    pub fn cast(&self) -> Cast {
        FAMILIES[usize::from(self.destination.is_ipv6())]
    }
}

/// An address as a socket without a port.
pub fn alone(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, 0)
}
