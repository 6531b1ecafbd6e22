//! What is sent around an advertisement and beside it: IP headers, gratuitous ARP, unsolicited neighbour
//! advertisements.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::advert::{HOP_LIMIT, PROTOCOL, extend, internet_checksum};

/// Internet control (RFC 9568 says nothing; others send the same): CS6.
const TRAFFIC_CLASS: u8 = 0xc0;
/// IP protocol number of destination options.
const DESTINATION_OPTIONS: u8 = 60;
const BROADCAST: [u8; 6] = [0xff; 6];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

/// An IP packet of protocol 112, with options or without; `None` if the families differ.
pub fn packet(
    source: IpAddr,
    destination: IpAddr,
    options: &[u8],
    payload: &[u8],
) -> Option<Vec<u8>> {
    let length = u16::try_from(payload.len()).ok()?;
    let mut bytes = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            v4_header(source, destination, options, length)?
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) if options.is_empty() => {
            v6_header(source, destination, length, PROTOCOL, TRAFFIC_CLASS)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let area = destination_options(options)?;
            let length = length.checked_add(u16::try_from(area.len()).ok()?)?;
            let mut header =
                v6_header(source, destination, length, DESTINATION_OPTIONS, TRAFFIC_CLASS);
            header.extend(area);
            header
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    };
    bytes.extend(payload);
    Some(bytes)
}

/// RFC 8200 4.6: what follows, and the length in eights of bytes after the first eight.
fn destination_options(options: &[u8]) -> Option<Vec<u8>> {
    let eights = (options.len() + 2).div_ceil(8).checked_sub(1)?;
    let mut area = vec![PROTOCOL, u8::try_from(eights).ok()?];
    area.extend(options);
    Some(area)
}

/// The options fill whole words.
fn v4_header(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    options: &[u8],
    length: u16,
) -> Option<Vec<u8>> {
    let of_header = u16::try_from(20 + options.len()).ok()?;
    let total = length.checked_add(of_header)?.to_be_bytes();
    let words = u8::try_from(of_header / 4).ok()?;
    let mut header = vec![0x40 | words, TRAFFIC_CLASS];
    header.extend(total);
    // Identification, no fragment; the checksum is filled in below.
    header.extend([0, 0, 0, 0, HOP_LIMIT, PROTOCOL, 0, 0]);
    header.extend(source.octets());
    header.extend(destination.octets());
    header.extend(options);
    let sum = internet_checksum(&header).to_be_bytes();
    header.get_mut(10..12)?.copy_from_slice(&sum);
    Some(header)
}

fn v6_header(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    length: u16,
    next: u8,
    traffic_class: u8,
) -> Vec<u8> {
    let mut header = vec![0x60 | traffic_class >> 4, traffic_class << 4, 0, 0];
    header.extend(length.to_be_bytes());
    header.extend([next, HOP_LIMIT]);
    header.extend(source.octets());
    header.extend(destination.octets());
    header
}

/// An IPv4 packet.
#[derive(Clone, Copy, Debug)]
pub struct PacketV4<'p> {
    /// Where it comes from.
    pub source: Ipv4Addr,
    /// Where it goes.
    pub destination: Ipv4Addr,
    /// Its TTL.
    pub ttl: u8,
    /// The options of its header.
    pub options: &'p [u8],
    /// What follows the header.
    pub payload: &'p [u8],
}

/// `None`: it is cut short.
pub fn parse_v4(packet: &[u8]) -> Option<PacketV4<'_>> {
    let (first, ttl) = (packet.first()?, *packet.get(8)?);
    let header = usize::from(first & 0xf) * 4;
    let address = |at: usize| {
        let bytes: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(bytes))
    };
    if first >> 4 != 4 || header < 20 {
        return None;
    }
    Some(PacketV4 {
        source: address(12)?,
        destination: address(16)?,
        ttl,
        options: packet.get(20..header)?,
        payload: packet.get(header..)?,
    })
}

/// A packet to a multicast group in an Ethernet frame (RFC 1112 6.4, RFC 2464 7).
pub fn frame(source: [u8; 6], group: IpAddr, packet: &[u8]) -> Vec<u8> {
    let (destination, kind) = match group {
        IpAddr::V4(v4) => {
            let [_, b1, b2, b3] = v4.octets();
            ([1, 0, 0x5e, b1 & 0x7f, b2, b3], [0x08, 0x00])
        }
        IpAddr::V6(v6) => {
            let [.., b12, b13, b14, b15] = v6.octets();
            ([0x33, 0x33, b12, b13, b14, b15], [0x86, 0xdd])
        }
    };
    let mut frame = Vec::with_capacity(14 + packet.len());
    frame.extend(destination);
    frame.extend(source);
    frame.extend(kind);
    frame.extend(packet);
    frame
}

/// The frames that tell all neighbours that `address` is at `mac` from now on.
pub fn announcement(mac: [u8; 6], address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => gratuitous_arp(mac, v4),
        IpAddr::V6(v6) => unsolicited_advertisement(mac, v6),
    }
}

/// An ARP announcement (RFC 5227 3): a request in which sender and target are the address.
fn gratuitous_arp(mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(42);
    frame.extend(BROADCAST);
    frame.extend(mac);
    // EtherType ARP; Ethernet, IPv4, their lengths; request.
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(address.octets());
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame
}

/// A neighbour advertisement to all nodes, flags router and override (RFC 9568 6.4.1, RFC 4861 4.4).
fn unsolicited_advertisement(mac: [u8; 6], address: Ipv6Addr) -> Vec<u8> {
    const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    const ROUTER_AND_OVERRIDE: u8 = 0xa0;
    const ICMP_V6: u8 = 58;
    let mut message = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, ROUTER_AND_OVERRIDE, 0, 0, 0];
    message.extend(address.octets());
    // Option: target link-layer address, one unit of eight bytes.
    message.extend([2, 1]);
    message.extend(mac);
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut summed = Vec::with_capacity(72);
    extend(&mut summed, address.into());
    extend(&mut summed, ALL_NODES.into());
    summed.extend(u32::from(length).to_be_bytes());
    summed.extend([0, 0, 0, ICMP_V6]);
    summed.extend(&message);
    if let Some(place) = message.get_mut(2..4) {
        place.copy_from_slice(&internet_checksum(&summed).to_be_bytes());
    }
    let mut frame = Vec::with_capacity(86);
    frame.extend(ALL_NODES_MAC);
    frame.extend(mac);
    frame.extend([0x86, 0xdd]);
    frame.extend(v6_header(address, ALL_NODES, length, ICMP_V6, TRAFFIC_CLASS));
    frame.extend(message);
    frame
}
