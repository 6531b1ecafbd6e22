//! Schedulers other than round robin: which backend a new flow is given.

use std::collections::BTreeSet;

use lb_common::layout::{Load, Scheduler, Slot};

use crate::cast::packet::tcp;
use crate::cast::{Cast, DIRECTOR_BACK, FAMILIES, PROTOCOLS, SERVERS, TCP, V4, World};

fn world(cast: Cast, protocol: u8, scheduler: Scheduler) -> World {
    let mut world = World::new(cast, protocol);
    world.tables.set_scheduler(world.listener, scheduler);
    world
}

fn load(world: &World, index: usize) -> u64 {
    let Load { base, change, .. } = world.tables.load_of(world.backends[index]);
    Load::flows(base, change)
}

fn loads(world: &World) -> Vec<u64> {
    (0..world.backends.len()).map(|index| load(world, index)).collect()
}

#[test]
fn all_flows_of_a_source_go_to_one_backend_and_sources_are_spread() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let world = world(cast, protocol, Scheduler::SourceHash);
            let mut spread = [0; 3];
            for source in 0..300 {
                let first = world.begin(cast.client_number(source * 50_000));
                for port in 1..4 {
                    assert_eq!(world.begin(cast.client_number(source * 50_000 + port)), first);
                }
                spread[first] += 1;
            }
            assert!(spread.iter().all(|n| (60..140).contains(n)), "{spread:?}");
            assert_eq!(world.tables.drawn(world.listener), 0);
        }
    }
}

#[test]
fn the_hash_of_a_flow_names_its_backend_on_every_director() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let [one, other] = [(); 2].map(|()| world(cast, protocol, Scheduler::FlowHash));
            other.begin(cast.client_number(9_999));
            let mut spread = [0; 3];
            for number in 0..300 {
                let client = cast.client_number(number);
                let index = one.begin(client);
                assert_eq!(other.begin(client), index);
                spread[index] += 1;
            }
            assert!(spread.iter().all(|n| (60..140).contains(n)), "{spread:?}");
        }
    }
}

#[test]
fn by_a_hash_an_unknown_connection_goes_where_its_syn_would_have_gone() {
    for cast in FAMILIES {
        for scheduler in [Scheduler::SourceHash, Scheduler::FlowHash] {
            for number in 0..100 {
                let client = cast.client_number(number * 777);
                let [begun, taken_over] = [(); 2].map(|()| world(cast, TCP, scheduler));
                assert_eq!(taken_over.more(client), begun.begin(client), "{scheduler:?}");
            }
        }
    }
}

#[test]
fn by_chance_and_load_an_unknown_connection_takes_the_choice_of_its_hash() {
    for cast in FAMILIES {
        for number in 0..100 {
            let client = cast.client_number(number);
            let chosen = [Scheduler::RoundRobin, Scheduler::Random, Scheduler::LeastLoad]
                .map(|scheduler| world(cast, TCP, scheduler).more(client));
            assert_eq!(chosen, [chosen[0]; 3]);
        }
    }
}

#[test]
fn chance_gives_each_slot_its_share() {
    for cast in FAMILIES {
        let mut world = world(cast, TCP, Scheduler::Random);
        let ids = world.backends.clone();
        world.tables.set_slots(world.listener, &[ids[0], ids[1], ids[0], ids[2]]);
        let mut spread = [0; 3];
        for number in 0..800 {
            spread[world.begin(cast.client_number(number))] += 1;
        }
        assert!((340..460).contains(&spread[0]), "{spread:?}");
        assert!((140..260).contains(&spread[1]), "{spread:?}");
    }
}

#[test]
fn of_two_backends_the_one_with_fewer_flows_is_taken() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let mut world = world(cast, protocol, Scheduler::LeastLoad);
            world.tables.set_slots(world.listener, &world.backends[..2]);
            world.tables.set_swept(world.backends[0], 50);
            for number in 0..50 {
                assert_eq!(world.begin(cast.client_number(number)), 1);
            }
            assert_eq!(loads(&world)[..2], [50, 50]);
        }
    }
}

#[test]
fn a_load_counts_for_its_weight() {
    for cast in FAMILIES {
        let mut world = world(cast, TCP, Scheduler::LeastLoad);
        let slots = [(0, 3), (1, 1)].map(|(n, weight)| Slot { backend: world.backends[n], weight });
        world.tables.set_weighted_slots(world.listener, &slots);
        for number in 0..400 {
            world.begin(cast.client_number(number));
        }
        assert!(load(&world, 0).abs_diff(300) <= 1, "{:?}", loads(&world));
    }
}

#[test]
fn a_flow_counts_until_both_sides_have_closed_it() {
    for cast in FAMILIES {
        let world = world(cast, TCP, Scheduler::LeastLoad);
        let index = world.establish(cast.client);
        assert_eq!(load(&world, index), 1);
        let reply = tcp(cast.backends[index], cast.client).link(SERVERS[index], DIRECTOR_BACK);
        world.front(&tcp(cast.client, cast.vip).fin().ack());
        world.front(&tcp(cast.client, cast.vip).fin().ack());
        world.back(&reply.clone().fin().ack());
        assert_eq!(loads(&world), [0; 3]);
        world.back(&reply.fin().ack());
        world.front(&tcp(cast.client, cast.vip).ack());
        assert_eq!(loads(&world), [0; 3], "and is not taken away twice");
    }
}

#[test]
fn a_flow_that_either_side_resets_counts_no_more() {
    for cast in FAMILIES {
        let world = world(cast, TCP, Scheduler::LeastLoad);
        world.establish(cast.client);
        world.front(&tcp(cast.client, cast.vip).rst());
        assert_eq!(loads(&world), [0; 3]);
        let other = cast.client_number(1);
        let index = world.establish(other);
        assert_eq!(load(&world, index), 1);
        world.back(&tcp(cast.backends[index], other).rst().link(SERVERS[index], DIRECTOR_BACK));
        assert_eq!(loads(&world), [0; 3]);
    }
}

#[test]
fn a_sweep_puts_right_what_lost_fins_left_behind() {
    let world = world(V4, TCP, Scheduler::LeastLoad);
    for number in 0..90 {
        world.establish(V4.client_number(number));
    }
    assert_eq!(loads(&world).iter().sum::<u64>(), 90);
    for id in &world.backends {
        world.tables.set_swept(*id, 0);
    }
    assert_eq!(loads(&world), [0; 3]);
    world.establish(V4.client_number(91));
    assert_eq!(loads(&world).iter().sum::<u64>(), 1);
}

#[test]
fn only_by_load_is_the_load_kept() {
    let world = world(V4, TCP, Scheduler::RoundRobin);
    world.establish(V4.client);
    assert_eq!(loads(&world), [0; 3]);
}

#[test]
fn a_run_of_one_slot_is_always_drawn() {
    for scheduler in
        [Scheduler::SourceHash, Scheduler::FlowHash, Scheduler::Random, Scheduler::LeastLoad]
    {
        let mut world = world(V4, TCP, scheduler);
        world.tables.set_slots(world.listener, &world.backends[1..2]);
        let drawn: BTreeSet<_> = (0..50).map(|n| world.begin(V4.client_number(n))).collect();
        assert_eq!(drawn, [1].into(), "{scheduler:?}");
    }
}
