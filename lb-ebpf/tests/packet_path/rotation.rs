//! Round robin: which packets draw, and what they draw.

use lb_common::verdict::Verdict;
use proptest::prelude::*;

use crate::cast::packet::tcp;
use crate::cast::{Cast, FAMILIES, PROTOCOLS, TCP, UDP, World};

fn drawn(world: &World) -> u64 {
    world.tables.drawn(world.listener)
}

#[test]
fn clients_are_spread_in_exact_rotation() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let world = World::new(cast, protocol);
            for number in 0..900 {
                let index = world.begin(cast.client_number(number));
                assert_eq!(index, number as usize % 3);
            }
            let flows = world.backends.iter().map(|id| world.tables.traffic_of_backend(*id).flows);
            assert_eq!(flows.collect::<Vec<_>>(), [300; 3]);
        }
    }
}

#[test]
fn slots_weigh_backends() {
    for cast in FAMILIES {
        let mut world = World::new(cast, TCP);
        let ids = world.backends.clone();
        world.tables.set_slots(world.listener, &[ids[0], ids[1], ids[0], ids[2]]);
        let spread: Vec<_> = (0..8).map(|number| world.begin(cast.client_number(number))).collect();
        assert_eq!(spread, [0, 1, 0, 2, 0, 1, 0, 2]);
    }
}

#[test]
fn a_retransmitted_syn_goes_to_the_same_backend_and_draws_nothing() {
    for cast in FAMILIES {
        let world = World::new(cast, TCP);
        let index = world.begin(cast.client);
        for tick in 0..10 {
            world.tables.set_tick(tick);
            assert_eq!(world.begin(cast.client), index);
            assert_eq!(drawn(&world), 1);
        }
        assert_eq!(world.tables.traffic_of_listener(world.listener).flows, 1);
    }
}

#[test]
fn packets_of_known_flows_draw_nothing() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let world = World::new(cast, protocol);
            let index = world.establish(cast.client);
            for _ in 0..10 {
                assert_eq!(world.more(cast.client), index);
            }
            assert_eq!(drawn(&world), 1);
        }
    }
}

#[test]
fn the_client_s_port_used_again_after_a_reset_draws_anew() {
    for cast in FAMILIES {
        let world = World::new(cast, TCP);
        assert_eq!(world.establish(cast.client), 0);
        world.front(&tcp(cast.client, cast.vip).rst());
        // What is left of the old connection goes where it was.
        assert_eq!(world.more(cast.client), 0);
        assert_eq!(world.establish(cast.client), 1);
        assert_eq!(drawn(&world), 2);
        assert_eq!(world.more(cast.client), 1);
        assert_eq!(world.tables.traffic_of_listener(world.listener).flows, 2);
    }
}

#[test]
fn listeners_of_one_service_share_a_rotation_if_they_share_its_cursor() {
    for cast in FAMILIES {
        let mut world = World::new(cast, TCP);
        let (other, _) = world.add_other_vip(3);
        world.tables.listeners[other as usize].cursor = world.listener;
        let mut spread = Vec::new();
        for number in 0..6 {
            let client = cast.client_number(number);
            let vip = if number % 2 == 0 { cast.vip } else { cast.other_vip };
            let sent = world.front(&tcp(client, vip).syn());
            spread.push(sent.backend());
        }
        assert_eq!(spread, [0, 1, 2, 0, 1, 2]);
    }
}

#[test]
fn the_cursor_goes_on_where_32_bits_end() {
    for cast in FAMILIES {
        let mut world = World::new(cast, UDP);
        world.tables.set_slots(world.listener, &world.backends[..2]);
        world.tables.set_drawn(world.listener, u64::from(u32::MAX) - 1);
        let spread: Vec<_> = (0..4).map(|number| world.begin(cast.client_number(number))).collect();
        assert_eq!(spread, [0, 1, 0, 1]);
    }
}

/// The backend that an unknown connection is given by its hash.
fn adopted(cast: Cast, number: u32) -> usize {
    let world = World::new(cast, TCP);
    world.tables.set_drawn(world.listener, u64::from(number));
    let index = world.more(cast.client_number(number));
    assert_eq!(drawn(&world), u64::from(number), "an unknown connection has drawn");
    index
}

#[test]
fn a_packet_of_an_unknown_connection_takes_the_choice_of_its_hash_and_draws_nothing() {
    for cast in FAMILIES {
        let mut spread = [0; 3];
        for number in 0..300 {
            let index = adopted(cast, number);
            // Another director, with another cursor, chooses alike; and the choice is remembered.
            let world = World::new(cast, TCP);
            let client = cast.client_number(number);
            assert_eq!(world.more(client), index);
            assert_eq!(world.more(client), index);
            assert_eq!(drawn(&world), 0);
            spread[index] += 1;
        }
        assert!(spread.iter().all(|n| (60..140).contains(n)), "{spread:?}");
    }
}

#[test]
fn whatever_is_no_plain_syn_does_not_draw() {
    for cast in FAMILIES {
        let packet = tcp(cast.client, cast.vip);
        let packets = [
            packet.clone(),
            packet.clone().ack(),
            packet.clone().fin(),
            packet.clone().rst(),
            packet.clone().syn().ack(),
            packet.syn().rst(),
        ];
        for packet in packets {
            let world = World::new(cast, TCP);
            assert_eq!(world.front(&packet).verdict, Verdict::ToBackend);
            assert_eq!(drawn(&world), 0, "{packet:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever else happens in between, the first packets of new flows rotate.
    #[test]
    fn new_flows_rotate_whatever_else_happens(steps in prop::collection::vec(0..4_u8, 1..200)) {
        let world = World::new(FAMILIES[0], TCP);
        let mut homes: Vec<usize> = Vec::new();
        for step in steps {
            let last = homes.len().wrapping_sub(1);
            let client = world.cast.client_number(u32::try_from(homes.len()).unwrap());
            let known = |n: usize| world.cast.client_number(u32::try_from(n).unwrap());
            match step {
                0 if !homes.is_empty() => prop_assert_eq!(world.begin(known(last)), homes[last]),
                1 if !homes.is_empty() => prop_assert_eq!(world.more(known(last / 2)), homes[last / 2]),
                2 if !homes.is_empty() => {
                    world.front(&tcp(known(last), world.cast.backends[0]).rst());
                }
                _ => homes.push(world.begin(client)),
            }
        }
        for (number, home) in homes.iter().enumerate() {
            prop_assert_eq!(*home, number % 3);
        }
    }
}
