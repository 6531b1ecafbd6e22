//! Full NAT: both ends are rewritten, both ways, in packets and in errors about them.

use lb_common::layout::Forward;
use lb_common::verdict::Verdict;
use lb_ebpf::Exit;

use crate::cast::error::{error, from_behind, kinds, lengths, quotable};
use crate::cast::packet::{CUSTOMER, Mac, Packet, SERVICE, tcp, udp};
use crate::cast::ways::{FIRST_PORT, alone, nat_source};
use crate::cast::{
    BACK, Cast, FAMILIES, FRONT, PROTOCOLS, SERVERS, TCP, UDP, V4, World, answer, assert_frame,
    opening,
};
use crate::nat::payload_with_zero_sum;
use crate::{at_backend, at_client};

/// A world whose first flow gets the first source.
fn world(cast: Cast, protocol: u8) -> World {
    World::by(cast, protocol, Forward::FullNat)
}

/// A world that knows the client's flow.
fn begun(cast: Cast, protocol: u8) -> World {
    let world = world(cast, protocol);
    world.begin(cast.client);
    world
}

/// What the backend sees as the client.
fn source(cast: &Cast) -> std::net::SocketAddr {
    nat_source(*cast, FIRST_PORT)
}

fn to_backend(world: &World, packet: &Packet) -> Packet {
    at_backend(world, packet).from(source(&world.cast)).tags(&[])
}

fn to_client(world: &World, packet: &Packet) -> Packet {
    at_client(world, packet).to(world.cast.client)
}

/// The packet plain, tagged, padded, and with options or extension headers.
fn dressed(packet: &Packet) -> Vec<Packet> {
    let odd = packet.clone();
    vec![
        packet.clone().ttl(33),
        packet.clone().tags(&[(SERVICE, 9), (CUSTOMER, 8)]),
        packet.clone().padding(&[0xaa; 6]),
        if packet.source.is_ipv4() {
            odd.options(&[1; 8])
        } else {
            odd.extension(60, &[1, 4, 0, 0, 0, 0])
        },
    ]
}

#[test]
fn a_backend_sees_a_source_of_the_director_s_and_the_client_sees_the_vip() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let plain = opening(protocol, cast.client, cast.vip);
            for packet in dressed(&plain) {
                let world = world(cast, protocol);
                let sent = world.front(&packet);
                assert_eq!((sent.verdict, sent.exit), (Verdict::ToBackend, Exit::Redirect(BACK)));
                assert_frame(&sent.bytes, &to_backend(&world, &packet));

                let reply = answer(protocol, cast.backends[0], source(&cast));
                for reply in dressed(&reply) {
                    let sent = world.back(&reply);
                    let expected = (Verdict::ToClient, Exit::Redirect(FRONT));
                    assert_eq!((sent.verdict, sent.exit), expected);
                    assert_frame(&sent.bytes, &to_client(&world, &reply).tags(&packet.tags));
                }
            }
        }
    }
}

#[test]
fn every_length_of_payload_keeps_its_checksum() {
    let bytes: Vec<u8> =
        (0..=255_u8).cycle().map(|byte| byte.wrapping_mul(73)).take(1460).collect();
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let world = begun(cast, protocol);
            for length in (0..64).chain([1459, 1460]) {
                let body = |source, destination| {
                    let packet = if protocol == TCP {
                        tcp(source, destination).ack().tcp_options(&[1; 4])
                    } else {
                        udp(source, destination)
                    };
                    packet.payload(&bytes[..length])
                };
                let packet = body(cast.client, cast.vip);
                assert_frame(&world.front(&packet).bytes, &to_backend(&world, &packet));
                let reply = from_behind(body(cast.backends[0], source(&cast)));
                assert_frame(&world.back(&reply).bytes, &to_client(&world, &reply));
            }
        }
    }
}

#[test]
fn a_reply_may_come_in_by_an_interface_that_no_packet_of_the_flow_has_left_by() {
    const THIRD: u32 = 4;
    const DIRECTOR_THIRD: Mac = [0x02, 0, 0, 0, 0xd1, 0x04];
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let mut world = begun(cast, protocol);
            world.tables.add_interface(THIRD, DIRECTOR_THIRD);
            let reply = answer(protocol, cast.backends[0], source(&cast));
            let reply = reply.link(SERVERS[1], DIRECTOR_THIRD);
            let sent = world.frame(&reply.bytes(), THIRD);
            assert_eq!((sent.verdict, sent.exit), (Verdict::ToClient, Exit::Redirect(FRONT)));
            assert_frame(&sent.bytes, &to_client(&world, &reply));
        }
    }
}

