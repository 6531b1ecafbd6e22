//! Each verdict by name, with the frame that brings it about and the counters that it leaves.

mod cookies;
mod dropped;
mod passed;
mod refused;
mod ways;

use lb_common::layout::{BACKEND_DOWN_RESET, Count};
use lb_common::verdict::{Kind, Verdict};
use lb_ebpf::Exit;
use lb_ebpf::host::{CLOSED, SHARED};

use crate::cast::error::{error, from_behind, kinds};
use crate::cast::packet::{Packet, icmp, tcp, udp};
use crate::cast::{BACK, Cast, FAMILIES, FRONT, PROTOCOLS, Sent, TCP, UDP, World, answer, opening};

const VRRP: u8 = 112;
const GRE: u8 = 47;

/// Checks the verdict, that it is counted once, and that a packet which is not forwarded stays as it was.
#[track_caller]
fn assert_verdict(world: &World, packet: &Packet, interface: u32, verdict: Verdict) -> Sent {
    let bytes = packet.bytes();
    let counted = |world: &World| world.tables.verdicts()[verdict.number() as usize];
    let before = counted(world);
    let sent = world.frame(&bytes, interface);
    assert_eq!(sent.verdict, verdict, "{packet:?}");
    let packets = before.packets + 1;
    let expected = Count { packets, bytes: before.bytes + bytes.len() as u64 };
    assert_eq!(counted(world), expected, "{packet:?}");
    match verdict.kind() {
        Kind::Forwarded => assert!(matches!(sent.exit, Exit::Transmit | Exit::Redirect(_))),
        Kind::Passed => assert_eq!((sent.exit, &sent.bytes), (Exit::Pass, &bytes)),
        Kind::Dropped => assert_eq!(sent.exit, Exit::Drop),
    }
    sent
}

fn front(world: &World, packet: &Packet, verdict: Verdict) {
    assert_verdict(world, packet, FRONT, verdict);
}

/// An address that the host had before, with one service on it.
fn shared(cast: Cast, protocol: u8) -> World {
    let mut world = World::new(cast, protocol);
    world.tables.add_vip(cast.vip.ip(), SHARED);
    world
}

fn ping(cast: &Cast, to: std::net::IpAddr) -> Packet {
    icmp(cast.client.ip(), to, if to.is_ipv4() { 8 } else { 128 }, 0).payload(b"hello")
}

#[test]
fn to_backend_to_client_and_reset_sent() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let mut world = World::new(cast, protocol);
            front(&world, &opening(protocol, cast.client, cast.vip), Verdict::ToBackend);
            let reply = answer(protocol, cast.backends[0], cast.client);
            assert_verdict(&world, &reply, BACK, Verdict::ToClient);
            if protocol == TCP {
                world.tables.backends[0].state = BACKEND_DOWN_RESET;
                front(&world, &tcp(cast.client, cast.vip).ack(), Verdict::ResetSent);
            }
        }
    }
}

#[test]
fn error_to_backend_error_to_client_and_error_without_flow() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let world = World::new(cast, protocol);
            let about_reply = answer(protocol, cast.vip, cast.client);
            let about_packet = opening(protocol, cast.client, cast.backends[0]);
            let length = about_packet.ip_bytes().len();
            let to_vip = error(cast.router, cast.vip.ip(), kinds(&cast)[0], &about_reply, length);
            let to_client =
                error(cast.router, cast.client.ip(), kinds(&cast)[0], &about_packet, length);
            front(&world, &to_vip, Verdict::ErrorWithoutFlow);
            let flooded = to_client.clone();
            let to_client = from_behind(to_client);
            assert_verdict(&world, &to_client, BACK, Verdict::NotOurs);
            world.begin(cast.client);
            front(&world, &to_vip, Verdict::ErrorToBackend);
            assert_verdict(&world, &flooded, BACK, Verdict::NotOurs);
            assert_verdict(&world, &to_client, BACK, Verdict::ErrorToClient);
            // The same ports, but from another VIP.
            let mut tables = world;
            tables.tables.add_vip(cast.other_vip.ip(), CLOSED);
            let other = answer(protocol, cast.other_vip, cast.client);
            let other = error(cast.router, cast.other_vip.ip(), kinds(&cast)[0], &other, length);
            front(&tables, &other, Verdict::ErrorWithoutFlow);
        }
    }
}

/// A verdict without a test of its own would be missing here.
#[test]
fn no_verdict_is_forgotten() {
    let source = [
        include_str!("held.rs"),
        include_str!("verdicts.rs"),
        include_str!("verdicts/cookies.rs"),
        include_str!("verdicts/dropped.rs"),
        include_str!("verdicts/passed.rs"),
        include_str!("verdicts/refused.rs"),
        include_str!("verdicts/ways.rs"),
    ]
    .concat();
    for verdict in Verdict::ALL {
        let tested = source.match_indices("fn ").any(|(at, _)| {
            source[at..].lines().next().is_some_and(|line| line.contains(verdict.name()))
        });
        assert!(tested, "no test is named after {}", verdict.name());
    }
}

#[test]
fn traffic_is_counted_at_listener_and_backend() {
    for cast in FAMILIES {
        let world = World::new(cast, UDP);
        let packet = udp(cast.client, cast.vip).payload(&[0; 100]);
        let reply = answer(UDP, cast.backends[0], cast.client).payload(&[0; 300]);
        for _ in 0..2 {
            world.front(&packet);
        }
        for _ in 0..3 {
            world.back(&reply);
        }
        let (forward, back) = (packet.bytes().len() as u64, reply.bytes().len() as u64);
        let of = [
            world.tables.traffic_of_listener(world.listener),
            world.tables.traffic_of_backend(world.backends[0]),
        ];
        for traffic in of {
            assert_eq!(traffic.forward, Count { packets: 2, bytes: 2 * forward });
            assert_eq!(traffic.reply, Count { packets: 3, bytes: 3 * back });
            assert_eq!((traffic.flows, traffic.dropped), (1, 0));
        }
    }
}
