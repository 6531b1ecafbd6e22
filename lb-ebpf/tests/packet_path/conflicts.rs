//! One backend port behind two VIPs, and traffic of a backend that is not balanced.

use lb_common::verdict::Verdict;

use crate::cast::packet::tcp;
use crate::cast::{
    BACK, Cast, DIRECTOR_BACK, FAMILIES, FRONT, PROTOCOLS, SERVERS, TCP, World, answer, opening,
};

/// Both VIPs in front of the first `n` backends.
fn two_vips(cast: Cast, protocol: u8, n: usize) -> World {
    let mut world = World::new(cast, protocol);
    world.tables.set_slots(world.listener, &world.backends[..n]);
    world.add_other_vip(n);
    world
}

#[test]
fn the_same_client_port_to_two_vips_goes_to_two_backends() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let world = two_vips(cast, protocol, 2);
            let first = world.begin(cast.client);
            let sent = world.front(&opening(protocol, cast.client, cast.other_vip));
            assert_eq!(sent.verdict, Verdict::ToBackend);
            let second = sent.backend();
            assert_ne!(first, second);
            // Each reply has the VIP that its flow was sent to.
            for (index, vip) in [(first, cast.vip), (second, cast.other_vip)] {
                let sent = world.back(&answer(protocol, cast.backends[index], cast.client));
                assert_eq!(sent.verdict, Verdict::ToClient);
                let bytes = answer(protocol, vip, cast.client).ttl(63).ip_bytes();
                assert_eq!(sent.bytes[14..], bytes);
            }
        }
    }
}

#[test]
fn with_a_single_backend_the_second_flow_is_refused_and_the_first_goes_on() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let world = two_vips(cast, protocol, 1);
            world.establish(cast.client);
            let second = opening(protocol, cast.client, cast.other_vip);
            assert_eq!(world.front(&second).verdict, Verdict::ReplyConflict);
            assert_eq!(world.more(cast.client), 0);
            let sent = world.back(&answer(protocol, cast.backends[0], cast.client));
            assert_eq!(sent.verdict, Verdict::ToClient);
            // Another port of the client is another flow.
            let other = opening(protocol, cast.client_number(1), cast.other_vip);
            assert_eq!(world.front(&other).verdict, Verdict::ToBackend);
        }
    }
}

/// Two VIPs, and a client whose port the first server knows through the first VIP. Returns the second listener,
/// four backends of it that are that server, and one that is another.
fn four_taken_and_one_free(cast: Cast) -> (World, u32, [u32; 4], u32) {
    let mut world = World::new(cast, TCP);
    world.tables.set_slots(world.listener, &world.backends[..1]);
    world.begin(cast.client);
    let (listener, ids) = world.add_other_vip(2);
    let more = [(); 3].map(|()| world.add_backend(listener, 0, BACK));
    (world, listener, [ids[0], more[0], more[1], more[2]], ids[1])
}

#[test]
fn another_backend_is_tried_however_many_slots_the_first_one_has() {
    for cast in FAMILIES {
        let (mut world, listener, [taken, ..], free) = four_taken_and_one_free(cast);
        let slots = [vec![taken; 31], vec![free]].concat();
        world.tables.set_slots(listener, &slots);
        let sent = world.front(&tcp(cast.client, cast.other_vip).syn());
        assert_eq!((sent.verdict, sent.backend()), (Verdict::ToBackend, 1));
    }
}

#[test]
fn at_most_four_backends_are_tried() {
    for cast in FAMILIES {
        let (mut world, listener, [a, b, c, d], free) = four_taken_and_one_free(cast);
        let second = tcp(cast.client, cast.other_vip).syn();
        world.tables.set_slots(listener, &[a, a, b, c, c, d, free]);
        assert_eq!(world.front(&second).verdict, Verdict::ReplyConflict);
        // The cursor stands at the second slot.
        world.tables.set_slots(listener, &[a, b, c, c, b, free, d]);
        assert_eq!(world.front(&second).verdict, Verdict::ToBackend);
    }
}

#[test]
fn a_flow_that_is_ending_leaves_its_port_to_the_other_vip() {
    for cast in FAMILIES {
        let world = two_vips(cast, TCP, 1);
        world.establish(cast.client);
        world.front(&tcp(cast.client, cast.vip).rst());
        let second = tcp(cast.client, cast.other_vip).syn();
        assert_eq!(world.front(&second).verdict, Verdict::ToBackend);
        let sent = world.back(&answer(TCP, cast.backends[0], cast.client));
        let bytes = answer(TCP, cast.other_vip, cast.client).ttl(63).ip_bytes();
        assert_eq!(sent.bytes[14..], bytes);
    }
}

#[test]
fn a_flow_that_is_ending_keeps_its_port_while_another_backend_has_it_free() {
    for cast in FAMILIES {
        let world = two_vips(cast, TCP, 2);
        let first = world.establish(cast.client);
        world.front(&tcp(cast.client, cast.vip).rst());
        let sent = world.front(&tcp(cast.client, cast.other_vip).syn());
        assert_ne!(sent.backend(), first);
    }
}

#[test]
fn a_conflict_ends_when_the_older_flow_has_expired() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let world = two_vips(cast, protocol, 1);
            world.establish(cast.client);
            let second = opening(protocol, cast.client, cast.other_vip);
            world.tables.set_tick(1_677);
            assert_eq!(world.front(&second).verdict == Verdict::ReplyConflict, protocol == TCP);
            world.tables.set_tick(1_678);
            assert_eq!(world.front(&second).verdict, Verdict::ToBackend);
        }
    }
}

#[test]
fn direct_clients_of_a_backend_and_the_director_s_probes_pass_untouched() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let world = World::new(cast, protocol);
            let index = world.establish(cast.client);
            let cells = world.tables.cells();
            let mut probe = cast.client;
            probe.set_ip(cast.director);
            let mut direct = cast.client;
            direct.set_port(40_001);
            for peer in [probe, direct] {
                let there = opening(protocol, peer, cast.backends[index]);
                let back = answer(protocol, cast.backends[index], peer);
                for (packet, interface) in [(there, FRONT), (back, BACK)] {
                    let sent = world.frame(&packet.bytes(), interface);
                    assert_eq!(sent.verdict, Verdict::NotOurs);
                    assert_eq!(sent.bytes, packet.bytes());
                }
            }
            assert_eq!(world.tables.cells(), cells);
        }
    }
}

#[test]
fn another_port_of_the_backend_is_not_the_balanced_one() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let world = World::new(cast, protocol);
            let index = world.establish(cast.client);
            let mut other = cast.backends[index];
            other.set_port(9090);
            let packet = opening(protocol, other, cast.client).link(SERVERS[0], DIRECTOR_BACK);
            assert_eq!(world.back(&packet).verdict, Verdict::NotOurs);
        }
    }
}
