//! Affinity: a source that comes again is sent where it was sent before.

use std::net::{IpAddr, SocketAddr};

use lb_common::layout::{BACKEND_DOWN_RESET, Scheduler};

use crate::cast::{Cast, FAMILIES, PROTOCOLS, TCP, V4, V6, World};

const TICKS: u32 = 70;

fn world(cast: Cast, protocol: u8, prefix: u32) -> World {
    let mut world = World::new(cast, protocol);
    world.tables.set_affinity(world.listener, TICKS, prefix);
    world
}

/// All bits of an address.
fn whole(cast: Cast) -> u32 {
    if cast.client.is_ipv4() { 32 } else { 128 }
}

fn client(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse::<IpAddr>().unwrap(), port)
}

#[test]
fn new_flows_of_a_source_follow_its_first_and_draw_nothing() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let world = world(cast, protocol, whole(cast));
            let index = world.begin(cast.client_number(0));
            for number in 1..20 {
                assert_eq!(world.begin(cast.client_number(number)), index);
            }
            assert_eq!(world.tables.drawn(world.listener), 1);
            assert_ne!(world.begin(cast.client_number(50_000)), index, "another source");
        }
    }
}

#[test]
fn a_source_is_remembered_until_its_timeout_after_the_last_new_flow() {
    for cast in FAMILIES {
        let world = world(cast, TCP, whole(cast));
        let index = world.begin(cast.client_number(0));
        world.tables.set_tick(u64::from(TICKS));
        assert_eq!(world.begin(cast.client_number(1)), index);
        world.tables.set_tick(2 * u64::from(TICKS));
        assert_eq!(world.begin(cast.client_number(2)), index);
        world.tables.set_tick(3 * u64::from(TICKS) + 1);
        assert_eq!(world.begin(cast.client_number(3)), (index + 1) % 3);
    }
}

#[test]
fn only_the_leading_bits_of_a_source_count() {
    for (cast, prefix, same, other) in [
        (V4, 24, ["198.51.100.7", "198.51.100.250"], "198.51.101.7"),
        (V4, 25, ["198.51.100.7", "198.51.100.127"], "198.51.100.128"),
        (V4, 1, ["1.2.3.4", "127.0.0.9"], "198.51.100.7"),
        (V6, 64, ["2001:db8:c:1::7", "2001:db8:c:1:ffff::"], "2001:db8:c:2::7"),
        (V6, 36, ["2001:db8:1000::7", "2001:db8:1fff::"], "2001:db8:2000::7"),
        (V6, 128, ["2001:db8:c::7", "2001:db8:c::7"], "2001:db8:c::8"),
    ] {
        let world = world(cast, TCP, prefix);
        let [first, second] = same.map(|address| world.begin(client(address, 7_000)));
        assert_eq!(first, second, "{same:?}/{prefix}");
        assert_ne!(world.begin(client(other, 7_000)), first, "{other}/{prefix}");
    }
}

#[test]
fn a_backend_that_takes_no_flows_is_not_remembered() {
    for cast in FAMILIES {
        let mut drained = world(cast, TCP, whole(cast));
        assert_eq!(drained.begin(cast.client_number(0)), 0);
        let rest = drained.backends[1..].to_vec();
        drained.tables.set_slots(drained.listener, &rest);
        let index = drained.begin(cast.client_number(1));
        assert_ne!(index, 0);
        assert_eq!(drained.begin(cast.client_number(2)), index, "the new one is");
        assert_eq!(drained.more(cast.client_number(0)), 0, "and open flows stay");

        let mut dead = world(cast, TCP, whole(cast));
        assert_eq!(dead.begin(cast.client_number(0)), 0);
        dead.tables.backends[0].state = BACKEND_DOWN_RESET;
        let rest = dead.backends[1..].to_vec();
        dead.tables.set_slots(dead.listener, &rest);
        assert_ne!(dead.begin(cast.client_number(1)), 0);
    }
}

#[test]
fn each_listener_remembers_for_itself() {
    for cast in FAMILIES {
        let mut world = world(cast, TCP, whole(cast));
        let (other, _) = world.add_other_vip(3);
        world.tables.set_affinity(other, TICKS, whole(cast));
        world.begin(cast.client_number(50_000));
        assert_eq!(world.begin(cast.client_number(0)), 1);
        let packet = crate::cast::packet::tcp(cast.client_number(1), cast.other_vip).syn();
        assert_eq!(world.front(&packet).backend(), 0);
    }
}

#[test]
fn an_unknown_connection_neither_asks_nor_is_remembered() {
    for cast in FAMILIES {
        let plain = World::new(cast, TCP);
        let world = world(cast, TCP, whole(cast));
        world.begin(cast.client_number(0));
        for number in 1..50 {
            let client = cast.client_number(number);
            assert_eq!(world.more(client), plain.more(client));
        }
        assert_eq!(world.begin(cast.client_number(60)), 0);
    }
}

#[test]
fn affinity_goes_with_every_scheduler() {
    for scheduler in [Scheduler::FlowHash, Scheduler::Random, Scheduler::LeastLoad] {
        let mut world = world(V4, TCP, 32);
        world.tables.set_scheduler(world.listener, scheduler);
        let index = world.begin(V4.client_number(0));
        assert!((1..30).all(|number| world.begin(V4.client_number(number)) == index));
    }
}

#[test]
fn a_backend_id_that_is_another_listener_s_now_is_forgotten() {
    for cast in FAMILIES {
        let mut world = world(cast, TCP, whole(cast));
        let index = world.begin(cast.client_number(0));
        let (other, _) = world.add_other_vip(1);
        world.tables.backends[world.backends[index] as usize].listener = other;
        world.backends.remove(index);
        world.tables.set_slots(world.listener, &world.backends);
        assert_ne!(world.begin(cast.client_number(1)), index);
    }
}
