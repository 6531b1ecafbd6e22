//! Limits to how many flows of a service may begin.

use lb_common::verdict::Verdict;

use crate::cast::{FAMILIES, PROTOCOLS, TCP, UDP, V4, World, opening};

const SECOND: u64 = 1_000_000_000;

/// A world whose service takes so many flows a second, and so many at once.
fn limited(world: World, per_second: u32, burst: u32) -> World {
    let mut world = world;
    let listener = &mut world.tables.listeners[world.listener as usize];
    (listener.flow_cost, listener.flow_burst) = (1_000_000_000 / per_second, burst);
    world
}

/// Begins flows at an even pace from an instant on; returns how many were let.
fn begin(world: &World, from: u64, seconds: u64, per_second: u64) -> u64 {
    let begins = |number: &u64| {
        world.tables.set_nanoseconds(from + number * SECOND / per_second);
        let client = world.cast.client_number(u32::try_from(*number).unwrap());
        let verdict = world.front(&opening(world.protocol, client, world.cast.vip)).verdict;
        assert!(matches!(verdict, Verdict::ToBackend | Verdict::NewFlowsLimited), "{verdict:?}");
        verdict == Verdict::ToBackend
    };
    (0..seconds * per_second).filter(begins).count() as u64
}

#[test]
fn as_many_flows_begin_as_the_limit_lets_at_any_pace_above() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            for pace in [1_500, 3_000, 40_000] {
                let tables = lb_ebpf::host::HostTables::new(65_536, crate::cast::HASH_KEY);
                let world = World::of(cast, protocol, tables, crate::cast::BACK);
                let world = limited(world, 1_000, 100);
                let begun = begin(&world, SECOND, 2, pace);
                assert!(begun.abs_diff(2_100) <= 1, "{begun} at {pace}");
            }
        }
    }
}

#[test]
fn below_the_limit_all_flows_begin() {
    let world = limited(World::new(V4, UDP), 1_000, 1);
    assert_eq!(begin(&world, SECOND, 1, 999), 999);
}

#[test]
fn packets_of_flows_that_have_begun_are_not_limited() {
    let world = limited(World::new(V4, TCP), 1, 1);
    world.tables.set_nanoseconds(SECOND);
    let backend = world.establish(V4.client);
    let other = opening(TCP, V4.client_number(1), V4.vip);
    assert_eq!(world.front(&other).verdict, Verdict::NewFlowsLimited);
    for _ in 0..10 {
        assert_eq!(world.more(V4.client), backend);
    }
    assert_eq!(world.tables.traffic_of_listener(world.listener).dropped, 1);
}
