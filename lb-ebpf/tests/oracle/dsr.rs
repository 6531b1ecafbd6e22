//! Direct server return: nothing but the MAC addresses changes.

use lb_common::layout::Forward;
use lb_common::verdict::Verdict;
use lb_ebpf::Exit;

use crate::cast::error::{error, kinds};
use crate::cast::packet::{CUSTOMER, Packet, SERVICE};
use crate::cast::{
    BACK, DIRECTOR_BACK, DIRECTOR_FRONT, FAMILIES, PROTOCOLS, SERVERS, UDP, V4, World, answer,
    assert_frame, opening,
};

fn to_backend(packet: &Packet) -> Packet {
    packet.clone().link(DIRECTOR_BACK, SERVERS[0]).tags(&[])
}

#[test]
fn a_packet_reaches_the_backend_as_the_client_sent_it() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let plain = opening(protocol, cast.client, cast.vip);
            let odd = plain.clone();
            let packets = [
                plain.clone().ttl(2),
                plain.clone().tags(&[(CUSTOMER, 0x2064)]),
                plain.clone().tags(&[(SERVICE, 9), (CUSTOMER, 8)]),
                plain.traffic_class(0xbb).padding(&[0xc3; 6]),
                if cast.vip.is_ipv4() { odd.options(&[1; 40]) } else { odd.extension(0, &[0; 6]) },
            ];
            for packet in packets {
                let world = World::by(cast, protocol, Forward::Dsr);
                let sent = world.front(&packet);
                assert_eq!((sent.verdict, sent.exit), (Verdict::ToBackend, Exit::Redirect(BACK)));
                assert_frame(&sent.bytes, &to_backend(&packet));
            }
        }
    }
}

#[test]
fn where_backends_are_on_the_clients_interface_the_packet_leaves_by_it() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let world = World::one_armed_by(cast, protocol, Forward::Dsr);
            let packet = opening(protocol, cast.client, cast.vip).tags(&[(CUSTOMER, 0x2064)]);
            let sent = world.front(&packet);
            assert_eq!((sent.verdict, sent.exit), (Verdict::ToBackend, Exit::Transmit));
            assert_frame(&sent.bytes, &to_backend(&packet).link(DIRECTOR_FRONT, SERVERS[0]));
        }
    }
}

#[test]
fn udp_without_a_checksum_gets_none() {
    let world = World::by(V4, UDP, Forward::Dsr);
    let packet = opening(UDP, V4.client, V4.vip).without_checksum();
    assert_frame(&world.front(&packet).bytes, &to_backend(&packet));
}

#[test]
fn an_error_about_a_reply_reaches_the_backend_untouched() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let world = World::by(cast, protocol, Forward::Dsr);
            world.begin(cast.client);
            let reply = answer(protocol, cast.vip, cast.client);
            for kind in kinds(&cast) {
                let length = reply.ip_bytes().len();
                let packet = error(cast.router, cast.vip.ip(), kind, &reply, length);
                let packet = packet.tags(&[(CUSTOMER, 5)]);
                let sent = world.front(&packet);
                let expected = (Verdict::ErrorToBackend, Exit::Redirect(BACK));
                assert_eq!((sent.verdict, sent.exit), expected);
                assert_frame(&sent.bytes, &to_backend(&packet));
            }
        }
    }
}
