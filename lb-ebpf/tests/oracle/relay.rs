//! Errors of routers about our tunnels, told to the client inside.

use std::net::IpAddr;

use lb_common::layout::Forward;
use lb_common::verdict::Verdict;
use lb_ebpf::Exit;

use crate::cast::error::{error, from_behind};
use crate::cast::packet::{CUSTOMER, Packet};
use crate::cast::ways::{TUNNELS, encapsulated, entropy, outer_header};
use crate::cast::{FAMILIES, FRONT, PROTOCOLS, World, assert_frame, opening};
use crate::too_big::{overhead, quoted, told, unreachable};

/// "Too long" of the outer family, with an MTU.
fn too_long(forward: Forward, mtu: u16) -> (u8, u8, [u8; 4]) {
    let [high, low] = mtu.to_be_bytes();
    let (kind, code) = if outer_header(forward) == 20 { (3, 4) } else { (2, 0) };
    (kind, code, [0, 0, high, low])
}

/// The packet as it went through the tunnel, and a router's error about the first `length` bytes of that.
fn error_about(
    world: &World,
    forward: Forward,
    packet: &Packet,
    message: (u8, u8, [u8; 4]),
    length: impl Fn(&Packet) -> usize,
) -> Packet {
    let sent = world.front(packet);
    assert_eq!(sent.verdict, Verdict::ToBackend);
    let outer = encapsulated(packet, forward, 0, entropy(&sent.bytes, forward));
    let router: IpAddr = FAMILIES[usize::from(outer_header(forward) == 40)].router;
    from_behind(error(router, outer.source.ip(), message, &outer, length(&outer)))
}

#[test]
fn a_router_s_error_about_a_tunnel_reaches_the_client_as_one_about_its_packet() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            for forward in TUNNELS {
                let plain = opening(protocol, cast.client, cast.vip).payload(&[0x4d; 1_300]);
                let odd = plain.clone();
                let odd = if cast.vip.is_ipv4() {
                    odd.options(&[1; 8])
                } else {
                    odd.extension(60, &[1, 4, 0, 0, 0, 0])
                };
                for packet in [plain.clone(), plain.tags(&[(CUSTOMER, 12)]), odd] {
                    let world = World::by(cast, protocol, forward);
                    let message = too_long(forward, 1_400);
                    // RFC 1812 section 4.3.2.3: as much of it as fits in 576 bytes.
                    let error = error_about(&world, forward, &packet, message, |_| 548);
                    let sent = world.back(&error);
                    let expected = (Verdict::ErrorToClient, Exit::Redirect(FRONT));
                    assert_eq!((sent.verdict, sent.exit), expected, "{forward:?} {packet:?}");
                    let mtu = 1_400 - u16::try_from(overhead(forward)).unwrap();
                    assert_frame(&sent.bytes, &told(&packet, mtu, quoted(&packet)));
                }
            }
        }
    }
}

#[test]
fn a_router_that_cannot_reach_the_backend_makes_the_vip_unreachable_to_the_client() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            for forward in TUNNELS {
                // RFC 792, RFC 1812: net, host, protocol, port, by an administrator; time to live.
                let v4 = [(3, 0), (3, 1), (3, 2), (3, 3), (3, 13), (11, 0)];
                // RFC 4443: no route, by an administrator, address, port, reject; hop limit.
                let v6 = [(1, 0), (1, 1), (1, 3), (1, 4), (1, 6), (3, 0)];
                let packet = opening(protocol, cast.client, cast.vip).payload(&[0x4d; 300]);
                for (kind, code) in if outer_header(forward) == 20 { v4 } else { v6 } {
                    let world = World::by(cast, protocol, forward);
                    // RFC 4884: the word has a length in one byte.
                    let message = (kind, code, [0, 64, 5, 0x14]);
                    let error = error_about(&world, forward, &packet, message, |_| 256);
                    let sent = world.back(&error);
                    let expected = (Verdict::ErrorToClient, Exit::Redirect(FRONT));
                    assert_eq!((sent.verdict, sent.exit), expected, "{forward:?} {kind} {code}");
                    assert_frame(&sent.bytes, &unreachable(&packet, quoted(&packet)));
                }
            }
        }
    }
}

#[test]
fn a_quote_is_enough_if_it_has_the_ports_inside_and_too_short_one_is_the_host_s() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            for forward in TUNNELS {
                let world = World::by(cast, protocol, forward);
                let packet = opening(protocol, cast.client, cast.vip).payload(&[0x4d; 60]);
                let least = overhead(forward) + quoted(&packet);
                for length in outer_header(forward)..least + 12 {
                    let message = too_long(forward, 1_400);
                    let error = error_about(&world, forward, &packet, message, |_| length);
                    // Ports in the padding are no ports.
                    let rest = rest(&world, &packet, length);
                    let error = error.padding(&rest);
                    let sent = world.back(&error);
                    if length < least {
                        assert_eq!((sent.verdict, sent.exit), (Verdict::NotOurs, Exit::Pass));
                        assert_frame(&sent.bytes, &error);
                        continue;
                    }
                    let mtu = 1_400 - u16::try_from(overhead(forward)).unwrap();
                    assert_frame(&sent.bytes, &told(&packet, mtu, quoted(&packet)));
                }
            }
        }
    }
}

