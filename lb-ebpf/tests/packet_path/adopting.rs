//! What one director tells of its flows, and what another one makes of it.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use lb_common::cell::State;
use lb_common::layout::Forward;
use lb_common::verdict::Verdict;
use lb_ebpf::adopt::{Adopted, Holder, Told, adopt};
use lb_ebpf::host::HostTables;
use proptest::prelude::*;

use crate::cast::packet::tcp;
use crate::cast::ways::{TUNNELS, WAYS};
use crate::cast::{Cast, FAMILIES, PROTOCOLS, SERVERS, TCP, UDP, V4, World, answer, opening};

/// Another key than that of the first director, and another size.
const OTHER_KEY: [u64; 2] = [77, 78];

/// A director with the same backends under other ids, another hash key and another size of the flow table.
fn other_director(cast: Cast, protocol: u8, forward: Forward) -> World {
    let mut world = World::by_of(cast, protocol, forward, HostTables::new(2_048, OTHER_KEY));
    // The first id goes to nobody, and all others move on by one.
    let ids = &world.backends;
    let (first, last) = (ids[0] as usize, ids[2] as usize);
    let spare = world.tables.backends[last];
    world.tables.backends.push(spare);
    for id in (first..=last).rev() {
        world.tables.backends[id + 1] = world.tables.backends[id];
    }
    world.backends = ids.iter().map(|id| id + 1).collect();
    world.tables.set_slots(world.listener, &world.backends.clone());
    world.tables.settings.generation = 2;
    world
}

/// What a director would tell of all its cells.
fn all_of(from: &World, to: &World, tick: u64) -> Vec<Told> {
    let cells = from.tables.cells().into_iter().zip(from.tables.details());
    let used = cells.filter(|(cell, _)| !cell.is_empty());
    used.map(|(cell, detail)| {
        let index = from.backends.iter().position(|id| *id == cell.backend()).unwrap();
        Told {
            backend: to.backends[index],
            state: cell.state().unwrap(),
            is_reply: cell.is_reply(),
            is_translated: cell.is_translated(),
            holder: Holder::Unknown,
            idle_ticks: cell.idle_ticks(tick),
            detail,
        }
    })
    .collect()
}

fn tell(from: &World, to: &World, tick: u64) -> Vec<Adopted> {
    all_of(from, to, tick).iter().map(|told| adopt(&to.tables, told, tick)).collect()
}

fn all_at(adopted: &[Adopted]) -> bool {
    !adopted.is_empty() && adopted.iter().all(|adopted| matches!(adopted, Adopted::At(..)))
}

/// The live cells without their place and the rules that accepted them.
fn contents(world: &World, tick: u64) -> BTreeSet<(usize, bool, u64, SocketAddr)> {
    let cells = world.tables.cells().into_iter().zip(world.tables.details());
    let timeouts = &world.tables.settings.timeouts;
    let used = cells.filter(|(cell, _)| !cell.is_empty() && !cell.is_expired(tick, timeouts));
    used.map(|(cell, detail)| {
        let index = world.backends.iter().position(|id| *id == cell.backend()).unwrap();
        let client =
            lb_common::layout::socket(&detail.client, detail.client_port, detail.family).unwrap();
        (index, cell.is_reply(), cell.state_number(), client)
    })
    .collect()
}

#[test]
fn a_flow_goes_on_at_the_other_director_by_every_way_of_forwarding() {
    for (cast, protocol) in FAMILIES.into_iter().flat_map(|cast| PROTOCOLS.map(|it| (cast, it))) {
        for forward in WAYS {
            let first = World::by(cast, protocol, forward);
            let second = other_director(cast, protocol, forward);
            for number in 0..50 {
                let client = cast.client_number(number);
                let opened = first.front(&opening(protocol, client, cast.vip));
                assert_eq!(opened.verdict, Verdict::ToBackend);
                assert!(all_at(&tell(&first, &second, 0)), "{forward:?}");
                let more = if protocol == TCP {
                    tcp(client, cast.vip).ack().payload(b"more")
                } else {
                    opening(protocol, client, cast.vip)
                };
                let (here, there) = (first.front(&more), second.front(&more));
                assert_eq!(here.verdict, there.verdict);
                assert_eq!(here.backend(), there.backend(), "{forward:?} {client}");
                // What is in front varies with the hash, whose key is another one here.
                if !TUNNELS.contains(&forward) {
                    assert_eq!(here.bytes, there.bytes, "{forward:?} {client}");
                }
            }
        }
    }
}

#[test]
fn an_answer_may_be_the_first_that_the_other_director_sees_of_a_flow() {
    for (cast, protocol) in FAMILIES.into_iter().flat_map(|cast| PROTOCOLS.map(|it| (cast, it))) {
        let (first, second) = (World::new(cast, protocol), World::new(cast, protocol));
        let backend = cast.backends[first.begin(cast.client)];
        assert!(all_at(&tell(&first, &second, 0)));
        let answer = answer(protocol, backend, cast.client);
        let (here, there) = (first.back(&answer), second.back(&answer));
        assert_eq!(there.verdict, Verdict::ToClient);
        assert_eq!((here.exit, here.bytes), (there.exit, there.bytes));
    }
}

