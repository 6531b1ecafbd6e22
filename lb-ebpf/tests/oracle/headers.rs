//! What stands between the Ethernet header and the ports: IPv4 options, IPv6 extension headers.

use lb_common::verdict::Verdict;

use crate::cast::packet::{Packet, packet, tcp, udp};
use crate::cast::{
    DIRECTOR_BACK, PROTOCOLS, SERVERS, TCP, UDP, V4, V6, World, assert_frame, opening,
};
use crate::{at_backend, at_client};

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
/// A `PadN` option that fills the shortest extension header.
const PAD: [u8; 6] = [1, 4, 0, 0, 0, 0];

#[test]
fn ipv4_options_of_every_length_are_kept() {
    for protocol in PROTOCOLS {
        let world = World::new(V4, protocol);
        for words in 1..=10 {
            let options = vec![1; words * 4];
            let packet = opening(protocol, V4.client, V4.vip).options(&options);
            assert_frame(&world.front(&packet).bytes, &at_backend(&world, &packet));
            let reply = opening(protocol, V4.backends[0], V4.client).options(&options);
            let reply = reply.link(SERVERS[0], DIRECTOR_BACK);
            assert_frame(&world.back(&reply).bytes, &at_client(&world, &reply));
        }
    }
}

fn with_each(packet: Packet) -> [Packet; 5] {
    let long = [PAD.as_slice(), &[0; 16]].concat();
    [
        packet.clone().extension(HOP_BY_HOP, &PAD),
        packet.clone().extension(DESTINATION, &long),
        packet.clone().extension(ROUTING, &[0; 6]),
        packet.clone().fragment(0, false),
        packet
            .extension(HOP_BY_HOP, &PAD)
            .extension(DESTINATION, &PAD)
            .extension(ROUTING, &[0; 22])
            .fragment(0, false)
            .extension(DESTINATION, &PAD),
    ]
}

#[test]
fn ipv6_extension_headers_are_followed_and_kept() {
    for protocol in PROTOCOLS {
        for packet in with_each(opening(protocol, V6.client, V6.vip)) {
            let world = World::new(V6, protocol);
            assert_frame(&world.front(&packet).bytes, &at_backend(&world, &packet));
            let reply = Packet { source: V6.backends[0], destination: V6.client, ..packet };
            let reply = reply.link(SERVERS[0], DIRECTOR_BACK);
            assert_frame(&world.back(&reply).bytes, &at_client(&world, &reply));
        }
    }
}

fn with_destination_headers(n: usize) -> Packet {
    (0..n).fold(tcp(V6.client, V6.vip).syn(), |packet, _| packet.extension(DESTINATION, &PAD))
}

#[test]
fn six_extension_headers_are_followed_and_the_seventh_is_not() {
    let world = World::new(V6, TCP);
    let six = with_destination_headers(6);
    assert_frame(&world.front(&six).bytes, &at_backend(&world, &six));
    let seven = with_destination_headers(7);
    let sent = world.front(&seven);
    assert_eq!(sent.verdict, Verdict::ExtensionHeaders);
    assert_frame(&sent.bytes, &seven);
}

#[test]
fn a_stop_on_a_routing_header_s_way_is_not_balanced() {
    let world = World::new(V6, TCP);
    // RFC 8200 section 4.4: type 3, one segment left.
    let packet = tcp(V6.client, V6.vip).syn().extension(ROUTING, &[3, 1, 0, 0, 0, 0]);
    let sent = world.front(&packet);
    assert_eq!(sent.verdict, Verdict::ExtensionHeaders);
    assert_frame(&sent.bytes, &packet);
}

#[test]
fn an_authentication_header_is_not_balanced_for_it_covers_the_addresses() {
    // RFC 4302 section 2.2: next header, length in words less two, reserved, SPI, sequence, check value.
    let header = vec![6, 4, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    for cast in [V4, V6] {
        let world = World::new(cast, TCP);
        let body = crate::cast::packet::Body::Other(AUTHENTICATION, header.clone());
        let sent = world.front(&packet(cast.client, cast.vip, body));
        assert_eq!(sent.verdict, Verdict::ProtocolClosed);
    }
}

#[test]
fn the_last_hop_but_one_is_passed_on() {
    for cast in [V4, V6] {
        let world = World::new(cast, UDP);
        let packet = udp(cast.client, cast.vip).ttl(2);
        assert_frame(&world.front(&packet).bytes, &at_backend(&world, &packet));
    }
}
