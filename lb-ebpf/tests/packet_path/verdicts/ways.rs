//! What comes of the ways of forwarding, of fragments and of packets that are too long.

use lb_common::cell::{Cell, State};
use lb_common::layout::Forward;
use lb_common::verdict::Verdict;

use crate::cast::{BACK, FAMILIES, PROTOCOLS, World, answer, opening};

use super::{assert_verdict, front};

/// Fills the flow table with open connections of nobody.
fn fill(world: &World) {
    for index in 0..world.tables.cells().len() {
        let cell = Cell::new(1 + index as u64, 0, 0, State::Established, false);
        world.tables.set_cell(index, cell);
    }
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
            world.narrow(1_500);
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
        for protocol in PROTOCOLS {
            let mut world = World::by(cast, protocol, Forward::FullNat);
            world.tables.settings.nat_ports = 1;
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
