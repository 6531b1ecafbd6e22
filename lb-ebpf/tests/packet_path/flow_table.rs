//! Places in the flow table: who is evicted, what a crowded table does, and cells that look alike.

use std::net::SocketAddr;

use lb_common::cell::{Cell, State, TAG_BITS};
use lb_common::layout::{CELLS_PER_BUCKET, Detail, endpoint};
use lb_common::verdict::Verdict;
use lb_ebpf::flight::Watch;
use lb_ebpf::flow::{Flows, Kind, Tuple};
use lb_ebpf::host::{HostTables, NextHop, hash_key};
use lb_ebpf::v4::V4 as Ipv4;
use proptest::prelude::*;

use crate::cast::{
    BACK, Cast, DIRECTOR_BACK, FAMILIES, HASH_KEY, PROTOCOLS, SERVERS, TCP, UDP, V4, World, answer,
    opening,
};

const NOW: u64 = 500;
const ESTABLISHED: Kind = Kind { state: State::Established, is_translated: false };

fn flows(tables: &HostTables) -> Flows<'_, HostTables> {
    Flows { tables, settings: &tables.settings, tick: NOW, watch: Watch::NO }
}

/// Two buckets of established flows; whatever the hash, these are the two of every flow.
fn full_of_established() -> HostTables {
    let tables = HostTables::with_buckets(2, HASH_KEY);
    for index in 0..2 * CELLS_PER_BUCKET {
        tables.set_cell(index, Cell::new(index as u64, 1, NOW - 400, State::Established, false));
    }
    tables
}

/// The index of the cell that a new flow takes.
fn taken(tables: &HostTables, hash: u64) -> Option<usize> {
    let taken = flows(tables).insert(hash, 7, ESTABLISHED, false);
    (!taken.is_none()).then(|| taken.place.index() as usize)
}

/// The least worthy first.
fn victims() -> Vec<Cell> {
    let cell = |tick, state| Cell::new(99, 2, tick, state, false);
    vec![
        cell(NOW - 29, State::Udp),
        cell(NOW, State::Closing),
        cell(NOW, State::Syn),
        cell(NOW, State::Udp),
    ]
}

#[test]
fn of_two_cpus_that_see_a_flow_end_one_is_told() {
    let tables = HostTables::with_buckets(2, HASH_KEY);
    let flows = flows(&tables);
    let begin = || flows.insert(5, 7, ESTABLISHED, false);
    let read_by_both = begin();
    // What one has written, the other tries to write once more.
    assert!(flows.touch(&read_by_both, State::Closing));
    assert!(!flows.touch(&read_by_both, State::Closing));
    let read_by_both = begin();
    assert!(!flows.touch(&read_by_both, State::HalfClosed));
    assert!(flows.touch(&read_by_both, State::Closing), "it was open until now");
    let read_by_both = begin();
    assert!(flows.remove(&read_by_both));
    assert!(!flows.touch(&read_by_both, State::Closing) && !flows.remove(&read_by_both));
}

proptest! {
    #[test]
    fn the_least_worthy_flow_makes_room_and_an_established_one_never(
        places in prop::sample::subsequence((0..16_usize).collect::<Vec<_>>(), 4).prop_shuffle(),
        hash: u64,
    ) {
        let tables = full_of_established();
        for (index, cell) in places.iter().zip(victims()) {
            tables.set_cell(*index, cell);
        }
        for (n, index) in places.iter().enumerate() {
            prop_assert_eq!(taken(&tables, hash.wrapping_mul(n as u64 + 3)), Some(*index), "{}", n);
        }
        prop_assert_eq!(taken(&tables, hash), None);
    }

    #[test]
    fn a_free_place_is_taken_before_any_flow_is_evicted(free in 0..16_usize, hash: u64) {
        let tables = full_of_established();
        for index in 0..16 {
            tables.set_cell(index, Cell::new(5, 2, NOW, State::Syn, true));
        }
        tables.set_cell(free, Cell::EMPTY);
        prop_assert_eq!(taken(&tables, hash), Some(free));
    }
}

#[test]
fn an_answered_syn_makes_room_like_an_unanswered_one() {
    let tables = full_of_established();
    tables.set_cell(3, Cell::new(9, 2, NOW, State::SynAck, true));
    tables.set_cell(12, Cell::new(9, 2, NOW, State::Udp, true));
    assert_eq!(taken(&tables, 1), Some(3));
    assert_eq!(taken(&tables, 2), Some(12));
    assert_eq!(taken(&tables, 3), None);
}

/// A flood of SYNs from everywhere takes no place of an established flow.
#[test]
fn established_flows_outlive_a_flood_of_syns() {
    for cast in FAMILIES {
        let tables = HostTables::new(64, HASH_KEY);
        let world = World::of(cast, TCP, tables, BACK);
        let homes: Vec<_> = (0..40).map(|n| world.establish(cast.client_number(n))).collect();
        for n in 100..5_000 {
            world.front(&opening(TCP, cast.client_number(n), cast.vip));
        }
        for (n, home) in homes.iter().enumerate() {
            assert_eq!(world.more(cast.client_number(n as u32)), *home);
        }
    }
}

