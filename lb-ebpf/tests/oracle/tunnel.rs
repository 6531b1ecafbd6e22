//! IP in IP and GUE: the client's packet as it came, behind headers of our own.

use std::collections::HashSet;

use lb_common::verdict::Verdict;
use lb_ebpf::Exit;

use crate::cast::error::{error, kinds};
use crate::cast::packet::{CUSTOMER, Packet, SERVICE, tcp, udp};
use crate::cast::ways::{Entropy, TUNNELS, encapsulated, entropy};
use crate::cast::{
    BACK, Cast, DIRECTOR_FRONT, FAMILIES, PROTOCOLS, SERVERS, TCP, UDP, World, answer,
    assert_frame, opening,
};
use crate::too_big::overhead;

/// First packets of a flow, in every dress.
fn packets(cast: &Cast, protocol: u8) -> Vec<Packet> {
    let plain = opening(protocol, cast.client, cast.vip).payload(&[0x5a; 33]);
    let odd = plain.clone();
    let mut packets = vec![
        plain.clone(),
        plain.clone().ttl(2),
        // DSCP "expedited forwarding" and ECN "congestion experienced", which the tunnel's end hands on (RFC 6040).
        plain.clone().traffic_class(0xbb),
        plain.clone().traffic_class(0x01).padding(&[0xc3; 6]),
        plain.clone().tags(&[(CUSTOMER, 0x2064)]),
        plain.clone().tags(&[(SERVICE, 9), (CUSTOMER, 8)]),
        if cast.vip.is_ipv4() {
            odd.options(&[1; 12])
        } else {
            odd.extension(0, &[1, 4, 0, 0, 0, 0]).extension(60, &[1, 4, 0, 0, 0, 0])
        },
    ];
    if protocol == UDP && cast.vip.is_ipv4() {
        packets.push(plain.without_checksum());
    }
    packets
}

#[test]
fn a_packet_goes_through_every_tunnel_as_the_client_sent_it() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            for forward in TUNNELS {
                for packet in packets(&cast, protocol) {
                    let world = World::by(cast, protocol, forward);
                    let sent = world.front(&packet);
                    let expected = (Verdict::ToBackend, Exit::Redirect(BACK));
                    assert_eq!((sent.verdict, sent.exit), expected, "{forward:?} {packet:?}");
                    let with = entropy(&sent.bytes, forward);
                    assert_frame(&sent.bytes, &encapsulated(&packet, forward, 0, with));
                }
            }
        }
    }
}

#[test]
fn where_backends_are_on_the_clients_interface_a_tunnel_begins_there_too() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            for forward in TUNNELS {
                for packet in packets(&cast, protocol) {
                    let world = World::one_armed_by(cast, protocol, forward);
                    let sent = world.front(&packet);
                    let expected = (Verdict::ToBackend, Exit::Transmit);
                    assert_eq!((sent.verdict, sent.exit), expected, "{forward:?} {packet:?}");
                    let with = entropy(&sent.bytes, forward);
                    let expected = encapsulated(&packet, forward, 0, with);
                    assert_frame(&sent.bytes, &expected.link(DIRECTOR_FRONT, SERVERS[0]));
                }
            }
        }
    }
}

/// What varies in front of a packet of the client with this number.
fn of_flow(world: &World, forward: lb_common::layout::Forward, number: u32) -> Entropy {
    let client = world.cast.client_number(number);
    entropy(&world.front(&opening(world.protocol, client, world.cast.vip)).bytes, forward)
}

