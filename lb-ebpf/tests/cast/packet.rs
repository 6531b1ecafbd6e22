//! Packets by what matters of them; `build` makes them with an independent library.

use std::net::{IpAddr, SocketAddr};

use etherparse::TcpHeader;

use super::{DIRECTOR_FRONT, ROUTER};

/// IEEE 802.1Q.
pub const CUSTOMER: u16 = 0x8100;
/// IEEE 802.1ad.
pub const SERVICE: u16 = 0x88a8;

/// A MAC address.
pub type Mac = [u8; 6];

/// What an IP packet carries.
#[derive(Clone, Debug)]
pub enum Body {
    /// A TCP segment; ports and checksum are filled in.
    Tcp(Box<TcpHeader>, Vec<u8>),
    /// A UDP datagram, with a checksum or without.
    Udp { checksum: bool, payload: Vec<u8> },
    /// An ICMP message of either family: type, code, the word behind the checksum, what follows.
    Icmp { kind: u8, code: u8, word: [u8; 4], payload: Vec<u8> },
    /// Bytes of another protocol.
    Other(u8, Vec<u8>),
}

/// An IPv6 extension header.
#[derive(Clone, Debug)]
pub enum Extension {
    /// Hop-by-hop, routing or destination options: its number and what follows the first two bytes.
    Options(u8, Vec<u8>),
    /// Offset in units of eight bytes, and whether more follow.
    Fragment(u16, bool),
}

/// A packet in its frame.
#[derive(Clone, Debug)]
pub struct Packet {
    pub link: (Mac, Mac),
    /// VLAN tags, outer first: `EtherType` and control information.
    pub tags: Vec<(u16, u16)>,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub ttl: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Of IPv6.
    pub flow_label: u32,
    /// Of IPv4.
    pub identification: u16,
    /// IPv4 options.
    pub options: Vec<u8>,
    /// IPv4: offset in units of eight bytes, and whether more follow.
    pub fragment: Option<(u16, bool)>,
    /// IPv6 extension headers.
    pub extensions: Vec<Extension>,
    pub body: Body,
    /// Bytes behind the IP packet.
    pub padding: Vec<u8>,
}

/// A packet from the router in front of the director.
pub fn packet(source: SocketAddr, destination: SocketAddr, body: Body) -> Packet {
    Packet {
        link: (ROUTER, DIRECTOR_FRONT),
        tags: Vec::new(),
        source,
        destination,
        ttl: 64,
        traffic_class: if destination.is_ipv4() { 0 } else { 0x12 },
        flow_label: 0x3_4567,
        identification: 0xbeef,
        options: Vec::new(),
        fragment: None,
        extensions: Vec::new(),
        body,
        padding: Vec::new(),
    }
}

/// A TCP segment without flags.
pub fn tcp(source: SocketAddr, destination: SocketAddr) -> Packet {
    let header = TcpHeader::new(0, 0, 0x1234_5678, 0x7210);
    packet(source, destination, Body::Tcp(Box::new(header), Vec::new()))
}

/// A UDP datagram with a checksum.
pub fn udp(source: SocketAddr, destination: SocketAddr) -> Packet {
    packet(source, destination, Body::Udp { checksum: true, payload: b"query".to_vec() })
}

/// An ICMP message.
pub fn icmp(source: IpAddr, destination: IpAddr, kind: u8, code: u8) -> Packet {
    let body = Body::Icmp { kind, code, word: [0; 4], payload: Vec::new() };
    packet(SocketAddr::new(source, 0), SocketAddr::new(destination, 0), body)
}

impl Packet {
    fn tcp_header(mut self, change: impl FnOnce(&mut TcpHeader)) -> Self {
        let Body::Tcp(header, _) = &mut self.body else { panic!("not TCP: {self:?}") };
        change(header);
        self
    }

    pub fn syn(self) -> Self {
        self.tcp_header(|header| header.syn = true)
    }

    pub fn ack(self) -> Self {
        self.tcp_header(|header| {
            header.ack = true;
            header.acknowledgment_number = 0x9abc_def0;
        })
    }

    pub fn fin(self) -> Self {
        self.tcp_header(|header| header.fin = true)
    }

    pub fn rst(self) -> Self {
        self.tcp_header(|header| header.rst = true)
    }

    pub fn sequence(self, number: u32) -> Self {
        self.tcp_header(|header| header.sequence_number = number)
    }

    pub fn tcp_options(self, bytes: &[u8]) -> Self {
        self.tcp_header(|header| header.set_options_raw(bytes).unwrap())
    }

    pub fn without_checksum(mut self) -> Self {
        let Body::Udp { checksum, .. } = &mut self.body else { panic!("not UDP: {self:?}") };
        *checksum = false;
        self
    }

    pub fn word(mut self, bytes: [u8; 4]) -> Self {
        let Body::Icmp { word, .. } = &mut self.body else { panic!("not ICMP: {self:?}") };
        *word = bytes;
        self
    }

    pub fn payload(mut self, bytes: &[u8]) -> Self {
        let (Body::Tcp(_, payload)
        | Body::Udp { payload, .. }
        | Body::Icmp { payload, .. }
        | Body::Other(_, payload)) = &mut self.body;
        *payload = bytes.to_vec();
        self
    }

    pub fn from(mut self, source: SocketAddr) -> Self {
        self.source = source;
        self
    }

    pub fn to(mut self, destination: SocketAddr) -> Self {
        self.destination = destination;
        self
    }

    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    pub fn traffic_class(mut self, bits: u8) -> Self {
        self.traffic_class = bits;
        self
    }

    pub fn link(mut self, source: Mac, destination: Mac) -> Self {
        self.link = (source, destination);
        self
    }

    pub fn tags(mut self, tags: &[(u16, u16)]) -> Self {
        self.tags = tags.to_vec();
        self
    }

    pub fn options(mut self, bytes: &[u8]) -> Self {
        self.options = bytes.to_vec();
        self
    }

    /// Makes it a fragment: by the IPv4 header, or by an IPv6 extension header.
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        if self.destination.is_ipv4() {
            self.fragment = Some((offset, more));
        } else {
            self.extensions.push(Extension::Fragment(offset, more));
        }
        self
    }

    /// Adds an extension header; `bytes` is 6 more than a multiple of 8 long.
    pub fn extension(mut self, number: u8, bytes: &[u8]) -> Self {
        self.extensions.push(Extension::Options(number, bytes.to_vec()));
        self
    }

    pub fn padding(mut self, bytes: &[u8]) -> Self {
        self.padding = bytes.to_vec();
        self
    }
}