/// Fills a table with 90 % of the flows that it is made for, and looks for each of them.
fn fill(cast: Cast, protocol: u8, key: [u64; 2], handshakes_overlap: bool) {
    const MAX_FLOWS: usize = 1_024;
    let world = World::of(cast, protocol, HostTables::new(MAX_FLOWS, key), BACK);
    let clients: Vec<_> = (0..MAX_FLOWS as u32 * 9 / 10).map(|n| cast.client_number(n)).collect();
    let mut homes = Vec::new();
    if handshakes_overlap {
        for client in &clients {
            world.begin(*client);
        }
    }
    for client in &clients {
        homes.push(world.establish(*client));
    }
    for (client, home) in clients.iter().zip(homes) {
        assert_eq!(world.more(*client), home, "{client} was moved, key {key:x?}");
        let reply = answer(protocol, cast.backends[home], *client);
        assert_eq!(world.back(&reply).verdict, Verdict::ToClient, "{client}, key {key:x?}");
    }
    assert_eq!(world.tables.drawn(world.listener), clients.len() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn at_nine_tenths_of_max_flows_none_is_moved_and_none_refused(key: [u64; 2], overlap: bool) {
        for cast in FAMILIES {
            for protocol in PROTOCOLS {
                fill(cast, protocol, key, overlap);
            }
        }
    }
}

proptest! {
    /// A flow of which only one direction is remembered would never hear an answer.
    #[test]
    fn a_new_flow_takes_two_cells_or_none(
        free in prop::collection::hash_set(0..32_usize, 0..4),
        number in 0..50_000_u32,
        (udp, v6) in any::<(bool, bool)>(),
    ) {
        let tables = HostTables::with_buckets(4, HASH_KEY);
        for index in (0..32).filter(|index| !free.contains(index)) {
            tables.set_cell(index, Cell::new(index as u64, 99, 0, State::Established, false));
        }
        let cast = FAMILIES[usize::from(v6)];
        let world = World::of(cast, PROTOCOLS[usize::from(udp)], tables, BACK);
        let before = world.tables.cells();
        let client = cast.client_number(number);
        let sent = world.front(&opening(world.protocol, client, cast.vip));
        if sent.verdict == Verdict::FlowTableFull {
            prop_assert_eq!(world.tables.cells(), before);
        } else {
            let reply = answer(world.protocol, cast.backends[sent.backend()], client);
            prop_assert_eq!(world.back(&reply).verdict, Verdict::ToClient);
            prop_assert!(free.len() >= 2);
        }
    }
}

/// The hash of a packet's 5-tuple.
fn hash(source: SocketAddr, destination: SocketAddr, protocol: u8) -> u64 {
    let ((source, source_port, _), (destination, destination_port, _)) =
        (endpoint(source), endpoint(destination));
    let (source, destination) = (source[0], destination[0]);
    let tuple = Tuple::<Ipv4> { source, destination, source_port, destination_port, protocol };
    tuple.hash(&hash_key(HASH_KEY))
}

/// Where a flow's first cell would be, and its tag.
fn place(world: &World, hash: u64) -> (usize, u64) {
    let bucket = (hash as u32 & world.tables.settings.bucket_mask) as usize;
    (bucket * CELLS_PER_BUCKET, hash >> (64 - TAG_BITS))
}

#[test]
fn a_cell_with_the_same_tag_never_sends_a_packet_to_another_service() {
    for protocol in PROTOCOLS {
        // A backend of another service, a free id, and one beyond the last.
        for id in [4, 77, 0xf_ffff] {
            let mut world = World::new(V4, protocol);
            world.add_other_vip(2);
            let (index, tag) = place(&world, hash(V4.client, V4.vip, protocol));
            let forged = Cell::new(tag, id, 0, State::Established, false);
            world.tables.set_cell(index, forged);
            assert_eq!(world.establish(V4.client), 0, "backend {id}");
            assert_eq!(world.more(V4.client), 0, "backend {id}");
            assert_eq!(world.tables.drawn(world.listener), 1, "backend {id}");
            assert_eq!(world.tables.cells()[index], forged);
        }
    }
}

#[test]
fn a_cell_of_the_other_direction_is_none_of_the_flow_s() {
    for protocol in PROTOCOLS {
        let world = World::new(V4, protocol);
        let (index, tag) = place(&world, hash(V4.client, V4.vip, protocol));
        world.tables.set_cell(index, Cell::new(tag, 2, 0, State::Established, true));
        assert_eq!(world.begin(V4.client), 0);
        assert_eq!(world.tables.drawn(world.listener), 1);
    }
}

#[test]
fn a_reply_s_cell_with_the_same_tag_is_held_against_address_port_and_protocol() {
    for (protocol, other) in [(TCP, UDP), (UDP, TCP)] {
        let mut world = World::new(V4, protocol);
        let listener = world.tables.add_listener(V4.vip, other);
        let foreign = world.add_backend(listener, 0, BACK);
        let mut endpoint = V4.backends[0];
        endpoint.set_port(8081);
        let hop = NextHop { interface: BACK, neighbour: SERVERS[0], source: DIRECTOR_BACK };
        let beside = world.tables.add_backend(world.listener, endpoint, hop);
        let (index, tag) = place(&world, hash(V4.backends[0], V4.client, protocol));
        let reply = answer(protocol, V4.backends[0], V4.client);
        for (id, is_reply, verdict) in [
            (foreign, true, Verdict::NotOurs),
            (beside, true, Verdict::NotOurs),
            (world.backends[1], true, Verdict::NotOurs),
            (world.backends[0], false, Verdict::NotOurs),
            (world.backends[0], true, Verdict::ToClient),
        ] {
            let state = if protocol == TCP { State::Established } else { State::Udp };
            world.tables.set_cell(index, Cell::new(tag, id, 0, state, is_reply));
            let detail: Vec<Detail> = world.tables.details();
            assert_eq!(detail[index].hop_interface, 0);
            let sent = world.back(&reply);
            // The forged cell has no way back to a client.
            let expected = if verdict == Verdict::ToClient { Verdict::NoNextHop } else { verdict };
            assert_eq!(sent.verdict, expected, "backend {id}, reply {is_reply}");
        }
    }
}