#[test]
fn outer_headers_are_the_same_for_a_flow_and_spread_over_flows() {
    for cast in FAMILIES {
        for forward in TUNNELS {
            let world = World::by(cast, UDP, forward);
            let flows: Vec<_> = (0..200).map(|number| of_flow(&world, forward, number)).collect();
            for (number, flow) in (0..).zip(&flows) {
                assert_eq!(of_flow(&world, forward, number), *flow);
            }
            let different =
                |of: fn(&Entropy) -> String| flows.iter().map(of).collect::<HashSet<_>>().len();
            // 200 flows hit 139 of 256 addresses on average, and all but one of a million labels.
            assert!(different(|flow| flow.source.to_string()) > 100);
            let labels = different(|flow| flow.label.to_string());
            assert!(if flows[0].source.is_ipv4() { labels == 1 } else { labels > 195 });
            let ports = different(|flow| flow.port.to_string());
            assert!(if flows[0].port == 0 { ports == 1 } else { ports > 190 });
        }
    }
}

#[test]
fn a_source_without_free_bits_stays_as_it_is() {
    for cast in FAMILIES {
        for forward in TUNNELS {
            let mut world = World::by(cast, TCP, forward);
            let settings = &mut world.tables.settings;
            (settings.tunnel_v4_entropy, settings.tunnel_v6_entropy) = (0, 0);
            let sources: HashSet<_> =
                (0..50).map(|number| of_flow(&world, forward, number).source).collect();
            assert_eq!(sources.len(), 1, "{sources:?}");
        }
    }
}

#[test]
fn an_error_about_a_reply_goes_through_the_flow_s_tunnel_untouched() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            for forward in TUNNELS {
                let world = World::by(cast, protocol, forward);
                let opened = world.front(&opening(protocol, cast.client, cast.vip));
                let reply = answer(protocol, cast.vip, cast.client);
                for kind in kinds(&cast) {
                    let length = reply.ip_bytes().len();
                    let packet = error(cast.router, cast.vip.ip(), kind, &reply, length);
                    let sent = world.front(&packet);
                    let expected = (Verdict::ErrorToBackend, Exit::Redirect(BACK));
                    assert_eq!((sent.verdict, sent.exit), expected);
                    let with = entropy(&opened.bytes, forward);
                    assert_frame(&sent.bytes, &encapsulated(&packet, forward, 0, with));
                }
            }
        }
    }
}

#[test]
fn an_error_that_is_too_long_for_the_tunnel_is_dropped_as_that() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            for forward in TUNNELS {
                let mut world = World::by(cast, protocol, forward);
                world.front(&opening(protocol, cast.client, cast.vip));
                let reply = answer(protocol, cast.vip, cast.client).payload(&[0x3c; 1_000]);
                let length = reply.ip_bytes().len();
                let packet = error(cast.router, cast.vip.ip(), kinds(&cast)[1], &reply, length);
                let most = u16::try_from(packet.ip_bytes().len() + overhead(forward)).unwrap();
                world.narrow(most);
                assert_eq!(world.front(&packet).verdict, Verdict::ErrorToBackend);
                world.narrow(most - 1);
                let sent = world.front(&packet);
                assert_eq!((sent.verdict, sent.exit), (Verdict::TooBig, Exit::Drop));
                assert_frame(&sent.bytes, &packet);
            }
        }
    }
}

#[test]
fn every_length_of_payload_fits_the_outer_lengths() {
    for cast in FAMILIES {
        for forward in TUNNELS {
            let world = World::by(cast, UDP, forward);
            for length in (0..40).chain([255, 256, 1_459, 1_460]) {
                let packet = udp(cast.client, cast.vip).payload(&vec![0x7e; length]);
                let sent = world.front(&packet);
                let with = entropy(&sent.bytes, forward);
                assert_frame(&sent.bytes, &encapsulated(&packet, forward, 0, with));
            }
        }
    }
}

#[test]
fn a_packet_whose_hops_are_used_up_enters_no_tunnel() {
    for cast in FAMILIES {
        for forward in TUNNELS {
            let world = World::by(cast, TCP, forward);
            let packet = tcp(cast.client, cast.vip).syn().ttl(1);
            let sent = world.front(&packet);
            assert_eq!(sent.verdict, Verdict::TtlExceeded);
            assert_frame(&sent.bytes, &packet);
        }
    }
}
