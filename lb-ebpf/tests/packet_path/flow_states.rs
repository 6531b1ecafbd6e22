//! What the two cells of a flow remember.

use lb_common::cell::{Cell, State};
use lb_common::layout::Detail;
use lb_common::verdict::Verdict;
use lb_ebpf::detail::detail_matches;
use proptest::prelude::*;

use crate::cast::packet::{Packet, tcp};
use crate::cast::{
    BACK, Cast, DIRECTOR_BACK, FAMILIES, FRONT, ROUTER, SERVERS, TCP, UDP, V4, World, answer,
};

use State::{Closing, Established, HalfClosed, Syn, SynAck, Udp};

/// The longest that an established flow may be idle in the tests' tables, in ticks.
const ESTABLISHED_TICKS: u64 = 1_677;

/// A segment of the client.
pub fn from_client(cast: &Cast) -> Packet {
    tcp(cast.client, cast.vip)
}

/// A segment of the backend that the first flow is given to.
pub fn from_backend(cast: &Cast) -> Packet {
    tcp(cast.backends[0], cast.client).link(SERVERS[0], DIRECTOR_BACK)
}

#[track_caller]
fn assert_states(world: &World, flow: State, reply: State) {
    assert_eq!(world.states(), (vec![flow], vec![reply]));
}

#[test]
fn a_handshake_goes_from_syn_over_syn_ack_to_established() {
    for cast in FAMILIES {
        let world = World::new(cast, TCP);
        world.front(&from_client(&cast).syn());
        assert_states(&world, Syn, Syn);
        world.back(&from_backend(&cast).syn().ack());
        assert_states(&world, Syn, SynAck);
        world.front(&from_client(&cast).ack());
        assert_states(&world, Established, Established);
        world.back(&from_backend(&cast).ack().payload(b"page"));
        assert_states(&world, Established, Established);
    }
}

#[test]
fn a_syn_that_comes_again_after_the_answer_undoes_nothing() {
    for cast in FAMILIES {
        let world = World::new(cast, TCP);
        world.front(&from_client(&cast).syn());
        world.back(&from_backend(&cast).syn().ack());
        for tick in 1..3 {
            world.tables.set_tick(tick);
            world.front(&from_client(&cast).syn());
            assert_states(&world, Syn, SynAck);
        }
        world.front(&from_client(&cast).ack());
        assert_states(&world, Established, Established);
    }
}

/// Sends a segment of the side that its sender is on.
fn send(world: &World, cast: &Cast, is_client: bool, change: impl Fn(Packet) -> Packet) {
    if is_client {
        world.front(&change(from_client(cast)));
    } else {
        world.back(&change(from_backend(cast)));
    }
}

#[test]
fn a_reset_of_either_side_closes_both_cells_for_good() {
    for cast in FAMILIES {
        for is_client in [true, false] {
            let world = World::new(cast, TCP);
            world.establish(cast.client);
            send(&world, &cast, is_client, Packet::rst);
            for tick in 1..4 {
                assert_states(&world, Closing, Closing);
                world.tables.set_tick(tick);
                world.front(&from_client(&cast).ack());
                world.back(&from_backend(&cast).ack());
            }
            assert_states(&world, Closing, Closing);
        }
    }
}

#[test]
fn a_connection_is_half_closed_until_both_sides_have_sent_a_fin() {
    for cast in FAMILIES {
        for is_client in [true, false] {
            let world = World::new(cast, TCP);
            world.establish(cast.client);
            let (flow, reply) =
                if is_client { (HalfClosed, Established) } else { (Established, HalfClosed) };
            for tick in 1..4 {
                // It comes again, and the other side goes on talking.
                send(&world, &cast, is_client, |packet| packet.fin().ack());
                send(&world, &cast, !is_client, Packet::ack);
                assert_states(&world, flow, reply);
                world.tables.set_tick(tick * ESTABLISHED_TICKS);
            }
            send(&world, &cast, !is_client, |packet| packet.fin().ack());
            assert_states(&world, Closing, Closing);
        }
    }
}

