//! Frames of a client and of backends, built with etherparse, and what is read back from them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use etherparse::{
    IpHeaders, Ipv4Extensions, Ipv4Header, Ipv6Extensions, Ipv6FlowLabel, Ipv6Header, NetSlice,
    PacketBuilder, SlicedPacket, TcpHeader, TransportSlice, ip_number,
};

/// `EtherType` of IPv4.
pub const IPV4: u16 = 0x0800;
/// `EtherType` of IPv6.
pub const IPV6: u16 = 0x86dd;

/// TCP's flags.
pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;

/// An IPv4 address with a port.
pub const fn v4([a, b, c, d]: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), port)
}

/// MAC addresses, destination first, and VLAN tags (`EtherType` and control), outer first.
#[derive(Clone, Debug)]
pub struct Link {
    /// Where a frame goes.
    pub destination: [u8; 6],
    /// Where it comes from.
    pub source: [u8; 6],
    /// VLAN tags.
    pub tags: Vec<(u16, u16)>,
}

impl Link {
    /// Puts the Ethernet header before a payload.
    pub fn frame(&self, kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = [self.destination, self.source].concat();
        for (kind, control) in &self.tags {
            frame.extend([kind.to_be_bytes(), control.to_be_bytes()].concat());
        }
        frame.extend(kind.to_be_bytes());
        frame.extend(payload);
        frame
    }
}

/// The addresses and ports of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ends {
    /// Where it comes from.
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
}

impl Ends {
    /// Those of the answer.
    pub fn turned(self) -> Self {
        Self { source: self.destination, destination: self.source }
    }
}

/// An IP header without extensions; lengths and checksum are filled in later.
pub fn ip_headers(source: IpAddr, destination: IpAddr, ttl: u8) -> IpHeaders {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let (source, destination) = (source.octets(), destination.octets());
            let header = Ipv4Header::new(0, ttl, ip_number::TCP, source, destination).unwrap();
            IpHeaders::Ipv4(header, Ipv4Extensions::default())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => IpHeaders::Ipv6(
            Ipv6Header {
                traffic_class: 0,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: 0,
                next_header: ip_number::TCP,
                hop_limit: ttl,
                source: source.octets(),
                destination: destination.octets(),
            },
            Ipv6Extensions::default(),
        ),
        _ => panic!("from {source} to {destination}"),
    }
}

/// `EtherType` of an address.
pub fn kind(address: IpAddr) -> u16 {
    if address.is_ipv4() { IPV4 } else { IPV6 }
}

/// An IP packet of TCP with these flags.
pub fn tcp(headers: IpHeaders, ports: (u16, u16), flags: u8, payload: &[u8]) -> Vec<u8> {
    let acknowledgement = if flags & ACK == 0 { 0 } else { 0x9abc_def0 };
    let numbers = Numbers { sequence: 0x1234_5678, acknowledgement, options: &[] };
    tcp_of(headers, ports, (flags, numbers), payload)
}

/// What the header of a TCP packet says, besides flags.
#[derive(Clone, Copy, Debug)]
pub struct Numbers<'a> {
    pub sequence: u32,
    pub acknowledgement: u32,
    /// As they stand there.
    pub options: &'a [u8],
}

/// An IP packet of TCP with these flags, numbers and options.
pub fn tcp_of(
    headers: IpHeaders,
    ports: (u16, u16),
    (flags, numbers): (u8, Numbers<'_>),
    payload: &[u8],
) -> Vec<u8> {
    let mut header = TcpHeader::new(ports.0, ports.1, numbers.sequence, 64_240);
    header.acknowledgment_number = numbers.acknowledgement;
    header.fin = flags & FIN != 0;
    header.syn = flags & SYN != 0;
    header.rst = flags & RST != 0;
    header.psh = flags & PSH != 0;
    header.ack = flags & ACK != 0;
    header.set_options_raw(numbers.options).unwrap();
    let mut packet = Vec::new();
    PacketBuilder::ip(headers).tcp_header(header).write(&mut packet, payload).unwrap();
    packet
}

/// A UDP packet with these headers.
pub fn udp(headers: IpHeaders, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ip(headers).udp(ports.0, ports.1).write(&mut packet, payload).unwrap();
    packet
}

/// A TCP frame between two ends.
pub fn tcp_frame(link: &Link, ends: Ends, flags: u8, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = (ends.source.ip(), ends.destination.ip());
    let ports = (ends.source.port(), ends.destination.port());
    let packet = tcp(ip_headers(source, destination, 64), ports, flags, payload);
    link.frame(kind(source), &packet)
}

/// The ends of a TCP or UDP frame, if it is one.
pub fn ends(frame: &[u8]) -> Option<Ends> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let (from, to): (IpAddr, IpAddr) = match packet.net.as_ref()? {
        NetSlice::Ipv4(ip) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        NetSlice::Ipv6(ip) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        NetSlice::Arp(_) => return None,
    };
    let (source, destination) = match packet.transport.as_ref()? {
        TransportSlice::Tcp(tcp) => (tcp.source_port(), tcp.destination_port()),
        TransportSlice::Udp(udp) => (udp.source_port(), udp.destination_port()),
        TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_) | TransportSlice::Igmp(_) => {
            return None;
        }
    };
    let (source, destination) = (SocketAddr::new(from, source), SocketAddr::new(to, destination));
    Some(Ends { source, destination })
}
