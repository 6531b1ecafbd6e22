//! Flows whose replies go past the director: they have one cell, and only the client is heard.

use lb_common::cell::State;
use lb_common::layout::{BACKEND_DOWN_KEEP, BACKEND_DOWN_RESET, Forward};
use lb_common::verdict::Verdict;
use lb_ebpf::host::HostTables;

use crate::cast::packet::Packet;
use crate::cast::ways::TUNNELS;
use crate::cast::{Cast, FAMILIES, HASH_KEY, TCP, UDP, World, opening};
use crate::flow_states::from_client;

use State::{Closing, Established, Syn, Udp};

/// Every way on which replies go past the director.
fn each(protocol: u8, test: impl Fn(World, Cast)) {
    for cast in FAMILIES {
        for forward in TUNNELS.into_iter().chain([Forward::Dsr]) {
            test(World::by(cast, protocol, forward), cast);
        }
    }
}

#[track_caller]
fn assert_state(world: &World, state: State) {
    assert_eq!(world.states(), (vec![state], vec![]));
}

#[test]
fn the_client_s_ack_establishes_a_connection_and_its_fin_closes_it() {
    each(TCP, |world, cast| {
        world.begin(cast.client);
        assert_state(&world, Syn);
        world.begin(cast.client);
        assert_state(&world, Syn);
        world.more(cast.client);
        assert_state(&world, Established);
        world.front(&from_client(&cast).fin().ack());
        assert_state(&world, Closing);
        for tick in 1..20 {
            world.tables.set_tick(tick * 7);
            world.more(cast.client);
            assert_state(&world, Closing);
        }
        assert_eq!(world.tables.drawn(world.listener), 1, "what the client still says is known");
    });
}

#[test]
fn a_reset_of_the_client_closes_a_connection_in_every_state() {
    for n_packets in 0..2 {
        each(TCP, |world, cast| {
            world.begin(cast.client);
            for _ in 0..n_packets {
                world.more(cast.client);
            }
            world.front(&from_client(&cast).rst());
            assert_state(&world, Closing);
        });
    }
}

#[test]
fn a_port_that_is_used_again_after_its_connection_was_closed_is_a_new_flow() {
    each(TCP, |world, cast| {
        let first = world.begin(cast.client);
        world.front(&from_client(&cast).rst());
        assert_ne!(world.begin(cast.client), first);
        assert_state(&world, Syn);
    });
}

#[test]
fn a_connection_that_is_not_known_here_is_taken_on() {
    each(TCP, |world, cast| {
        let backend = world.more(cast.client);
        assert_state(&world, Syn);
        assert_eq!(world.more(cast.client), backend);
        assert_state(&world, Established);
        assert_eq!(world.tables.drawn(world.listener), 0, "every director makes this choice alike");
    });
}

#[test]
fn datagrams_have_one_state_and_one_cell() {
    each(UDP, |world, cast| {
        let backend = world.begin(cast.client);
        for tick in 1..10 {
            world.tables.set_tick(tick * 28);
            assert_eq!(world.begin(cast.client), backend);
            assert_state(&world, Udp);
        }
        world.tables.set_tick(9 * 28 + 29);
        assert_ne!(world.begin(cast.client), backend, "it is forgotten after its timeout");
    });
}

#[test]
fn cells_are_written_once_a_tick_and_not_for_every_packet() {
    each(TCP, |world, cast| {
        world.begin(cast.client);
        world.more(cast.client);
        let cells = world.tables.cells();
        world.more(cast.client);
        assert_eq!(world.tables.cells(), cells);
        world.tables.set_tick(1);
        world.more(cast.client);
        let idle = world.tables.cells().into_iter().filter(|cell| !cell.is_empty());
        assert!(idle.map(|cell| cell.idle_ticks(1)).eq([0]));
    });
}

#[test]
fn flows_of_a_dead_backend_are_reset_kept_or_begun_anew() {
    for state in [BACKEND_DOWN_RESET, BACKEND_DOWN_KEEP] {
        each(TCP, |mut world, cast| {
            let backend = world.begin(cast.client);
            world.more(cast.client);
            world.tables.backends[world.backends[backend] as usize].state = state;
            let sent = world.front(&from_client(&cast).ack());
            let is_reset = state == BACKEND_DOWN_RESET;
            let expected = if is_reset { Verdict::ResetSent } else { Verdict::ToBackend };
            assert_eq!(sent.verdict, expected);
            assert_state(&world, if is_reset { Closing } else { Established });
            let others = world.backends[1..].to_vec();
            world.tables.set_slots(world.listener, &others);
            assert_ne!(world.begin(cast.client), backend);
            assert_state(&world, Syn);
        });
    }
    each(UDP, |mut world, cast| {
        let backend = world.begin(cast.client);
        world.tables.backends[world.backends[backend] as usize].state = BACKEND_DOWN_RESET;
        let others = world.backends[1..].to_vec();
        world.tables.set_slots(world.listener, &others);
        assert_ne!(world.begin(cast.client), backend);
        assert_state(&world, Udp);
    });
}

/// A world whose flow table is full of open connections.
fn full(cast: Cast, protocol: u8, forward: Forward) -> World {
    let tables = HostTables::with_buckets(2, HASH_KEY);
    let world = World::by_of(cast, protocol, forward, tables);
    for index in 0..16 {
        let cell = lb_common::cell::Cell::new(index as u64 + 1, 0, 0, Established, false);
        world.tables.set_cell(index, cell);
    }
    world
}

/// The backend that a packet goes to, which leaves nothing behind.
#[track_caller]
fn stateless(world: &World, packet: &Packet) -> usize {
    let cells = world.tables.cells();
    let sent = world.front(packet);
    assert_eq!(sent.verdict, Verdict::ToBackendUnremembered);
    assert_eq!(world.tables.cells(), cells);
    sent.backend()
}

#[test]
fn with_a_full_flow_table_all_packets_of_a_flow_go_to_the_backend_that_its_hash_names() {
    for cast in FAMILIES {
        for protocol in [TCP, UDP] {
            for forward in TUNNELS.into_iter().chain([Forward::Dsr]) {
                let world = full(cast, protocol, forward);
                let mut seen = [0; 3];
                for number in 0..60 {
                    let opening = opening(protocol, cast.client_number(number), cast.vip);
                    let backend = stateless(&world, &opening);
                    for _ in 0..4 {
                        assert_eq!(stateless(&world, &opening), backend);
                    }
                    if protocol == TCP {
                        let data = from_client(&cast).from(cast.client_number(number)).ack();
                        assert_eq!(stateless(&world, &data), backend);
                        // Another director, or the same one with room, makes the same choice.
                        let roomy = World::by(cast, protocol, forward);
                        assert_eq!(roomy.front(&data).backend(), backend);
                    }
                    seen[backend] += 1;
                }
                assert!(seen.iter().all(|count| *count > 5), "{seen:?}");
            }
        }
    }
}

#[test]
fn with_a_full_flow_table_nothing_goes_to_a_backend_that_is_down() {
    for cast in FAMILIES {
        for forward in TUNNELS.into_iter().chain([Forward::Dsr]) {
            let mut world = full(cast, TCP, forward);
            let rest = world.backends[1..].to_vec();
            world.tables.backends[world.backends[0] as usize].state = BACKEND_DOWN_RESET;
            world.tables.set_slots(world.listener, &rest);
            for number in 0..30 {
                let packet = opening(TCP, cast.client_number(number), cast.vip);
                assert_ne!(stateless(&world, &packet), 0);
            }
        }
    }
}