#[test]
fn without_a_way_back_an_answer_waits_for_the_clients_next_packet() {
    let (first, second) = (World::new(V4, TCP), World::new(V4, TCP));
    let backend = V4.backends[first.establish(V4.client)];
    for mut told in all_of(&first, &second, 0) {
        told.detail.hop_interface = 0;
        adopt(&second.tables, &told, 0);
    }
    let answer =
        tcp(backend, V4.client).ack().payload(b"page").link(SERVERS[0], crate::cast::DIRECTOR_BACK);
    assert_eq!(second.back(&answer).verdict, Verdict::NoNextHop);
    second.more(V4.client);
    assert_eq!(second.back(&answer).verdict, Verdict::ToClient);
}

#[test]
fn a_source_of_full_nat_that_was_told_is_not_given_again() {
    for cast in FAMILIES {
        let first = World::by(cast, TCP, Forward::FullNat);
        let second = World::by(cast, TCP, Forward::FullNat);
        let ports = |world: &World| {
            let cells = world.tables.cells().into_iter().zip(world.tables.details());
            let flows = cells.filter(|(cell, _)| !cell.is_empty() && !cell.is_reply());
            flows.map(|(cell, detail)| (cell.backend(), detail.source_port)).collect::<Vec<_>>()
        };
        for number in 0..200 {
            first.begin(cast.client_number(number));
        }
        assert!(all_at(&tell(&first, &second, 0)));
        for number in 200..400 {
            second.begin(cast.client_number(number));
        }
        let given = ports(&second);
        assert_eq!(given.len(), 400);
        assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), 400, "one was given twice");
    }
}

#[test]
fn what_is_told_twice_or_told_back_changes_nothing() {
    let first = World::new(V4, TCP);
    let second = other_director(V4, TCP, Forward::Nat);
    for number in 0..100 {
        first.establish(V4.client_number(number));
    }
    assert!(all_at(&tell(&first, &second, 0)));
    let cells = (first.tables.cells(), second.tables.cells());
    assert!(all_at(&tell(&first, &second, 0)) && all_at(&tell(&second, &first, 0)));
    assert_eq!((first.tables.cells(), second.tables.cells()), cells);
    assert_eq!(contents(&first, 0), contents(&second, 0));
}

/// Both directors have begun the same flow with different backends while they did not hear each other; then the
/// first one is told. Returns the backends of both, and the one where the flow goes on.
fn after_a_split(holder: Holder, is_seen_last_here: bool) -> [usize; 3] {
    let (first, second) = (World::new(V4, TCP), World::new(V4, TCP));
    // One turn more, so that the next one is another backend's.
    second.begin(V4.client_number(7));
    let (mine, theirs) = (first.establish(V4.client), second.establish(V4.client));
    for world in [&first, &second] {
        world.tables.set_tick(3);
    }
    if is_seen_last_here {
        first.more(V4.client)
    } else {
        second.more(V4.client)
    };
    for told in all_of(&second, &first, 3) {
        adopt(&first.tables, &Told { holder, ..told }, 3);
    }
    [mine, theirs, first.more(V4.client)]
}

#[test]
fn of_two_that_have_served_a_flow_the_one_holds_that_has_the_vip() {
    for last in [true, false] {
        // Where nobody knows: who saw it last.
        for (holder, stays) in
            [(Holder::Here, true), (Holder::There, false), (Holder::Unknown, last)]
        {
            let [mine, theirs, now] = after_a_split(holder, last);
            assert_ne!(mine, theirs);
            assert_eq!(now == mine, stays, "{holder:?}, seen last here: {last}");
        }
    }
}

#[test]
fn a_flow_that_was_told_is_looked_at_by_the_rules_of_this_director() {
    // Before there are rules; under rules; and while they change too often for a number of their own.
    for (generation, told, served) in [(0, 3, 0), (2, 0, 2), (4, 0, 0)] {
        let (first, mut second) = (World::new(V4, TCP), other_director(V4, TCP, Forward::Nat));
        second.tables.settings.generation = generation;
        first.establish(V4.client);
        tell(&first, &second, 0);
        let cells = || second.tables.cells().into_iter().filter(|cell| !cell.is_empty());
        assert!(cells().all(|cell| cell.generation() == told), "{told}");
        second.more(V4.client);
        assert!(cells().all(|cell| cell.generation() == served), "{served}");
    }
}

#[test]
fn of_two_choices_the_later_one_holds_and_of_equals_the_own() {
    let (first, second) = (World::new(V4, UDP), World::new(V4, UDP));
    second.tables.set_drawn(0, 1);
    let theirs = first.begin(V4.client);
    let own = second.begin(V4.client);
    assert_ne!(own, theirs);
    assert!(tell(&first, &second, 0).contains(&Adopted::Newer));
    assert_eq!(second.more(V4.client), own);
    first.tables.set_tick(2);
    second.tables.set_tick(2);
    first.more(V4.client);
    tell(&first, &second, 2);
    assert_eq!(second.more(V4.client), theirs);
}