#[test]
fn udp_without_a_checksum_gets_none() {
    let world = world(V4, UDP);
    let packet = udp(V4.client, V4.vip).without_checksum();
    assert_frame(&world.front(&packet).bytes, &to_backend(&world, &packet));
    let reply = answer(UDP, V4.backends[0], source(&V4)).without_checksum();
    assert_frame(&world.back(&reply).bytes, &to_client(&world, &reply));
}

#[test]
fn a_udp_checksum_that_comes_out_as_zero_is_sent_as_all_ones() {
    for cast in FAMILIES {
        let world = begun(cast, UDP);
        let packet = |payload: &[u8]| udp(cast.client, cast.vip).payload(payload);
        let payload = payload_with_zero_sum(|payload| to_backend(&world, &packet(payload)));
        let sent = world.front(&packet(&payload));
        assert_frame(&sent.bytes, &to_backend(&world, &packet(&payload)));

        let reply = |payload: &[u8]| answer(UDP, cast.backends[0], source(&cast)).payload(payload);
        let payload = payload_with_zero_sum(|payload| to_client(&world, &reply(payload)));
        let sent = world.back(&reply(&payload));
        assert_frame(&sent.bytes, &to_client(&world, &reply(&payload)));
    }
}

#[test]
fn flows_of_many_clients_have_sources_of_their_own() {
    for cast in FAMILIES {
        let world = world(cast, TCP);
        for number in 0..30 {
            let client = cast.client_number(number);
            let port = FIRST_PORT + u16::try_from(number).unwrap();
            let backend = world.begin(client);
            let reply = answer(TCP, cast.backends[backend], nat_source(cast, port));
            assert_frame(&world.back(&reply).bytes, &at_client(&world, &reply).to(client));
        }
    }
}

#[test]
fn an_error_about_a_reply_reaches_the_backend_in_the_backend_s_terms() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let world = begun(cast, protocol);
            for reply in quotable(protocol, |packet| packet.from(cast.vip).to(cast.client), &cast) {
                let known = reply.clone().from(cast.backends[0]).to(source(&cast)).ip_bytes();
                for kind in kinds(&cast) {
                    for length in lengths(&reply) {
                        let packet = error(cast.router, cast.vip.ip(), kind, &reply, length);
                        let sent = world.front(&packet);
                        assert_eq!(sent.verdict, Verdict::ErrorToBackend, "{kind:?} {reply:?}");
                        let expected = at_backend(&world, &packet).to(alone(cast.backends[0].ip()));
                        assert_frame(&sent.bytes, &expected.payload(&known[..length]));
                    }
                }
            }
        }
    }
}

#[test]
fn an_error_about_a_forwarded_packet_reaches_the_client_in_the_client_s_terms() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let world = begun(cast, protocol);
            let sent = |packet: Packet| packet.from(source(&cast)).to(cast.backends[0]);
            for quoted in quotable(protocol, sent, &cast) {
                let known = quoted.clone().from(cast.client).to(cast.vip).ip_bytes();
                for kind in kinds(&cast) {
                    for from in [cast.router, cast.backends[0].ip()] {
                        for length in lengths(&quoted) {
                            let to = source(&cast).ip();
                            let packet = from_behind(error(from, to, kind, &quoted, length));
                            let sent = world.back(&packet);
                            assert_eq!(sent.verdict, Verdict::ErrorToClient, "{kind:?}");
                            let reporter = if from == cast.router { from } else { cast.vip.ip() };
                            let expected = to_client(&world, &packet).from(alone(reporter));
                            let expected = expected.to(alone(cast.client.ip()));
                            assert_frame(&sent.bytes, &expected.payload(&known[..length]));
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_backend_that_is_a_client_is_answered_by_itself_or_another_as_any_client() {
    for cast in FAMILIES {
        let world = world(cast, TCP);
        let mut client = cast.backends[0];
        client.set_port(33_333);
        let packet = from_behind(tcp(client, cast.vip).syn());
        let sent = world.back(&packet);
        assert_eq!((sent.verdict, sent.exit), (Verdict::ToBackend, Exit::Transmit));
        assert_frame(&sent.bytes, &to_backend(&world, &packet));
        let reply = answer(TCP, cast.backends[0], source(&cast));
        let sent = world.back(&reply);
        assert_eq!((sent.verdict, sent.exit), (Verdict::ToClient, Exit::Transmit));
        let expected = reply.clone().from(cast.vip).to(client).ttl(63);
        let (backend, director) = reply.link;
        assert_frame(&sent.bytes, &expected.link(director, backend));
    }
}
