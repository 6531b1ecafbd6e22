//! Packets of every kind that the packet path tells apart, valid as they are built.

use std::net::IpAddr;

use etherparse::{IpNumber, Ipv4Header, Ipv4Options, PacketBuilder};

use crate::packet_path::frames::ip_headers;
use crate::random::Random;

/// Extension headers of IPv6: hop-by-hop, routing, fragment, authentication, destination options.
const EXTENSIONS: [u8; 5] = [0, 43, 44, 51, 60];

/// Writes the checksum of a UDP packet without options or extensions, as the bytes lie in memory.
pub fn set_udp_checksum(packet: &mut [u8], checksum: u16) {
    let header = if packet[0] >> 4 == 4 { 20 } else { 40 };
    packet[header + 6..header + 8].copy_from_slice(&checksum.to_ne_bytes());
}

/// An ICMP or ICMPv6 message between two hosts.
pub fn icmp(from: IpAddr, to: IpAddr, (kind, code): (u8, u8), payload: &[u8]) -> Vec<u8> {
    let rest = [0, 0, 5, 120];
    let mut packet = Vec::new();
    let builder = PacketBuilder::ip(ip_headers(from, to, 64));
    let builder = if from.is_ipv4() {
        builder.icmpv4_raw(kind, code, rest).write(&mut packet, payload)
    } else {
        builder.icmpv6_raw(kind, code, rest).write(&mut packet, payload)
    };
    builder.unwrap();
    packet
}

/// A packet of another protocol.
pub fn other(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = PacketBuilder::ip(ip_headers(from, to, 64));
    builder.write(&mut packet, IpNumber(protocol), payload).unwrap();
    packet
}

/// The packet with IPv4 options.
pub fn with_options(packet: &[u8], options: &[u8]) -> Vec<u8> {
    let (mut header, payload) = Ipv4Header::from_slice(packet).unwrap();
    header.options = Ipv4Options::try_from(options).unwrap();
    header.set_payload_len(payload.len()).unwrap();
    header.header_checksum = header.calc_header_checksum();
    [&header.to_bytes()[..], payload].concat()
}

/// The packet with this many IPv6 extension headers, all of which are followed.
pub fn with_extensions(random: &mut Random, packet: &[u8], count: usize) -> Vec<u8> {
    let (fixed, payload) = packet.split_at(40);
    let mut next = fixed[6];
    let mut chain = payload.to_vec();
    for _ in 0..count {
        let kind = random.pick(&EXTENSIONS);
        chain.splice(0..0, extension(random, kind, next));
        next = kind;
    }
    let mut packet = [fixed, &chain].concat();
    packet[4..6].copy_from_slice(&u16::try_from(chain.len()).unwrap().to_be_bytes());
    packet[6] = next;
    packet
}

fn extension(random: &mut Random, kind: u8, next: u8) -> Vec<u8> {
    // Some are so long that they lead out of what the packet path looks at.
    let units = if random.chance(4) { 236 + random.below(20) } else { random.below(4) };
    let units = u8::try_from(units).unwrap();
    match kind {
        // One that says that the packet is whole: no offset, no "more fragments".
        44 => [vec![next, 0, 0, 0], random.bytes(4)].concat(),
        51 => [vec![next, units], random.bytes(usize::from(units) * 4 + 6)].concat(),
        _ => {
            let mut body = random.bytes(usize::from(units) * 8 + 6);
            // Most routing headers have no segments left.
            body[1] *= u8::from(kind != 43 || random.chance(25));
            [vec![next, units], body].concat()
        }
    }
}

/// The packet as one fragment of several, the first or a later one.
pub fn as_fragment(packet: &[u8], offset: u16) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 4 {
        packet[6..8].copy_from_slice(&(0x2000 | offset).to_be_bytes());
        return packet;
    }
    let header = [packet[6], 0, (offset >> 5).to_be_bytes()[1], (offset << 3).to_be_bytes()[1] | 1];
    packet.splice(40..40, [&header[..], &[0, 0, 0, 9]].concat());
    let length = u16::from_be_bytes([packet[4], packet[5]]) + 8;
    packet[4..6].copy_from_slice(&length.to_be_bytes());
    packet[6] = 44;
    packet
}
