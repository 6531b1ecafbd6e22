//! Flows of a backend that is down: reset, kept, moved on or begun anew.

use lb_common::cell::{Cell, State};
use lb_common::layout::{BACKEND_DOWN_KEEP, BACKEND_DOWN_RESET};
use lb_common::verdict::Verdict;

use crate::cast::packet::{tcp, udp};
use crate::cast::{Cast, FAMILIES, TCP, UDP, World, answer};

const DOWN: [u8; 2] = [BACKEND_DOWN_KEEP, BACKEND_DOWN_RESET];

/// The agent's writes when the backend fails: its entry, then the rotation.
fn fail(world: &mut World, index: usize, state: u8) {
    let id = world.backends[index];
    world.tables.backends[id as usize].state = state;
    let others: Vec<_> = world.backends.iter().copied().filter(|other| *other != id).collect();
    world.tables.set_slots(world.listener, &others);
}

fn established(cast: Cast, protocol: u8) -> World {
    let world = World::new(cast, protocol);
    assert_eq!(world.establish(cast.client), 0);
    world
}

#[test]
fn open_connections_are_reset_where_the_policy_is_to_reset() {
    for cast in FAMILIES {
        let mut world = established(cast, TCP);
        fail(&mut world, 0, BACKEND_DOWN_RESET);
        let sent = world.front(&tcp(cast.client, cast.vip).ack().payload(b"lost"));
        assert_eq!(sent.verdict, Verdict::ResetSent);
        let cells = world.tables.cells().into_iter().filter(|cell| !cell.is_empty());
        let states: Vec<_> = cells.map(Cell::state).collect();
        assert_eq!(states, [Some(State::Closing); 2], "the flow ends with its backend");
    }
}

#[test]
fn open_connections_are_kept_where_the_policy_is_to_keep() {
    for cast in FAMILIES {
        let mut world = established(cast, TCP);
        fail(&mut world, 0, BACKEND_DOWN_KEEP);
        for tick in 0..5 {
            world.tables.set_tick(tick);
            assert_eq!(world.more(cast.client), 0);
        }
        let reply = answer(TCP, cast.backends[0], cast.client);
        assert_eq!(world.back(&reply).verdict, Verdict::ToClient);
    }
}

#[test]
fn replies_of_a_dead_backend_still_reach_their_clients() {
    for cast in FAMILIES {
        for protocol in [TCP, UDP] {
            for state in DOWN {
                let mut world = established(cast, protocol);
                fail(&mut world, 0, state);
                let reply = answer(protocol, cast.backends[0], cast.client);
                assert_eq!(world.back(&reply).verdict, Verdict::ToClient);
            }
        }
    }
}

#[test]
fn a_datagram_moves_on_when_its_backend_is_down() {
    for cast in FAMILIES {
        for state in DOWN {
            let mut world = established(cast, UDP);
            fail(&mut world, 0, state);
            let index = world.more(cast.client);
            assert_ne!(index, 0);
            assert_eq!(world.more(cast.client), index);
            let reply = answer(UDP, cast.backends[index], cast.client);
            assert_eq!(world.back(&reply).verdict, Verdict::ToClient);
        }
    }
}

#[test]
fn a_syn_to_a_dead_backend_begins_anew_in_every_state() {
    for cast in FAMILIES {
        for state in DOWN {
            for progress in 0..4 {
                let mut world = World::new(cast, TCP);
                assert_eq!(world.begin(cast.client), 0);
                if progress > 0 {
                    world.back(&answer(TCP, cast.backends[0], cast.client));
                }
                if progress > 1 {
                    world.more(cast.client);
                }
                if progress > 2 {
                    world.front(&tcp(cast.client, cast.vip).fin().ack());
                }
                fail(&mut world, 0, state);
                let index = world.establish(cast.client);
                assert_ne!(index, 0, "progress {progress}");
                assert_eq!(world.more(cast.client), index);
            }
        }
    }
}

#[test]
fn with_no_backend_left_new_flows_are_refused_and_open_ones_treated_by_policy() {
    for cast in FAMILIES {
        let mut world = established(cast, TCP);
        for index in 0..3 {
            fail(&mut world, index, BACKEND_DOWN_KEEP);
        }
        world.tables.set_slots(world.listener, &[]);
        assert_eq!(world.more(cast.client), 0);
        let new = tcp(cast.client_number(1), cast.vip).syn();
        assert_eq!(world.front(&new).verdict, Verdict::NoBackend);
        let datagram = udp(cast.client, cast.vip);
        assert_eq!(world.front(&datagram).verdict, Verdict::PortClosed);
    }
}

#[test]
fn a_drained_backend_keeps_its_flows_and_gets_no_new_ones() {
    for cast in FAMILIES {
        for protocol in [TCP, UDP] {
            let mut world = established(cast, protocol);
            let rest = world.backends[1..].to_vec();
            world.tables.set_slots(world.listener, &rest);
            for number in 0..20 {
                assert_ne!(world.begin(cast.client_number(number)), 0);
                assert_eq!(world.more(cast.client), 0);
            }
        }
    }
}

#[test]
fn a_backend_that_comes_back_serves_its_kept_flows_and_new_ones() {
    for cast in FAMILIES {
        let mut world = established(cast, TCP);
        fail(&mut world, 0, BACKEND_DOWN_KEEP);
        assert_ne!(world.begin(cast.client_number(1)), 0);
        world.tables.backends[0].state = lb_common::layout::BACKEND_UP;
        let all = world.backends.clone();
        world.tables.set_slots(world.listener, &all);
        assert_eq!(world.more(cast.client), 0);
        let spread: Vec<_> = (2..5).map(|number| world.begin(cast.client_number(number))).collect();
        assert!(spread.contains(&0), "{spread:?}");
    }
}