#[test]
fn a_fin_before_the_handshake_is_done_closes_the_connection() {
    for cast in FAMILIES {
        let world = World::new(cast, TCP);
        world.front(&from_client(&cast).syn());
        world.front(&from_client(&cast).fin().ack());
        assert_states(&world, Closing, Closing);
    }
}

#[test]
fn a_backend_that_refuses_the_connection_closes_it() {
    for cast in FAMILIES {
        let world = World::new(cast, TCP);
        world.front(&from_client(&cast).syn());
        world.back(&from_backend(&cast).rst().ack());
        assert_states(&world, Closing, Closing);
    }
}

#[test]
fn datagrams_have_one_state() {
    for cast in FAMILIES {
        let world = World::new(cast, UDP);
        world.establish(cast.client);
        world.more(cast.client);
        assert_states(&world, Udp, Udp);
    }
}

#[test]
fn an_adopted_connection_is_established_when_both_sides_were_heard() {
    for cast in FAMILIES {
        let world = World::new(cast, TCP);
        let index = world.more(cast.client);
        assert_states(&world, Syn, Syn);
        world.back(&tcp(cast.backends[index], cast.client).ack().link(SERVERS[0], DIRECTOR_BACK));
        assert_states(&world, Syn, SynAck);
        world.more(cast.client);
        assert_states(&world, Established, Established);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Nobody can fill the table with flows that are never evicted without hearing a backend's answer.
    #[test]
    fn a_client_alone_never_establishes_a_flow(flags in prop::collection::vec(0..64_u8, 1..30)) {
        for cast in FAMILIES {
            let world = World::new(cast, TCP);
            for (tick, flags) in flags.iter().enumerate() {
                world.tables.set_tick(tick as u64 / 4);
                let mut bytes = from_client(&cast).bytes();
                let at = bytes.len() - 20 + 13;
                bytes[at] = *flags;
                world.frame(&bytes, crate::cast::FRONT);
            }
            let (flows, replies) = world.states();
            prop_assert!(flows.iter().chain(&replies).all(|state| matches!(state, Syn | Closing)));
        }
    }
}

#[test]
fn cells_are_written_once_a_tick_and_not_for_every_packet() {
    for cast in FAMILIES {
        let world = World::new(cast, TCP);
        world.establish(cast.client);
        let cells = world.tables.cells();
        for (number, cell) in cells.iter().enumerate().filter(|(_, cell)| !cell.is_empty()) {
            // A write would give the cell its old state and age back: it would not be what it is here.
            world.tables.set_cell(number, Cell(cell.0));
        }
        world.more(cast.client);
        world.back(&from_backend(&cast).ack());
        assert_eq!(world.tables.cells(), cells);
        world.tables.set_tick(1);
        world.more(cast.client);
        let idle = world.tables.cells().into_iter().filter(|cell| !cell.is_empty());
        assert!(idle.map(|cell| cell.idle_ticks(1)).eq([0, 0]));
    }
}

#[test]
fn flows_that_other_rules_accepted_are_noted_under_those_of_now() {
    for cast in FAMILIES {
        let mut world = World::new(cast, TCP);
        world.establish(cast.client);
        world.tables.settings.generation = 2;
        world.more(cast.client);
        world.back(&from_backend(&cast).ack());
        let used = world.tables.cells().into_iter().filter(|cell| !cell.is_empty());
        assert!(used.map(Cell::generation).eq([2, 2]));
        assert_states(&world, Established, Established);
    }
}

#[test]
fn every_cell_has_a_detail_that_hashes_to_it() {
    for cast in FAMILIES {
        let world = World::new(cast, TCP);
        for number in 0..200 {
            world.establish(cast.client_number(number));
        }
        let details = world.tables.details();
        let cells = world.tables.cells().into_iter().zip(&details);
        let used: Vec<_> = cells.filter(|(cell, _)| !cell.is_empty()).collect();
        assert_eq!(used.len(), 400);
        let key = world.tables.settings.hash_key;
        let matches = |cell: &Cell, detail: &Detail, tag: u64| {
            let backend = &world.tables.backends[cell.backend() as usize];
            detail_matches(&key, detail, backend, cell.is_reply(), tag)
        };
        assert!(used.iter().all(|(cell, detail)| matches(cell, detail, cell.tag())));
        assert!(used.iter().all(|(cell, detail)| !matches(cell, detail, cell.tag() ^ 1)));
    }
}

#[test]
fn a_reply_s_cell_that_was_lost_is_taken_again() {
    let world = World::new(V4, TCP);
    world.establish(V4.client);
    let lost = world.tables.cells().iter().position(|cell| cell.is_reply()).unwrap();
    world.tables.set_cell(lost, Cell::EMPTY);
    assert_eq!(world.back(&from_backend(&V4).ack()).verdict, Verdict::NotOurs);
    world.tables.set_tick(1);
    world.more(V4.client);
    assert_states(&world, Established, Established);
    assert_eq!(world.back(&from_backend(&V4).ack()).verdict, Verdict::ToClient);
}

#[test]
fn a_frame_for_another_machine_is_not_ours() {
    for cast in FAMILIES {
        let world = World::new(cast, TCP);
        let flooded = tcp(cast.client, cast.vip).syn().link(SERVERS[2], [2, 0, 0, 0, 0xee, 1]);
        assert_eq!(world.front(&flooded).verdict, Verdict::NotOurs);
        world.begin(cast.client);
        let reply = answer(TCP, cast.backends[0], cast.client);
        let flooded = reply.link(SERVERS[0], [2, 0, 0, 0, 0xee, 1]);
        assert_eq!(world.back(&flooded).verdict, Verdict::NotOurs);
    }
}

#[test]
fn a_frame_for_a_virtual_router_is_ours_while_it_is_active_here() {
    for (cast, family) in FAMILIES.into_iter().zip([1, 2]) {
        let mut world = World::new(cast, TCP);
        let mac = [0, 0, 0x5e, 0, family, 51];
        world.establish(cast.client);
        let mut other = cast.client;
        other.set_port(cast.client.port() + 1);
        let opening = tcp(other, cast.vip).syn().link(ROUTER, mac);
        let going_on = tcp(cast.client, cast.vip).ack().link(ROUTER, mac);
        let back = tcp(cast.backends[0], cast.client).ack().link(SERVERS[0], mac);
        let verdicts = |world: &World| {
            [world.front(&opening), world.front(&going_on), world.back(&back)]
                .map(|sent| sent.verdict)
        };
        assert_eq!(verdicts(&world), [Verdict::NotOurs; 3]);
        // One of the same id on another interface is another router, as is one of another id.
        world.tables.add_virtual_mac(BACK + 1, mac);
        world.tables.add_virtual_mac(FRONT, [0, 0, 0x5e, 0, family, 52]);
        assert_eq!(verdicts(&world), [Verdict::NotOurs; 3]);
        world.tables.add_virtual_mac(FRONT, mac);
        let [to_backend, not_ours] = [Verdict::ToBackend, Verdict::NotOurs];
        assert_eq!(verdicts(&world), [to_backend, to_backend, not_ours]);
        world.tables.add_virtual_mac(BACK, mac);
        assert_eq!(verdicts(&world), [to_backend, to_backend, Verdict::ToClient]);
    }
}

#[test]
fn the_rotation_goes_on_where_32_bits_end() {
    let world = World::new(V4, TCP);
    world.tables.set_drawn(0, u64::from(u32::MAX));
    let next = |port| {
        let mut client = V4.client;
        client.set_port(port);
        world.begin(client)
    };
    let n_backends = V4.backends.len();
    let first = next(1);
    assert_eq!(next(2), (first + 1) % n_backends);
    assert_eq!(next(3), (first + 2) % n_backends);
}

#[test]
fn a_backend_that_answers_a_direct_client_from_a_port_just_closed_is_left_alone() {
    for cast in FAMILIES {
        let world = World::new(cast, TCP);
        let index = world.establish(cast.client);
        world.front(&tcp(cast.client, cast.vip).rst());
        let answer = answer(TCP, cast.backends[index], cast.client);
        let answer = answer.link(SERVERS[index], DIRECTOR_BACK);
        assert_eq!(world.back(&answer).verdict, Verdict::NotOurs);
        let data = tcp(cast.backends[index], cast.client).ack().link(SERVERS[index], DIRECTOR_BACK);
        assert_eq!(world.back(&data).verdict, Verdict::NotOurs);
    }
}