#[test]
fn a_connection_that_ends_and_begins_anew_is_followed() {
    let (first, second) = (World::new(V4, TCP), World::new(V4, TCP));
    for _ in 0..3 {
        first.establish(V4.client);
        tell(&first, &second, 0);
        assert_eq!(second.states(), (vec![State::Established], vec![State::Established]));
        first.front(&tcp(V4.client, V4.vip).rst());
        tell(&first, &second, 0);
        assert_eq!(second.states(), (vec![State::Closing], vec![State::Closing]));
        // The next one is given to the same backend, as the port has cells there.
        first.tables.set_drawn(0, 0);
        first.front(&tcp(V4.client, V4.vip).syn());
        tell(&first, &second, 0);
        assert_eq!(second.states(), (vec![State::Syn], vec![State::Syn]));
    }
}

#[test]
fn an_established_flow_makes_room_for_none_and_a_closing_one_does() {
    let first = World::new(V4, TCP);
    let small = |world: World| {
        World::of(V4, TCP, HostTables::with_buckets(2, OTHER_KEY), world.backends[0] + 2)
    };
    let second = small(World::new(V4, TCP));
    for number in 0..40 {
        first.establish(V4.client_number(number));
    }
    let adopted = tell(&first, &second, 0);
    let n_places = adopted.iter().filter(|adopted| matches!(adopted, Adopted::At(..))).count();
    assert!((8..=16).contains(&n_places) && adopted.contains(&Adopted::NoPlace));
    let before = contents(&second, 0);
    let new = World::new(V4, TCP);
    for number in 100..110 {
        new.establish(V4.client_number(number));
    }
    tell(&new, &second, 0);
    assert!(contents(&second, 0).is_superset(&before));
    for (index, cell) in second.tables.cells().into_iter().enumerate() {
        second.tables.set_cell(index, cell.seen(0, State::Closing));
    }
    assert!(tell(&new, &second, 0).iter().any(|adopted| matches!(adopted, Adopted::At(..))));
}

#[test]
fn what_is_idle_or_nobodys_is_not_taken_in_and_nothing_is_while_flows_move() {
    let (first, mut second) = (World::new(V4, UDP), World::new(V4, UDP));
    first.begin(V4.client);
    first.tables.set_tick(1_000);
    assert_eq!(tell(&first, &second, 1_000), [Adopted::Void; 2]);
    let free = 100;
    let nobodys = all_of(&first, &second, 0).into_iter().map(|told| Told { backend: free, ..told });
    assert!(nobodys.into_iter().all(|told| adopt(&second.tables, &told, 0) == Adopted::Void));
    second.tables.settings.other_mask = 3;
    assert_eq!(tell(&first, &second, 0), [Adopted::NotNow; 2]);
    assert!(second.tables.cells().iter().all(|cell| cell.is_empty()));
}

#[test]
fn only_new_flows_and_new_states_have_a_mark() {
    for cast in FAMILIES {
        let world = World::new(cast, TCP);
        let marked = || !world.tables.take_marks().is_empty();
        assert!(!marked());
        world.front(&opening(TCP, cast.client, cast.vip));
        assert!(marked());
        world.back(&answer(TCP, cast.backends[0], cast.client));
        assert!(marked());
        world.more(cast.client);
        assert!(marked());
        for tick in 0..3 {
            world.tables.set_tick(tick);
            world.more(cast.client);
            assert!(!marked(), "at tick {tick}");
        }
        world.front(&tcp(cast.client, cast.vip).ack().fin());
        assert!(marked());
    }
}

/// A packet of one of eight clients, or an answer to one, and whether the other director hears of it at once.
fn step() -> impl Strategy<Value = (u32, u8, u64, bool)> {
    (0..8_u32, 0..5_u8, 0..3_u64, any::<bool>())
}

proptest! {
    #[test]
    fn whatever_is_lost_the_last_word_is_what_both_know(steps in prop::collection::vec(step(), 1..60)) {
        let (first, second) = (World::new(V4, TCP), other_director(V4, TCP, Forward::Nat));
        let mut tick = 10;
        for (number, kind, ticks, is_heard) in steps {
            tick += ticks;
            first.tables.set_tick(tick);
            second.tables.set_tick(tick);
            let client = V4.client_number(number);
            let packet = tcp(client, V4.vip);
            match kind {
                0 => drop(first.front(&packet.syn())),
                1 => drop(first.front(&packet.ack())),
                2 => drop(first.front(&packet.ack().fin())),
                3 => drop(first.front(&packet.rst())),
                _ => V4.backends.iter().for_each(|backend| {
                    drop(first.back(&answer(TCP, *backend, client)));
                }),
            }
            if is_heard {
                tell(&first, &second, tick);
            }
        }
        tell(&first, &second, tick);
        // What the first one has forgotten may live on in the second.
        prop_assert!(contents(&second, tick).is_superset(&contents(&first, tick)));
    }
}
