//! Valid frames that belong to no flow: for the host, for a closed port, for nobody.

use std::net::{IpAddr, SocketAddr};

use lb_ebpf::family::VRRP;

use crate::cast::{ELSEWHERE, HOST, Service};
use crate::packet_path::frames::{ACK, SYN, ip_headers, kind, tcp, udp};
use crate::packets::{as_fragment, icmp, other, with_extensions};
use crate::random::Random;

/// `EtherType`s that are not IP: ARP, LLDP, and a tag as it would stand behind two others.
const NOT_IP: [u16; 3] = [0x0806, 0x88cc, 0x8100];

/// A frame's `EtherType` and payload.
pub fn stray(random: &mut Random, services: &[Service]) -> (u16, Vec<u8>) {
    let vip = random.pick(services).vip;
    let from = client(vip.ip());
    let packet = match random.below(10) {
        0 => return (random.pick(&NOT_IP), random.bytes(46)),
        1 => control(random, from, vip.ip()),
        2 => other(from, vip.ip(), random.pick(&[VRRP, 47, 50, 132]), &[0; 24]),
        3 => tcp(ip_headers(from, vip.ip(), 64), (4711, 4712), SYN, &[]),
        4 => udp(ip_headers(from, random_host(random, from), 64), (4711, 53), &[1]),
        5 => error_without_flow(random, from, vip),
        6 => unfollowed(random, vip),
        7 => fragment(random, from, vip),
        8 => tcp(ip_headers(from, elsewhere(from), 64), (4711, 80), ACK, &[2]),
        _ => icmp(from, random_host(random, from), (8, 0), &[3; 8]),
    };
    (kind(if packet[0] >> 4 == 4 { HOST[0] } else { HOST[1] }.parse().unwrap()), packet)
}

fn client(of: IpAddr) -> IpAddr {
    if of.is_ipv4() { "198.51.100.200" } else { "2001:db8:99::200" }.parse().unwrap()
}

fn elsewhere(of: IpAddr) -> IpAddr {
    ELSEWHERE[usize::from(of.is_ipv6())].parse().unwrap()
}

fn random_host(random: &mut Random, of: IpAddr) -> IpAddr {
    if random.chance(70) { HOST[usize::from(of.is_ipv6())].parse().unwrap() } else { elsewhere(of) }
}

/// Echo, neighbour discovery, and a message that no one answers (timestamp, mobile prefix).
fn control(random: &mut Random, from: IpAddr, to: IpAddr) -> Vec<u8> {
    let kinds = if from.is_ipv4() { [8, 0, 13] } else { [128, 135, 146] };
    icmp(from, to, (random.pick(&kinds), 0), &[7; 24])
}

/// An error about a packet that was never sent.
fn error_without_flow(random: &mut Random, from: IpAddr, vip: SocketAddr) -> Vec<u8> {
    let headers = ip_headers(vip.ip(), from, 60);
    let ports = (vip.port(), random.word());
    let quoted = tcp(headers, ports, ACK, &[4; 8]);
    let message = if from.is_ipv4() { (3, 4) } else { (2, 0) };
    icmp(from, vip.ip(), message, &quoted)
}

/// More IPv6 extension headers than are followed.
fn unfollowed(random: &mut Random, vip: SocketAddr) -> Vec<u8> {
    let to = if vip.is_ipv6() { vip.ip() } else { "2001:db8::10".parse().unwrap() };
    let packet = tcp(ip_headers(client(to), to, 64), (4711, 80), SYN, &[]);
    let count = 7 + random.below(3);
    with_extensions(random, &packet, count)
}

fn fragment(random: &mut Random, from: IpAddr, vip: SocketAddr) -> Vec<u8> {
    let packet = tcp(ip_headers(from, vip.ip(), 64), (4711, vip.port()), ACK, &[5; 64]);
    as_fragment(&packet, random.pick(&[0, 1, 185]))
}
