//! A rule that lets each source have so many flows open: it is about what opens one, and nothing else.

use lb_common::cell::Cell;
use lb_common::layout::{BACKEND_DOWN_KEEP, Load, Scheduler};
use lb_common::verdict::Verdict;
use lb_ebpf::host::HostFirewall;

use crate::cast::firewall::dropping;
use crate::cast::packet::{Packet, icmp, tcp, udp};
use crate::cast::{Cast, FAMILIES, PROTOCOLS, TCP, UDP, World, answer, opening};

/// A source that has as many flows as it may.
fn at_limit(cast: Cast, protocol: u8) -> World {
    let mut world = World::new(cast, protocol);
    world.let_open(2);
    for number in 0..2 {
        world.begin(cast.client_number(number));
    }
    world
}

/// How many flows each backend has, by what is counted.
fn loads(world: &World) -> [u64; 3] {
    let flows = |Load { base, change, .. }: Load| Load::flows(base, change);
    [0, 1, 2].map(|index| flows(world.tables.load_of(world.backends[index])))
}

#[track_caller]
fn front(world: &World, packet: &Packet, verdict: Verdict) {
    assert_eq!(world.front(packet).verdict, verdict, "{packet:?}");
}

#[test]
fn one_flow_too_many_is_refused_whatever_opens_it() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let world = at_limit(cast, protocol);
            let third = cast.client_number(2);
            front(&world, &opening(protocol, third, cast.vip), Verdict::FirewallDrop);
            // Of a connection that was made elsewhere.
            if protocol == TCP {
                front(&world, &tcp(third, cast.vip).ack(), Verdict::FirewallDrop);
            }
            assert_eq!(world.n_open(), 2);
            world.begin(cast.client_number(50_000));
        }
    }
}

#[test]
fn what_opens_no_flow_goes_on() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let world = at_limit(cast, protocol);
            for number in 0..2 {
                world.more(cast.client_number(number));
            }
            let (client, elsewhere) = (cast.client, cast.other_vip);
            let kind = if cast.vip.is_ipv4() { 8 } else { 128 };
            for packet in [
                tcp(client, elsewhere).syn(),
                udp(client, elsewhere),
                udp(client, elsewhere).payload(&[1; 64]).fragment(9, false),
                icmp(client.ip(), elsewhere.ip(), kind, 0),
            ] {
                front(&world, &packet, Verdict::NotOurs);
            }
            front(&world, &icmp(client.ip(), cast.vip.ip(), kind, 0), Verdict::VipControl);
            assert_eq!(world.n_open(), 2);
        }
    }
}

#[test]
fn what_ends_a_connection_goes_on_and_the_next_one_from_its_port_needs_room() {
    for cast in FAMILIES {
        let world = at_limit(cast, TCP);
        let third = cast.client_number(2);
        front(&world, &tcp(third, cast.vip).rst(), Verdict::ToBackend);
        front(&world, &tcp(third, cast.vip).syn(), Verdict::FirewallDrop);
        front(&world, &tcp(cast.client_number(0), cast.vip).rst(), Verdict::ToBackend);
        assert_eq!(world.n_open(), 1);
        front(&world, &tcp(third, cast.vip).syn(), Verdict::ToBackend);
        assert_eq!(world.n_open(), 2);
    }
}

#[test]
fn a_refused_reply_whose_client_s_cell_is_gone_ends_nobody_s_flow() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let mut world = World::new(cast, protocol);
            world.tables.set_scheduler(world.listener, Scheduler::LeastLoad);
            world.let_open(100);
            let clients = (0..20).map(|number| cast.client_number(number));
            let flows: Vec<_> = clients.map(|client| (client, world.begin(client))).collect();
            let before = (loads(&world), world.n_open());
            assert_eq!((before.0.iter().sum::<u64>(), before.1), (20, 20));
            for (index, cell) in world.tables.cells().into_iter().enumerate() {
                if !cell.is_empty() && !cell.is_reply() {
                    world.tables.set_cell(index, Cell::EMPTY);
                }
            }
            let source_flows = world.tables.firewall.source_flows.clone();
            world.tables.firewall = HostFirewall { source_flows, ..dropping() };
            world.tables.settings.generation = 2;
            for (client, backend) in flows {
                let reply = answer(protocol, cast.backends[backend], client);
                assert_eq!(world.back(&reply).verdict, Verdict::FirewallDrop);
            }
            assert_eq!((loads(&world), world.n_open()), before);
            assert!(world.tables.cells().iter().all(|cell| cell.is_empty()));
        }
    }
}

#[test]
fn a_datagram_that_moves_on_is_counted_where_it_goes_and_nowhere_else() {
    for cast in FAMILIES {
        let mut world = World::new(cast, UDP);
        world.tables.set_scheduler(world.listener, Scheduler::LeastLoad);
        world.let_open(100);
        let clients = (0..20).map(|number| cast.client_number(number));
        let first: Vec<_> = clients.filter(|client| world.begin(*client) == 0).collect();
        let [n_first, b, c] = loads(&world);
        assert!(n_first > 0 && u64::try_from(first.len()) == Ok(n_first));
        world.tables.backends[world.backends[0] as usize].state = BACKEND_DOWN_KEEP;
        world.tables.set_slots(world.listener, &world.backends[1..]);
        for client in first {
            assert_ne!(world.more(client), 0);
        }
        let [none, d, e] = loads(&world);
        assert_eq!((none, d + e), (0, n_first + b + c));
        assert_eq!(world.n_open(), 20);
    }
}
