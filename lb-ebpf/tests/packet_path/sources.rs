//! Sources of full NAT: each is given once to each backend at a time, and comes back.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use lb_common::cell::{Cell, State};
use lb_common::layout::{Forward, address};
use lb_common::verdict::Verdict;
use lb_ebpf::host::HostTables;

use crate::cast::packet::tcp;
use crate::cast::ways::{FIRST_PORT, nat_source};
use crate::cast::{Cast, FAMILIES, HASH_KEY, PROTOCOLS, Sent, TCP, UDP, World, answer, opening};

/// A world with one backend, two sources of so many ports each, and a number of CPUs that share them.
fn world(cast: Cast, protocol: u8, ports: u16, cpus: u16) -> World {
    let tables = HostTables::new(4_096, HASH_KEY);
    let mut world = World::by_of(cast, protocol, Forward::FullNat, tables);
    let first = world.backends[..1].to_vec();
    world.tables.set_slots(world.listener, &first);
    let settings = &mut world.tables.settings;
    settings.nat_sources = [2, 2];
    settings.nat_v4[1] = address(crate::cast::V4.router).0[0];
    settings.nat_v6[1] = address(crate::cast::V6.router).0;
    (settings.nat_ports, settings.cpus) = (ports, cpus);
    world
}

/// The source of a frame to a backend.
fn source(sent: &Sent) -> SocketAddr {
    let packet = SlicedPacket::from_ethernet(&sent.bytes).unwrap();
    let address = match packet.net.unwrap() {
        NetSlice::Ipv4(ip) => ip.header().source_addr().into(),
        NetSlice::Ipv6(ip) => ip.header().source_addr().into(),
        NetSlice::Arp(_) => panic!("not IP"),
    };
    let port = match packet.transport.unwrap() {
        TransportSlice::Tcp(tcp) => tcp.source_port(),
        TransportSlice::Udp(udp) => udp.source_port(),
        TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_) | TransportSlice::Igmp(_) => {
            panic!("neither TCP nor UDP")
        }
    };
    SocketAddr::new(address, port)
}

/// Opens flows of new clients until many in a row were refused; returns the sources that they were given.
fn use_up(world: &World) -> Vec<SocketAddr> {
    let mut given = Vec::new();
    let mut refused = 0;
    for number in 0.. {
        let client = world.cast.client_number(number);
        let sent = world.front(&opening(world.protocol, client, world.cast.vip));
        if sent.verdict == Verdict::ToBackend {
            given.push(source(&sent));
            refused = 0;
        } else {
            assert_eq!(sent.verdict, Verdict::SourcesUsedUp);
            refused += 1;
        }
        if refused == 500 {
            break;
        }
    }
    given
}

#[test]
fn every_source_and_port_is_given_once_and_none_is_left_over() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            for (ports, cpus) in [(64, 1), (64, 2), (62, 2), (64, 4), (63, 3)] {
                let world = world(cast, protocol, ports, cpus);
                let given = use_up(&world);
                let all: BTreeSet<_> = given.iter().copied().collect();
                assert_eq!(all.len(), given.len(), "one was given twice");
                let expected: BTreeSet<_> = [cast.director, cast.router]
                    .into_iter()
                    .flat_map(|address| {
                        let ports = FIRST_PORT..FIRST_PORT + ports;
                        ports.map(move |port| SocketAddr::new(address, port))
                    })
                    .collect();
                assert_eq!(all, expected, "{ports} ports, {cpus} CPUs");
                assert_eq!(world.tables.traffic_of_listener(0).dropped, 500 + lost(&world, &given));
            }
        }
    }
}

/// Flows that were refused before the last source was found.
fn lost(world: &World, given: &[SocketAddr]) -> u64 {
    let refused = world.tables.verdicts()[Verdict::SourcesUsedUp.number() as usize].packets;
    assert_eq!(world.tables.traffic_of_listener(0).flows, given.len() as u64);
    refused - 500
}

#[test]
fn another_backend_has_every_source_anew() {
    for cast in FAMILIES {
        let mut world = world(cast, TCP, 16, 1);
        let first = use_up(&world);
        let second = world.backends[1..2].to_vec();
        world.tables.set_slots(world.listener, &second);
        let client = cast.client_number(40_000);
        let sent = world.front(&opening(TCP, client, cast.vip));
        assert_eq!(sent.verdict, Verdict::ToBackend);
        assert!(first.contains(&source(&sent)));
    }
}

