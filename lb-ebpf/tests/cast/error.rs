//! ICMP errors of both families, and what they quote.

use std::net::IpAddr;

use super::packet::{Packet, icmp, tcp, udp};
use super::{Cast, DIRECTOR_BACK, SERVERS, TCP};

/// Type, code and the word behind the checksum of the errors of a family.
pub fn kinds(cast: &Cast) -> Vec<(u8, u8, [u8; 4])> {
    let mtu = [0, 0, 5, 0x14];
    if cast.vip.is_ipv4() {
        // RFC 792, RFC 1191: port unreachable, fragmentation needed, time exceeded, parameter problem.
        vec![(3, 3, [0; 4]), (3, 4, mtu), (11, 0, [0; 4]), (12, 0, [20, 0, 0, 0])]
    } else {
        // RFC 4443: port unreachable, packet too big, time exceeded, parameter problem.
        vec![(1, 4, [0; 4]), (2, 0, mtu), (3, 0, [0; 4]), (4, 1, [0, 0, 0, 40])]
    }
}

/// What may be quoted between two endpoints, in the form that `shape` gives to plain packets; a first fragment too.
pub fn quotable(protocol: u8, shape: impl Fn(Packet) -> Packet, cast: &Cast) -> Vec<Packet> {
    let (source, destination) = (cast.client, cast.vip);
    let plain = if protocol == TCP {
        vec![
            tcp(source, destination).ack().payload(&[0x5a; 40]),
            tcp(source, destination).syn().tcp_options(&[1; 8]),
        ]
    } else {
        let datagram = udp(source, destination);
        let bare = datagram.clone().without_checksum();
        // RFC 8200 section 8.1: UDP over IPv6 has a checksum.
        if source.is_ipv4() { vec![datagram, bare] } else { vec![datagram] }
    };
    let mut packets: Vec<_> = plain.into_iter().map(|packet| shape(packet.ttl(7))).collect();
    let odd = packets[0].clone();
    packets.push(odd.clone().fragment(0, true));
    packets.push(if source.is_ipv4() {
        odd.options(&[1; 12])
    } else {
        odd.extension(60, &[1, 4, 0, 0, 0, 0])
    });
    packets
}

/// Lengths at which a quote of a packet may end: behind its ports and what is next to them at least.
pub fn lengths(quoted: &Packet) -> Vec<usize> {
    let bytes = quoted.ip_bytes().len();
    let extensions: usize = quoted.extensions.len() * 8;
    let header = if quoted.source.is_ipv4() { 20 + quoted.options.len() } else { 40 + extensions };
    [8, 9, 19, 20, 21, 28]
        .into_iter()
        .map(|n| header + n)
        .filter(|n| *n < bytes)
        .chain([bytes])
        .collect()
}

/// An error that quotes the first `length` bytes of a packet.
pub fn error(
    from: IpAddr,
    to: IpAddr,
    (kind, code, word): (u8, u8, [u8; 4]),
    quoted: &Packet,
    length: usize,
) -> Packet {
    icmp(from, to, kind, code).word(word).payload(&quoted.ip_bytes()[..length])
}

/// An error that reaches the director from the backends' side.
pub fn from_behind(packet: Packet) -> Packet {
    packet.link(SERVERS[0], DIRECTOR_BACK)
}
