//! Addresses, ports and checksums in both directions.

use lb_common::verdict::Verdict;
use lb_ebpf::Exit;

use crate::cast::packet::{Packet, tcp, udp};
use crate::cast::{
    BACK, DIRECTOR_FRONT, FAMILIES, FRONT, PROTOCOLS, SERVERS, TCP, UDP, V4, World, answer,
    assert_frame, opening,
};
use crate::{at_backend, at_client};

#[test]
fn a_client_s_packet_reaches_the_backend_with_only_addresses_port_and_ttl_changed() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let world = World::new(cast, protocol);
            let packet = opening(protocol, cast.client, cast.vip).ttl(57);
            let sent = world.front(&packet);
            assert_eq!((sent.verdict, sent.exit), (Verdict::ToBackend, Exit::Redirect(BACK)));
            assert_frame(&sent.bytes, &at_backend(&world, &packet));
        }
    }
}

#[test]
fn a_reply_reaches_the_client_with_the_vip_as_its_source() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let world = World::new(cast, protocol);
            world.begin(cast.client);
            let packet = answer(protocol, cast.backends[0], cast.client).ttl(33);
            let sent = world.back(&packet);
            assert_eq!((sent.verdict, sent.exit), (Verdict::ToClient, Exit::Redirect(FRONT)));
            assert_frame(&sent.bytes, &at_client(&world, &packet));
        }
    }
}

#[test]
fn with_one_interface_frames_leave_where_they_came_in() {
    for cast in FAMILIES {
        let world = World::one_armed(cast, TCP);
        let packet = tcp(cast.client, cast.vip).syn();
        let sent = world.front(&packet);
        assert_eq!((sent.verdict, sent.exit), (Verdict::ToBackend, Exit::Transmit));
        let expected = packet.to(cast.backends[0]).ttl(63).link(DIRECTOR_FRONT, SERVERS[0]);
        assert_frame(&sent.bytes, &expected);

        let reply = tcp(cast.backends[0], cast.client).syn().ack();
        let reply = reply.link(SERVERS[0], DIRECTOR_FRONT);
        let sent = world.front(&reply);
        assert_eq!((sent.verdict, sent.exit), (Verdict::ToClient, Exit::Transmit));
        assert_frame(&sent.bytes, &at_client(&world, &reply));
    }
}

#[test]
fn every_length_of_payload_keeps_its_checksum() {
    let bytes: Vec<u8> =
        (0..=255_u8).cycle().map(|byte| byte.wrapping_mul(73)).take(1460).collect();
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let world = World::new(cast, protocol);
            world.establish(cast.client);
            for length in (0..64).chain([511, 512, 1459, 1460]) {
                let packet = if protocol == TCP {
                    tcp(cast.client, cast.vip).ack().tcp_options(&[1, 1, 1, 1])
                } else {
                    udp(cast.client, cast.vip)
                };
                let packet = packet.payload(&bytes[..length]);
                let sent = world.front(&packet);
                assert_frame(&sent.bytes, &at_backend(&world, &packet));
            }
        }
    }
}

#[test]
fn udp_without_a_checksum_gets_none() {
    let world = World::new(V4, UDP);
    let packet = udp(V4.client, V4.vip).without_checksum();
    assert_frame(&world.front(&packet).bytes, &at_backend(&world, &packet));
    let reply = answer(UDP, V4.backends[0], V4.client).without_checksum();
    assert_frame(&world.back(&reply).bytes, &at_client(&world, &reply));
}

/// The two payload bytes for which the packet that `rewritten` makes has a checksum of zero.
pub fn payload_with_zero_sum(rewritten: impl Fn(&[u8]) -> Packet) -> [u8; 2] {
    let checksum = |packet: &Packet| {
        let bytes = packet.ip_bytes();
        [bytes[bytes.len() - 4], bytes[bytes.len() - 3]]
    };
    let mut payloads = (0..=u16::MAX).map(u16::to_be_bytes);
    payloads.find(|payload| checksum(&rewritten(payload)) == [0xff, 0xff]).unwrap()
}

#[test]
fn a_udp_checksum_that_comes_out_as_zero_is_sent_as_all_ones() {
    for cast in FAMILIES {
        let world = World::new(cast, UDP);
        let packet = |payload: &[u8]| udp(cast.client, cast.vip).payload(payload);
        let payload = payload_with_zero_sum(|payload| at_backend(&world, &packet(payload)));
        let sent = world.front(&packet(&payload));
        assert_frame(&sent.bytes, &at_backend(&world, &packet(&payload)));

        let reply = |payload: &[u8]| answer(UDP, cast.backends[0], cast.client).payload(payload);
        let payload = payload_with_zero_sum(|payload| at_client(&world, &reply(payload)));
        let sent = world.back(&reply(&payload));
        assert_frame(&sent.bytes, &at_client(&world, &reply(&payload)));
    }
}

#[test]
fn a_udp_checksum_of_all_ones_is_updated_like_any_other() {
    for cast in FAMILIES {
        let world = World::new(cast, UDP);
        let packet = |payload: &[u8]| udp(cast.client, cast.vip).payload(payload);
        let payload = payload_with_zero_sum(packet);
        let sent = world.front(&packet(&payload));
        assert_frame(&sent.bytes, &at_backend(&world, &packet(&payload)));
    }
}

#[test]
fn a_padded_frame_keeps_its_padding_and_its_length() {
    for cast in FAMILIES {
        let world = World::new(cast, TCP);
        let packet = tcp(cast.client, cast.vip).syn().padding(&[0xaa; 6]);
        assert_frame(&world.front(&packet).bytes, &at_backend(&world, &packet));
        let reply = answer(TCP, cast.backends[0], cast.client).padding(&[0x55; 3]);
        assert_frame(&world.back(&reply).bytes, &at_client(&world, &reply));
    }
}

#[test]
fn the_other_addresses_of_a_world_go_to_their_own_backends() {
    for cast in FAMILIES {
        let world = World::new(cast, TCP);
        for number in 0..3 {
            let client = cast.client_number(number);
            let index = world.begin(client);
            let reply = answer(TCP, cast.backends[index], client);
            assert_frame(&world.back(&reply).bytes, &at_client(&world, &reply));
        }
    }
}
