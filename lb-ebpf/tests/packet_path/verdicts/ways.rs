//! What comes of the ways of forwarding, of fragments and of packets that are too long.

use lb_common::cell::{Cell, State};
use lb_common::layout::Forward;
use lb_common::verdict::Verdict;

use crate::cast::{BACK, Cast, FAMILIES, PROTOCOLS, TCP, UDP, World, answer, opening};

use super::{assert_verdict, front};

/// Fills the flow table with open connections of nobody.
fn fill(world: &World) {
    for index in 0..world.tables.cells().len() {
        let cell = Cell::new(1 + index as u64, 0, 0, State::Established, false);
        world.tables.set_cell(index, cell);
    }
}

/// A service with full NAT and the clients' router as its source.
fn with_full_nat(cast: Cast, protocol: u8, ports: u16) -> World {
    let mut world = World::by(cast, protocol, Forward::FullNat);
    let (words, _) = lb_common::layout::address(cast.director);
    let settings = &mut world.tables.settings;
    settings.nat_sources = [1, 1];
    settings.nat_v4[0] = words[0];
    settings.nat_v6[0] = words;
    (settings.nat_first_port, settings.nat_ports) = (20_000, ports);
    world
}

#[test]
fn to_backend_unremembered() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let world = World::by(cast, protocol, Forward::Dsr);
            fill(&world);
            let packet = opening(protocol, cast.client, cast.vip);
            let first = world.front(&packet).backend();
            front(&world, &packet, Verdict::ToBackendUnremembered);
            assert_eq!(world.front(&packet).backend(), first);
            assert_eq!(world.tables.traffic_of_listener(world.listener).flows, 0);
        }
    }
}

#[test]
fn too_big_reported_and_too_big() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let mut world = World::by(cast, protocol, Forward::IpipV4);
            for backend in &mut world.tables.backends {
                backend.mtu = 1_500;
            }
            let packet = opening(protocol, cast.client, cast.vip).payload(&[7; 1_460]);
            front(&world, &packet, Verdict::TooBigReported);
            world.tables.set_may_report(false);
            front(&world, &packet, Verdict::TooBig);
            assert_eq!(world.tables.traffic_of_listener(world.listener).dropped, 2);
        }
    }
}

#[test]
fn fragment_forwarded() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let world = World::new(cast, protocol);
            let whole = opening(protocol, cast.client, cast.vip).payload(&[7; 64]);
            let later = whole.clone().fragment(9, false);
            front(&world, &later, Verdict::Fragment);
            front(&world, &whole.clone().fragment(0, true), Verdict::ToBackend);
            front(&world, &later, Verdict::FragmentForwarded);
            let reply = answer(protocol, cast.backends[0], cast.client).payload(&[7; 64]);
            assert_verdict(&world, &reply.clone().fragment(0, true), BACK, Verdict::ToClient);
            assert_verdict(&world, &reply.fragment(9, false), BACK, Verdict::FragmentForwarded);
        }
    }
}

#[test]
fn sources_used_up() {
    for cast in FAMILIES {
        for protocol in [TCP, UDP] {
            let world = with_full_nat(cast, protocol, 1);
            let n_backends = world.backends.len() as u32;
            // One port reaches each backend once.
            for number in 0..n_backends {
                let client = cast.client_number(number);
                front(&world, &opening(protocol, client, cast.vip), Verdict::ToBackend);
            }
            let client = cast.client_number(n_backends);
            front(&world, &opening(protocol, client, cast.vip), Verdict::SourcesUsedUp);
        }
    }
}