#[test]
fn without_a_source_or_with_less_than_a_port_for_each_cpu_every_flow_is_refused() {
    for cast in FAMILIES {
        for (sources, ports, cpus) in [(0, 100, 1), (2, 3, 4), (2, 0, 1), (2, 100, 0)] {
            let mut world = world(cast, TCP, ports, cpus);
            world.tables.settings.nat_sources = [sources; 2];
            let sent = world.front(&opening(TCP, cast.client, cast.vip));
            assert_eq!(sent.verdict, Verdict::SourcesUsedUp);
            assert_eq!(world.states(), (vec![], vec![]));
        }
    }
}

#[test]
fn a_source_is_free_again_when_its_flow_was_closed_and_its_timeout_is_over() {
    for cast in FAMILIES {
        let mut world = world(cast, TCP, 1, 1);
        world.tables.settings.nat_sources = [1, 1];
        world.front(&opening(TCP, cast.client, cast.vip));
        let seen = nat_source(cast, FIRST_PORT);
        world.back(&answer(TCP, cast.backends[0], seen));
        world.front(&tcp(cast.client, cast.vip).ack());
        world.front(&tcp(cast.client, cast.vip).rst());
        let next = opening(TCP, cast.client_number(1), cast.vip);
        for (tick, verdict) in [(7, Verdict::SourcesUsedUp), (8, Verdict::ToBackend)] {
            world.tables.set_tick(tick);
            assert_eq!(world.front(&next).verdict, verdict, "{tick}");
        }
    }
}

#[test]
fn a_datagram_s_source_is_free_again_when_its_timeout_is_over() {
    for cast in FAMILIES {
        let mut world = world(cast, UDP, 1, 1);
        world.tables.settings.nat_sources = [1, 1];
        world.front(&opening(UDP, cast.client, cast.vip));
        let next = opening(UDP, cast.client_number(1), cast.vip);
        for (tick, verdict) in [(28, Verdict::SourcesUsedUp), (29, Verdict::ToBackend)] {
            world.tables.set_tick(tick);
            assert_eq!(world.front(&next).verdict, verdict, "{tick}");
        }
    }
}

/// Flows that are not established make room in a full table, each cell by itself.
#[test]
fn a_flow_whose_source_was_given_to_another_ends_and_never_gets_the_other_s_replies() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let mut world = world(cast, protocol, 1, 1);
            world.tables.settings.nat_sources = [1, 1];
            world.front(&opening(protocol, cast.client, cast.vip));
            let lost = world.tables.cells().iter().position(|cell| cell.is_reply()).unwrap();
            world.tables.set_cell(lost, Cell::EMPTY);
            let other = cast.client_number(1);
            assert_eq!(
                source(&world.front(&opening(protocol, other, cast.vip))).port(),
                FIRST_PORT
            );
            world.tables.set_tick(1);
            let late = world.front(&opening(protocol, cast.client, cast.vip));
            assert_eq!(late.verdict, Verdict::ReplyConflict);
            let reply = answer(protocol, cast.backends[0], nat_source(cast, FIRST_PORT));
            let bytes = reply.clone().from(cast.vip).to(other).ttl(63).ip_bytes();
            assert_eq!(world.back(&reply).bytes[14..], bytes);
            let (flows, _) = world.states();
            assert_eq!(flows.len(), 1, "the flow is forgotten");
        }
    }
}

/// With six of eight cells in use, a reply goes to its second bucket.
#[test]
fn a_reply_finds_room_in_either_of_its_buckets() {
    for cast in FAMILIES {
        for seed in 0..32 {
            let tables = HostTables::with_buckets(2, [seed, 1]);
            let mut world = World::by_of(cast, UDP, Forward::FullNat, tables);
            world.tables.set_slots(world.listener, &world.backends[..1]);
            world.tables.settings.nat_ports = 1;
            for index in 0..6 {
                let cell = Cell::new(1 + index as u64, 0, 0, State::Established, false);
                world.tables.set_cell(index, cell);
            }
            let sent = world.front(&opening(UDP, cast.client, cast.vip));
            assert_eq!(sent.verdict, Verdict::ToBackend, "with seed {seed}");
        }
    }
}

#[test]
fn where_one_backend_has_no_source_left_the_next_one_takes_the_flow() {
    for cast in FAMILIES {
        let mut world = world(cast, TCP, 1, 1);
        let (a, b) = (world.backends[0], world.backends[1]);
        world.tables.set_slots(world.listener, &[a, a, a, b]);
        // Two sources of one port each: two flows to either backend.
        for number in 0..4 {
            let client = cast.client_number(number);
            let sent = world.front(&opening(TCP, client, cast.vip));
            assert_eq!(sent.verdict, Verdict::ToBackend, "flow {number}");
        }
        let sent = world.front(&opening(TCP, cast.client_number(4), cast.vip));
        assert_eq!(sent.verdict, Verdict::SourcesUsedUp);
    }
}
