//! Connections that only another director may know, which has fallen silent.

use lb_common::layout::{Forward, Scheduler};
use lb_common::verdict::Verdict;
use lb_ebpf::host::HostFrame;

use crate::cast::packet::{Packet, tcp};
use crate::cast::ways::FIRST_PORT;
use crate::cast::{
    BACK, DIRECTOR_BACK, FAMILIES, ROUTER, SERVERS, TCP, UDP, World, answer, opening,
};

const UNTIL: u64 = 3_000_000_000;

fn world(forward: Forward, scheduler: Scheduler) -> impl Iterator<Item = World> {
    FAMILIES.into_iter().map(move |cast| {
        let mut world = World::by(cast, TCP, forward);
        world.tables.set_scheduler(world.listener, scheduler);
        world.tables.held_until = UNTIL;
        world.tables.set_nanoseconds(UNTIL - 1);
        world
    })
}

/// A packet in the middle of a connection.
fn middle(world: &World) -> Packet {
    tcp(world.cast.client, world.cast.vip).ack().payload(b"more")
}

#[test]
fn held_for_peer_is_a_packet_of_an_unknown_connection_for_a_while() {
    let schedulers = [Scheduler::RoundRobin, Scheduler::Random, Scheduler::LeastLoad];
    for world in schedulers.into_iter().flat_map(|it| world(Forward::Nat, it)) {
        assert_eq!(world.front(&middle(&world)).verdict, Verdict::HeldForPeer);
        assert_eq!(world.states(), (vec![], vec![]), "nothing is remembered");
        assert_eq!(world.tables.drawn(world.listener), 0);
        world.tables.set_nanoseconds(UNTIL);
        assert_eq!(world.front(&middle(&world)).verdict, Verdict::ToBackend);
    }
}

#[test]
fn new_connections_and_known_ones_are_not_held() {
    for world in world(Forward::Nat, Scheduler::RoundRobin) {
        let backend = world.establish(world.cast.client);
        assert_eq!(world.more(world.cast.client), backend);
    }
    for cast in FAMILIES {
        let mut world = World::new(cast, UDP);
        world.tables.held_until = UNTIL;
        assert_eq!(world.front(&opening(UDP, cast.client, cast.vip)).verdict, Verdict::ToBackend);
    }
}

#[test]
fn where_a_hash_has_chosen_the_backend_only_what_full_nat_has_chosen_besides_is_waited_for() {
    for scheduler in [Scheduler::FlowHash, Scheduler::SourceHash] {
        for world in world(Forward::Nat, scheduler) {
            assert_eq!(world.front(&middle(&world)).verdict, Verdict::ToBackend);
        }
        for world in world(Forward::FullNat, scheduler) {
            assert_eq!(world.front(&middle(&world)).verdict, Verdict::HeldForPeer);
        }
    }
}

#[test]
fn an_answer_of_an_unknown_connection_is_not_left_to_the_host_meanwhile() {
    for world in world(Forward::Nat, Scheduler::RoundRobin) {
        let backend = world.cast.backends[1];
        let more = tcp(backend, world.cast.client).ack().link(SERVERS[0], DIRECTOR_BACK);
        for packet in [answer(TCP, backend, world.cast.client), more.clone()] {
            assert_eq!(world.back(&packet).verdict, Verdict::HeldForPeer);
        }
        // What the host sends its backends itself, as health checks, is answered to the host.
        let to_host = world.tables.send(HostFrame::new(&more.bytes(), BACK).for_host());
        assert_eq!(to_host.0.verdict, Verdict::NotOurs);
        let from = |port| {
            let mut elsewhere = more.clone();
            elsewhere.source.set_port(port);
            world.back(&elsewhere).verdict
        };
        assert_eq!([from(backend.port()), from(22)], [Verdict::HeldForPeer, Verdict::NotOurs]);
        let to_another = more.clone().link(SERVERS[0], ROUTER);
        assert_eq!(world.back(&to_another).verdict, Verdict::NotOurs);
        let begins = tcp(backend, world.cast.client).syn().link(SERVERS[0], DIRECTOR_BACK);
        assert_eq!(world.back(&begins).verdict, Verdict::NotOurs);
        world.tables.set_nanoseconds(UNTIL);
        assert_eq!(world.back(&more).verdict, Verdict::NotOurs);
    }
}

#[test]
fn an_answer_to_a_source_of_full_nat_is_held_though_the_host_would_take_it() {
    for world in world(Forward::FullNat, Scheduler::RoundRobin) {
        let sent_to = |port| {
            let to = (world.cast.director, port).into();
            let packet = answer(TCP, world.cast.backends[0], to);
            world.tables.send(HostFrame::new(&packet.bytes(), BACK).for_host()).0.verdict
        };
        assert_eq!(sent_to(FIRST_PORT), Verdict::HeldForPeer);
        assert_eq!(sent_to(FIRST_PORT + 999), Verdict::HeldForPeer);
        assert_eq!([FIRST_PORT - 1, FIRST_PORT + 1_000].map(sent_to), [Verdict::NotOurs; 2]);
    }
}
