//! ICMP errors about replies: from a router or the client itself, to the backend that must hear them.

use std::net::SocketAddr;

use lb_common::verdict::Verdict;
use lb_ebpf::Exit;

use crate::at_backend;
use crate::cast::error::{error, kinds, lengths, quotable};
use crate::cast::packet::{CUSTOMER, Packet, tcp};
use crate::cast::{
    BACK, Cast, DIRECTOR_FRONT, FAMILIES, PROTOCOLS, SERVERS, TCP, World, assert_frame,
};

/// Replies as they left the director, from VIP to client.
fn replies(cast: &Cast, protocol: u8) -> Vec<Packet> {
    quotable(protocol, |packet| packet.from(cast.vip).to(cast.client), cast)
}

/// A reply as the backend knows it.
fn as_sent(cast: &Cast, reply: &Packet) -> Packet {
    reply.clone().from(cast.backends[0])
}

#[test]
fn every_error_about_a_reply_reaches_the_backend_in_the_backend_s_terms() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let world = World::new(cast, protocol);
            world.establish(cast.client);
            for kind in kinds(&cast) {
                for reply in replies(&cast, protocol) {
                    for from in [cast.router, cast.client.ip()] {
                        let sent = error(from, cast.vip.ip(), kind, &reply, reply.ip_bytes().len());
                        let result = world.front(&sent);
                        assert_eq!(result.verdict, Verdict::ErrorToBackend, "{kind:?} {reply:?}");
                        assert_eq!(result.exit, Exit::Redirect(BACK));
                        let known = as_sent(&cast, &reply);
                        let length = known.ip_bytes().len();
                        let to = cast.backends[0].ip();
                        let expected = error(from, to, kind, &known, length);
                        assert_frame(&result.bytes, &at_backend(&world, &expected));
                    }
                }
            }
        }
    }
}

/// The error as the backend gets it.
fn translated(cast: &Cast, packet: &Packet, reply: &Packet, length: usize) -> Packet {
    let quote = as_sent(cast, reply).ip_bytes();
    packet.clone().to(SocketAddr::new(cast.backends[0].ip(), 0)).payload(&quote[..length])
}

#[test]
fn a_quote_may_be_cut_anywhere_behind_the_ports() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let world = World::new(cast, protocol);
            world.establish(cast.client);
            for reply in replies(&cast, protocol) {
                for length in lengths(&reply) {
                    let kind = kinds(&cast)[1];
                    let sent = error(cast.router, cast.vip.ip(), kind, &reply, length);
                    let expected = translated(&cast, &sent, &reply, length);
                    let result = world.front(&sent);
                    assert_frame(&result.bytes, &at_backend(&world, &expected));
                }
            }
        }
    }
}

#[test]
fn padding_behind_a_cut_quote_is_not_taken_for_a_part_of_it() {
    for cast in FAMILIES {
        let world = World::new(cast, TCP);
        world.establish(cast.client);
        for reply in replies(&cast, TCP) {
            let length = lengths(&reply)[0];
            let sent = error(cast.router, cast.vip.ip(), kinds(&cast)[1], &reply, length);
            let sent = sent.padding(&[0xc3; 20]);
            let expected = translated(&cast, &sent, &reply, length);
            let result = world.front(&sent);
            assert_frame(&result.bytes, &at_backend(&world, &expected));
        }
    }
}

#[test]
fn ports_in_the_padding_are_no_ports() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let world = World::new(cast, protocol);
            world.establish(cast.client);
            for reply in replies(&cast, protocol) {
                let length = lengths(&reply)[0];
                let quote = reply.ip_bytes();
                for short in (length - 8)..length {
                    let sent = error(cast.router, cast.vip.ip(), kinds(&cast)[0], &reply, short);
                    let sent = sent.padding(&quote[short..]);
                    let result = world.front(&sent);
                    assert_eq!(result.verdict, Verdict::ErrorWithoutFlow);
                    assert_frame(&result.bytes, &sent);
                }
            }
        }
    }
}

#[test]
fn an_error_leaves_without_its_tags() {
    for cast in FAMILIES {
        let world = World::one_armed(cast, TCP);
        world.begin(cast.client);
        let reply = tcp(cast.vip, cast.client).ack();
        let length = reply.ip_bytes().len();
        let sent = error(cast.router, cast.vip.ip(), kinds(&cast)[0], &reply, length);
        let sent = sent.tags(&[(CUSTOMER, 12)]);
        let result = world.front(&sent);
        assert_eq!((result.verdict, result.exit), (Verdict::ErrorToBackend, Exit::Transmit));
        let expected = translated(&cast, &sent, &reply, length).ttl(63).tags(&[]);
        assert_frame(&result.bytes, &expected.link(DIRECTOR_FRONT, SERVERS[0]));
    }
}
