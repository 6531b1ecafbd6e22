//! ICMP errors about forwarded packets: from a router or the backend itself, to the client.

use std::net::SocketAddr;

use lb_common::verdict::Verdict;
use lb_ebpf::Exit;

use crate::cast::error::{error, from_behind, kinds, lengths, quotable};
use crate::cast::packet::{CUSTOMER, Packet, tcp};
use crate::cast::{
    Cast, DIRECTOR_FRONT, FAMILIES, FRONT, PROTOCOLS, ROUTER, TCP, World, assert_frame,
};

/// Packets of the client as they left the director, from client to backend.
fn forwarded(cast: &Cast, protocol: u8) -> Vec<Packet> {
    quotable(protocol, |packet| packet.to(cast.backends[0]), cast)
}

/// The error as the client gets it: about a packet to the VIP.
fn translated(cast: &Cast, packet: &Packet, quoted: &Packet, length: usize) -> Packet {
    let quote = quoted.clone().to(cast.vip).ip_bytes();
    let from_backend = packet.source.ip() == cast.backends[0].ip();
    let source = if from_backend { cast.vip.ip() } else { packet.source.ip() };
    let packet = packet.clone().from(SocketAddr::new(source, 0)).payload(&quote[..length]);
    packet.ttl(63).link(DIRECTOR_FRONT, ROUTER)
}

#[test]
fn every_error_about_a_forwarded_packet_reaches_the_client_in_the_client_s_terms() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let world = World::new(cast, protocol);
            world.establish(cast.client);
            for kind in kinds(&cast) {
                for quoted in forwarded(&cast, protocol) {
                    for from in [cast.router, cast.backends[0].ip()] {
                        let length = quoted.ip_bytes().len();
                        let sent = error(from, cast.client.ip(), kind, &quoted, length);
                        let result = world.back(&from_behind(sent.clone()));
                        assert_eq!(result.verdict, Verdict::ErrorToClient, "{kind:?} {quoted:?}");
                        assert_eq!(result.exit, Exit::Redirect(FRONT));
                        let expected = translated(&cast, &sent, &quoted, length);
                        assert_frame(&result.bytes, &expected);
                    }
                }
            }
        }
    }
}

#[test]
fn a_quote_may_be_cut_anywhere_behind_the_ports() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let world = World::new(cast, protocol);
            world.establish(cast.client);
            for quoted in forwarded(&cast, protocol) {
                for length in lengths(&quoted) {
                    let (to, kind) = (cast.client.ip(), kinds(&cast)[1]);
                    let sent = error(cast.router, to, kind, &quoted, length);
                    let sent = from_behind(sent.padding(&[0x3c; 20]));
                    let expected = translated(&cast, &sent, &quoted, length);
                    assert_frame(&world.back(&sent).bytes, &expected);
                }
            }
        }
    }
}

#[test]
fn an_error_leaves_with_the_client_s_tags() {
    for cast in FAMILIES {
        let world = World::new(cast, TCP);
        let tags = [(CUSTOMER, 12)];
        world.front(&tcp(cast.client, cast.vip).syn().tags(&tags));
        let quoted = tcp(cast.client, cast.backends[0]).syn();
        let length = quoted.ip_bytes().len();
        let sent = error(cast.router, cast.client.ip(), kinds(&cast)[0], &quoted, length);
        let sent = from_behind(sent);
        let expected = translated(&cast, &sent, &quoted, length).tags(&tags);
        assert_frame(&world.back(&sent).bytes, &expected);
    }
}

#[test]
fn an_error_about_nobody_s_flow_passes_untouched() {
    for cast in FAMILIES {
        let world = World::new(cast, TCP);
        let quoted = tcp(cast.client, cast.backends[0]).syn();
        let length = quoted.ip_bytes().len();
        let sent = error(cast.router, cast.client.ip(), kinds(&cast)[0], &quoted, length);
        let sent = from_behind(sent);
        let result = world.back(&sent);
        assert_eq!((result.verdict, result.exit), (Verdict::NotOurs, Exit::Pass));
        assert_frame(&result.bytes, &sent);
    }
}
