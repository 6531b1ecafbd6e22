//! Errors from the VIP about packets that are longer than the way to their backend takes.

use lb_common::layout::Forward;
use lb_common::verdict::Verdict;
use lb_ebpf::Exit;

use crate::cast::packet::{CUSTOMER, Packet, SERVICE, icmp};
use crate::cast::ways::{TUNNELS, WAYS, outer_header};
use crate::cast::{
    Cast, DIRECTOR_FRONT, FAMILIES, PROTOCOLS, ROUTER, TCP, World, assert_frame, opening,
};

/// "Too long" about a packet, from the VIP: with the IP header and eight bytes more.
pub fn told(packet: &Packet, mtu: u16, quoted: usize) -> Packet {
    let is_v4 = packet.source.is_ipv4();
    let (kind, code) = if is_v4 { (3, 4) } else { (2, 0) };
    // RFC 8200 section 5: no way of IPv6 is narrower.
    let mtu = if is_v4 { mtu } else { mtu.max(1_280) };
    let [high, low] = mtu.to_be_bytes();
    from_vip(packet, (kind, code, [0, 0, high, low]), quoted)
}

/// "Host unreachable" about a packet, from the VIP (RFC 792; RFC 4443 section 3.1: address unreachable).
pub fn unreachable(packet: &Packet, quoted: usize) -> Packet {
    let (kind, code) = if packet.source.is_ipv4() { (3, 1) } else { (1, 3) };
    from_vip(packet, (kind, code, [0; 4]), quoted)
}

fn from_vip(packet: &Packet, (kind, code, word): (u8, u8, [u8; 4]), quoted: usize) -> Packet {
    let error = icmp(packet.destination.ip(), packet.source.ip(), kind, code);
    let error = error.word(word).payload(&packet.ip_bytes()[..quoted]);
    Packet { identification: 0, traffic_class: 0, flow_label: 0, ..error }
        .link(DIRECTOR_FRONT, ROUTER)
        .tags(&packet.tags)
}

/// The IP header and eight bytes more.
pub fn quoted(packet: &Packet) -> usize {
    let extensions: usize = packet.extensions.len() * 8;
    8 + if packet.source.is_ipv4() { 20 + packet.options.len() } else { 40 + extensions }
}

/// What is put in front of a packet.
pub fn overhead(forward: Forward) -> usize {
    match forward {
        Forward::Nat | Forward::FullNat | Forward::Dsr => 0,
        Forward::IpipV4 | Forward::IpipV6 => outer_header(forward),
        Forward::GueV4 | Forward::GueV6 => outer_header(forward) + 8,
    }
}

/// A first packet of a flow, so many bytes long.
fn of_length(cast: Cast, protocol: u8, length: usize) -> Packet {
    let empty = opening(protocol, cast.client, cast.vip).payload(&[]);
    let payload = vec![0x6b; length - empty.ip_bytes().len()];
    empty.payload(&payload)
}

#[test]
fn a_packet_of_the_mtu_is_forwarded_and_a_longer_one_is_answered_by_every_way() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            for forward in WAYS {
                let mut world = World::by(cast, protocol, forward);
                world.narrow(1_400);
                let most = 1_400 - overhead(forward);
                let sent = world.front(&of_length(cast, protocol, most));
                assert_eq!(sent.verdict, Verdict::ToBackend, "{forward:?}");
                let packet = of_length(cast, protocol, most + 1);
                let sent = world.front(&packet);
                let expected = (Verdict::TooBigReported, Exit::Transmit);
                assert_eq!((sent.verdict, sent.exit), expected, "{forward:?}");
                let mtu = u16::try_from(most).unwrap();
                assert_frame(&sent.bytes, &told(&packet, mtu, quoted(&packet)));
            }
        }
    }
}

#[test]
fn an_error_leaves_with_the_packet_s_tags_and_quotes_its_options() {
    for cast in FAMILIES {
        for forward in WAYS {
            let plain = of_length(cast, TCP, 1_401).padding(&[0x33; 5]);
            let odd = plain.clone();
            let packets = [
                plain.clone().tags(&[(CUSTOMER, 0x2064)]),
                plain.tags(&[(SERVICE, 9), (CUSTOMER, 8)]),
                if cast.vip.is_ipv4() {
                    odd.options(&[1; 40])
                } else {
                    odd.extension(60, &[1, 4, 0, 0, 0, 0]).extension(0, &[1, 4, 0, 0, 0, 0])
                },
            ];
            for packet in packets {
                let mut world = World::by(cast, TCP, forward);
                world.narrow(1_400);
                let sent = world.front(&packet);
                let mtu = u16::try_from(1_400 - overhead(forward)).unwrap();
                assert_frame(&sent.bytes, &told(&packet, mtu, quoted(&packet)));
            }
        }
    }
}

#[test]
fn ipv6_is_never_told_less_than_its_least_mtu() {
    for forward in WAYS {
        let cast = FAMILIES[1];
        let mut world = World::by(cast, TCP, forward);
        world.narrow(1_000);
        let packet = of_length(cast, TCP, 1_200);
        assert_frame(&world.front(&packet).bytes, &told(&packet, 1_280, quoted(&packet)));
    }
}

#[test]
fn where_the_tunnel_s_headers_fit_alone_the_backend_cannot_be_reached() {
    for cast in FAMILIES {
        for forward in TUNNELS {
            let mut world = World::by(cast, TCP, forward);
            world.narrow(20);
            let packet = of_length(cast, TCP, 100);
            let sent = world.front(&packet);
            assert_eq!(sent.verdict, Verdict::TooBigReported);
            assert_frame(&sent.bytes, &unreachable(&packet, quoted(&packet)));
        }
    }
}

#[test]
fn where_the_mtu_is_not_known_nothing_is_too_long() {
    for cast in FAMILIES {
        for forward in WAYS {
            let world = World::by(cast, TCP, forward);
            let sent = world.front(&of_length(cast, TCP, 9_000));
            assert_eq!(sent.verdict, Verdict::ToBackend);
        }
    }
}
