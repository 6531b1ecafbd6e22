//! Random packets: as a rule sees them, and as frames.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::model::{Content, Packet};
use crate::packet_path::frames::{Link, ip_headers, kind, tcp, udp};
use crate::packets::{as_fragment, icmp, other, with_options};
use crate::random::Random;
use crate::rules::{INTERFACES, PORTS, PROTOCOLS, prefix, within};

/// What is wrong with a packet that its receiver may take for whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    None,
    /// The transport header is not all there.
    Truncated,
    /// More IPv6 extension headers than are followed.
    Unfollowed,
}

/// A packet, and what it looks like on the wire.
pub struct Sent {
    pub packet: Packet,
    pub frame: Vec<u8>,
    pub flaw: Flaw,
}

/// A packet between random hosts, or for one of these services, to which TCP and UDP alone are sent.
pub fn packet(random: &mut Random, link: &Link, services: &[(&str, SocketAddr, u8)]) -> Sent {
    let is_vip = |address| services.iter().any(|(_, vip, _)| vip.ip() == address);
    let (source, destination) = loop {
        let (source, destination) = addresses(random);
        if !is_vip(destination) {
            break (source, destination);
        }
    };
    let to = services.iter().filter(|(_, vip, _)| vip.is_ipv4() == source.is_ipv4());
    let to: Vec<_> = to.copied().collect();
    let service = random.chance(30).then(|| random.pick(&to));
    let destination = service.map_or(destination, |(_, vip, _)| vip.ip());
    let protocol = service.map_or_else(|| random.pick(&PROTOCOLS), |(_, _, protocol)| protocol);
    let port = service.map_or_else(|| random.pick(&PORTS), |(_, vip, _)| vip.port());
    let (bytes, content) = body(random, (source, destination), protocol, port);
    let packet = Packet {
        source,
        destination,
        protocol,
        content,
        service: service.map(|(name, _, _)| name.to_owned()),
        interface: INTERFACES[0].to_owned(),
    };
    let (packet, bytes, flaw) = altered(random, packet, bytes);
    Sent { frame: link.frame(kind(source), &bytes), packet, flaw }
}

/// Of one family.
fn addresses(random: &mut Random) -> (IpAddr, IpAddr) {
    let of = |random: &mut Random, is_ipv4: Option<bool>| {
        loop {
            let prefix: IpNet = prefix(random);
            let address = within(random, prefix);
            if is_ipv4.is_none_or(|is_ipv4| is_ipv4 == address.is_ipv4()) {
                return address;
            }
        }
    };
    let source = of(random, None);
    (source, of(random, Some(source.is_ipv4())))
}

fn body(
    random: &mut Random,
    ends: (IpAddr, IpAddr),
    protocol: u8,
    port: u16,
) -> (Vec<u8>, Content) {
    let (source, destination) = ends;
    let headers = ip_headers(source, destination, 64);
    let ports = (random.pick(&PORTS), port);
    let is_own_icmp = protocol == if source.is_ipv4() { 1 } else { 58 };
    match protocol {
        6 => {
            let flags = random.byte();
            let mut packet = tcp(headers, ports, 0, &[]);
            let header = packet.len() - 20;
            packet[header + 13] = flags;
            (packet, Content::Tcp { ports, flags })
        }
        17 => (udp(headers, ports, &[0; 16]), Content::Udp { ports }),
        _ if is_own_icmp => {
            let kind =
                if random.chance(70) { random.pick(&[0, 3, 8, 128, 129]) } else { random.byte() };
            (icmp(source, destination, (kind, 0), &[0; 8]), Content::Icmp { kind })
        }
        _ => (other(source, destination, protocol, &[0; 24]), Content::Other),
    }
}

/// Some packets have options or extensions, some are fragments, some are cut short.
fn altered(random: &mut Random, mut packet: Packet, bytes: Vec<u8>) -> (Packet, Vec<u8>, Flaw) {
    let is_v4 = packet.source.is_ipv4();
    let has_header = !matches!(packet.content, Content::Other);
    match random.below(20) {
        0 => (packet, as_fragment(&bytes, 0), Flaw::None),
        1 => {
            packet.content = Content::Later;
            let offset = u16::try_from(1 + random.below(1_000)).unwrap();
            (packet, as_fragment(&bytes, offset), Flaw::None)
        }
        2 if has_header => {
            let header = if is_v4 { 20 } else { 40 };
            let least = if matches!(packet.content, Content::Icmp { .. }) { 1 } else { 8 };
            (packet, cut(&bytes, header + random.below(least)), Flaw::Truncated)
        }
        3 if is_v4 => (packet, with_options(&bytes, &[1, 1, 1, 1]), Flaw::None),
        3 => (packet, with_extensions(&bytes, 7), Flaw::Unfollowed),
        _ => (packet, bytes, Flaw::None),
    }
}

/// An IPv6 packet behind this many headers of destination options.
fn with_extensions(packet: &[u8], count: usize) -> Vec<u8> {
    let (fixed, payload) = packet.split_at(40);
    let mut next = fixed[6];
    let mut chain = payload.to_vec();
    for _ in 0..count {
        // One option that pads the header to its eight bytes (RFC 8200 section 4.2).
        chain.splice(0..0, [next, 0, 1, 4, 0, 0, 0, 0]);
        next = 60;
    }
    let mut packet = [fixed, &chain].concat();
    packet[4..6].copy_from_slice(&u16::try_from(chain.len()).unwrap().to_be_bytes());
    packet[6] = next;
    packet
}

/// The packet with this length, which its header tells.
fn cut(bytes: &[u8], length: usize) -> Vec<u8> {
    let mut bytes = bytes[..length].to_vec();
    if bytes[0] >> 4 == 4 {
        bytes[2..4].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
    } else {
        bytes[4..6].copy_from_slice(&u16::try_from(length - 40).unwrap().to_be_bytes());
    }
    bytes
}