/// What a quote of this length leaves out.
fn rest(world: &World, packet: &Packet, length: usize) -> Vec<u8> {
    world.front(packet).bytes[14 + length..].iter().take(40).copied().collect()
}

#[test]
fn an_error_that_names_no_mtu_or_is_not_about_the_way_is_the_host_s() {
    for cast in FAMILIES {
        for forward in TUNNELS {
            let packet = opening(6, cast.client, cast.vip).payload(&[0x4d; 60]);
            let (kind, code, _) = too_long(forward, 0);
            let overhead = u8::try_from(overhead(forward)).unwrap();
            for message in [
                (kind, code, [0; 4]),
                (kind, code, [0, 0, 0, overhead]),
                // A source route that failed; a code that is not defined.
                (kind, code + 1, [0, 0, 5, 0x14]),
                // Time for reassembly, and parameter problem.
                (if kind == 3 { 11 } else { 3 }, 1, [0; 4]),
                (if kind == 3 { 12 } else { 4 }, 0, [0; 4]),
            ] {
                let world = World::by(cast, 6, forward);
                let error =
                    error_about(&world, forward, &packet, message, |it| it.ip_bytes().len());
                world.tables.litter(0xff);
                let sent = world.back(&error);
                assert_eq!(
                    (sent.verdict, sent.exit),
                    (Verdict::NotOurs, Exit::Pass),
                    "{message:?}"
                );
                assert_frame(&sent.bytes, &error);
            }
        }
    }
}

#[test]
fn an_error_about_a_tunnel_to_elsewhere_or_of_nobody_s_flow_is_the_host_s() {
    for cast in FAMILIES {
        for forward in TUNNELS {
            let world = World::by(cast, 6, forward);
            let packet = opening(6, cast.client, cast.vip).payload(&[0x4d; 60]);
            let sent = world.front(&packet);
            let with = entropy(&sent.bytes, forward);
            let router = FAMILIES[usize::from(outer_header(forward) == 40)].router;
            let stranger = opening(6, cast.client_number(5), cast.vip).payload(&[0x4d; 60]);
            for (quoted, backend) in [(&packet, 1), (&stranger, 0)] {
                let outer = encapsulated(quoted, forward, backend, with);
                let message = too_long(forward, 1_400);
                let length = outer.ip_bytes().len();
                let error = from_behind(error(router, with.source, message, &outer, length));
                let sent = world.back(&error);
                assert_eq!((sent.verdict, sent.exit), (Verdict::NotOurs, Exit::Pass));
                assert_frame(&sent.bytes, &error);
            }
        }
    }
}

#[test]
fn an_error_to_another_address_than_the_tunnel_s_source_is_the_host_s() {
    for cast in FAMILIES {
        for forward in TUNNELS {
            let world = World::by(cast, 6, forward);
            let packet = opening(6, cast.client, cast.vip).payload(&[0x4d; 60]);
            let message = too_long(forward, 1_400);
            let error = error_about(&world, forward, &packet, message, |it| it.ip_bytes().len());
            let own = FAMILIES[usize::from(outer_header(forward) == 40)].director;
            let error = error.to(crate::cast::ways::alone(own));
            let sent = world.back(&error);
            assert_eq!((sent.verdict, sent.exit), (Verdict::NotOurs, Exit::Pass));
            assert_frame(&sent.bytes, &error);
        }
    }
}

#[test]
fn an_error_to_a_vip_that_quotes_a_tunnel_is_dropped_like_any_other_there() {
    for cast in FAMILIES {
        for forward in TUNNELS {
            let world = World::by(cast, 6, forward);
            let packet = opening(6, cast.client, cast.vip).payload(&[0x4d; 60]);
            let message = too_long(forward, 1_400);
            let error = error_about(&world, forward, &packet, message, |it| it.ip_bytes().len());
            if error.source.is_ipv4() != cast.vip.is_ipv4() {
                continue;
            }
            let error = error.to(crate::cast::ways::alone(cast.vip.ip()));
            assert_eq!(world.back(&error).verdict, Verdict::ErrorWithoutFlow);
        }
    }
}

#[test]
fn an_error_is_relayed_only_as_often_as_errors_may_be_sent() {
    for cast in FAMILIES {
        for forward in TUNNELS {
            let world = World::by(cast, 6, forward);
            let packet = opening(6, cast.client, cast.vip).payload(&[0x4d; 60]);
            let message = too_long(forward, 1_400);
            let error = error_about(&world, forward, &packet, message, |it| it.ip_bytes().len());
            world.tables.set_may_report(false);
            let sent = world.back(&error);
            assert_eq!((sent.verdict, sent.exit), (Verdict::NotOurs, Exit::Pass));
            assert_frame(&sent.bytes, &error);
        }
    }
}
