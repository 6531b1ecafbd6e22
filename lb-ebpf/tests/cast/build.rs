//! From the description of a packet to its bytes: every header and checksum is etherparse's.

use std::net::IpAddr;

use etherparse::{
    EtherType, Ethernet2Header, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpDscp, IpEcn,
    IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader,
    SingleVlanHeader, UdpHeader,
};

use super::packet::{Body, Extension, Packet};

impl Packet {
    /// The whole frame.
    pub fn bytes(&self) -> Vec<u8> {
        let mut kinds: Vec<u16> = self.tags.iter().map(|tag| tag.0).collect();
        kinds.push(if self.destination.is_ipv4() { 0x0800 } else { 0x86dd });
        let (source, destination) = self.link;
        let mut bytes = Vec::new();
        Ethernet2Header { source, destination, ether_type: EtherType(kinds[0]) }
            .write(&mut bytes)
            .unwrap();
        for ((_, control), kind) in self.tags.iter().zip(&kinds[1..]) {
            let [high, low] = control.to_be_bytes();
            let [above, below] = kind.to_be_bytes();
            SingleVlanHeader::from_bytes([high, low, above, below]).write(&mut bytes).unwrap();
        }
        bytes.extend(self.ip_bytes());
        bytes.extend(&self.padding);
        bytes
    }

    /// The IP packet without the frame around it.
    pub fn ip_bytes(&self) -> Vec<u8> {
        let (number, body) = self.body_bytes();
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.ipv4(source.octets(), destination.octets(), number, body)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.ipv6(source.octets(), destination.octets(), number, body)
            }
            _ => panic!("two families: {self:?}"),
        }
    }

    fn ipv4(&self, source: [u8; 4], destination: [u8; 4], number: u8, body: Vec<u8>) -> Vec<u8> {
        let mut header =
            Ipv4Header::new(0, self.ttl, IpNumber(number), source, destination).unwrap();
        header.options = self.options.as_slice().try_into().unwrap();
        header.set_payload_len(body.len()).unwrap();
        header.identification = self.identification;
        header.dscp = IpDscp::try_new(self.traffic_class >> 2).unwrap();
        header.ecn = IpEcn::try_new(self.traffic_class & 3).unwrap();
        if let Some((offset, more)) = self.fragment {
            header.dont_fragment = false;
            header.more_fragments = more;
            header.fragment_offset = IpFragOffset::try_new(offset).unwrap();
        }
        header.header_checksum = header.calc_header_checksum();
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend(body);
        bytes
    }

    fn ipv6(&self, source: [u8; 16], destination: [u8; 16], number: u8, body: Vec<u8>) -> Vec<u8> {
        let mut next = number;
        let mut rest = body;
        for extension in self.extensions.iter().rev() {
            let (kind, mut bytes) = extension_bytes(extension, next);
            bytes.extend(rest);
            (next, rest) = (kind, bytes);
        }
        let header = Ipv6Header {
            traffic_class: self.traffic_class,
            flow_label: self.flow_label.try_into().unwrap(),
            payload_length: rest.len().try_into().unwrap(),
            next_header: IpNumber(next),
            hop_limit: self.ttl,
            source,
            destination,
        };
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend(rest);
        bytes
    }

    /// The protocol number and the bytes behind the IP headers.
    fn body_bytes(&self) -> (u8, Vec<u8>) {
        let (source, destination) = (self.source.ip(), self.destination.ip());
        match &self.body {
            Body::Tcp(header, payload) => {
                let mut header = header.clone();
                header.source_port = self.source.port();
                header.destination_port = self.destination.port();
                header.checksum = match (source, destination) {
                    (IpAddr::V4(s), IpAddr::V4(d)) => {
                        header.calc_checksum_ipv4_raw(s.octets(), d.octets(), payload).unwrap()
                    }
                    (IpAddr::V6(s), IpAddr::V6(d)) => {
                        header.calc_checksum_ipv6_raw(s.octets(), d.octets(), payload).unwrap()
                    }
                    _ => panic!("two families: {self:?}"),
                };
                (6, [&header.to_bytes(), payload.as_slice()].concat())
            }
            Body::Udp { checksum, payload } => {
                let header = self.udp_header(*checksum, payload);
                (17, [&header.to_bytes(), payload.as_slice()].concat())
            }
            Body::Icmp { kind, code, word, payload } => {
                self.icmp_bytes(*kind, *code, *word, payload)
            }
            Body::Other(number, bytes) => (*number, bytes.clone()),
        }
    }

    fn udp_header(&self, checksum: bool, payload: &[u8]) -> UdpHeader {
        let (from, to) = (self.source.port(), self.destination.port());
        if !checksum {
            return UdpHeader::without_ipv4_checksum(from, to, payload.len()).unwrap();
        }
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(s), IpAddr::V4(d)) => {
                let empty = Ipv4Header::new(0, 0, IpNumber::UDP, s.octets(), d.octets()).unwrap();
                UdpHeader::with_ipv4_checksum(from, to, &empty, payload).unwrap()
            }
            (IpAddr::V6(s), IpAddr::V6(d)) => {
                let (source, destination) = (s.octets(), d.octets());
                let ip = Ipv6Header { source, destination, ..Ipv6Header::default() };
                UdpHeader::with_ipv6_checksum(from, to, &ip, payload).unwrap()
            }
            _ => panic!("two families: {self:?}"),
        }
    }

    fn icmp_bytes(&self, kind: u8, code: u8, word: [u8; 4], payload: &[u8]) -> (u8, Vec<u8>) {
        if let (IpAddr::V6(s), IpAddr::V6(d)) = (self.source.ip(), self.destination.ip()) {
            let kind = Icmpv6Type::Unknown { type_u8: kind, code_u8: code, bytes5to8: word };
            let header =
                Icmpv6Header::with_checksum(kind, s.octets(), d.octets(), payload).unwrap();
            return (58, [&header.to_bytes(), payload].concat());
        }
        let kind = Icmpv4Type::Unknown { type_u8: kind, code_u8: code, bytes5to8: word };
        (1, [&Icmpv4Header::with_checksum(kind, payload).to_bytes(), payload].concat())
    }
}

/// The number of an extension header and its bytes.
fn extension_bytes(extension: &Extension, next: u8) -> (u8, Vec<u8>) {
    match extension {
        Extension::Options(number, bytes) => {
            let header = Ipv6RawExtHeader::new_raw(IpNumber(next), bytes).unwrap();
            (*number, header.to_bytes().to_vec())
        }
        Extension::Fragment(offset, more) => {
            let offset = IpFragOffset::try_new(*offset).unwrap();
            let header = Ipv6FragmentHeader::new(IpNumber(next), offset, *more, 7);
            (44, header.to_bytes().to_vec())
        }
    }
}
