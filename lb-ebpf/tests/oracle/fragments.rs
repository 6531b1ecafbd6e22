//! Fragments: later ones have no ports and follow the first one of their packet, by every way, both ways.

use lb_common::cell::Cell;
use lb_common::layout::Forward;
use lb_common::verdict::Verdict;
use lb_ebpf::Exit;

use crate::cast::error::from_behind;
use crate::cast::packet::{Body, CUSTOMER, Packet};
use crate::cast::ways::{FIRST_PORT, WAYS, encapsulated, entropy, nat_source};
use crate::cast::{
    BACK, FAMILIES, FRONT, PROTOCOLS, SERVERS, TCP, World, answer, assert_frame, opening,
};
use crate::{DIRECTOR_BACK, at_backend, at_client};

/// A first fragment, and later ones without ports, the last of them with padding.
fn split(whole: &Packet, protocol: u8) -> (Packet, [Packet; 2]) {
    let first = whole.clone().payload(&[0x41; 64]).fragment(0, true);
    let later = |offset, more| {
        let body = Body::Other(protocol, vec![0x42; 41]);
        Packet { body, ..whole.clone() }.fragment(offset, more)
    };
    (first, [later(9, true), later(15, false).padding(&[0x77; 4])])
}

/// A packet as its backend gets it.
fn delivered(world: &World, packet: &Packet, forward: Forward, frame: &[u8]) -> Packet {
    match forward {
        Forward::Nat => at_backend(world, packet),
        Forward::FullNat => at_backend(world, packet).from(nat_source(world.cast, FIRST_PORT)),
        Forward::Dsr => packet.clone().link(DIRECTOR_BACK, SERVERS[0]),
        Forward::IpipV4 | Forward::IpipV6 | Forward::GueV4 | Forward::GueV6 => {
            encapsulated(packet, forward, 0, entropy(frame, forward))
        }
    }
    .tags(&[])
}

#[test]
fn fragments_of_a_client_reach_the_backend_that_the_first_one_went_to() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            for forward in WAYS {
                let world = World::by(cast, protocol, forward);
                let whole = opening(protocol, cast.client, cast.vip).tags(&[(CUSTOMER, 7)]);
                let (first, later) = split(&whole, protocol);
                let sent = world.front(&first);
                assert_eq!((sent.verdict, sent.exit), (Verdict::ToBackend, Exit::Redirect(BACK)));
                assert_frame(&sent.bytes, &delivered(&world, &first, forward, &sent.bytes));
                for packet in later {
                    // Another packet in between leaves other facts in the memory for the packet at hand.
                    world.tables.litter(0xa5);
                    let followed = world.front(&packet);
                    let expected = (Verdict::FragmentForwarded, Exit::Redirect(BACK));
                    assert_eq!((followed.verdict, followed.exit), expected, "{forward:?}");
                    let expected = delivered(&world, &packet, forward, &sent.bytes);
                    assert_frame(&followed.bytes, &expected);
                }
            }
        }
    }
}

#[test]
fn fragments_of_a_reply_reach_the_client_from_the_vip() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            for forward in [Forward::Nat, Forward::FullNat] {
                let world = World::by(cast, protocol, forward);
                let tags = [(CUSTOMER, 7)];
                world.front(&opening(protocol, cast.client, cast.vip).tags(&tags));
                let is_full = forward == Forward::FullNat;
                let seen = if is_full { nat_source(cast, FIRST_PORT) } else { cast.client };
                let (first, later) = split(&answer(protocol, cast.backends[0], seen), protocol);
                for (packet, verdict) in [(first, Verdict::ToClient)]
                    .into_iter()
                    .chain(later.map(|packet| (packet, Verdict::FragmentForwarded)))
                {
                    world.tables.litter(0xa5);
                    let sent = world.back(&packet);
                    assert_eq!((sent.verdict, sent.exit), (verdict, Exit::Redirect(FRONT)));
                    let expected = at_client(&world, &packet).to(cast.client).tags(&tags);
                    assert_frame(&sent.bytes, &expected);
                }
            }
        }
    }
}

#[test]
fn a_fragment_whose_cell_went_to_another_flow_is_not_sent_to_its_client() {
    for cast in FAMILIES {
        for (forward, is_reply) in
            [(Forward::Nat, true), (Forward::FullNat, true), (Forward::FullNat, false)]
        {
            let world = World::by(cast, TCP, forward);
            let asked = opening(TCP, cast.client, cast.vip);
            world.front(&asked);
            let seen = if forward == Forward::FullNat {
                nat_source(cast, FIRST_PORT)
            } else {
                cast.client
            };
            let whole = if is_reply { answer(TCP, cast.backends[0], seen) } else { asked };
            let (first, [later, last]) = split(&whole, TCP);
            let send = |packet| if is_reply { world.back(packet) } else { world.front(packet) };
            send(&first);
            assert_eq!(send(&later).verdict, Verdict::FragmentForwarded);
            // The details of the flows stay, as they do when a table of another size is put in place.
            for (index, cell) in world.tables.cells().into_iter().enumerate() {
                let other = Cell(cell.0 ^ (1 << 63));
                world.tables.set_cell(index, if cell.is_empty() { cell } else { other });
            }
            assert_ne!(send(&last).verdict, Verdict::FragmentForwarded, "{forward:?} {is_reply}");
        }
    }
}

#[test]
fn all_fragments_of_a_reply_are_dropped_by_name_where_none_is_followed() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            for forward in [Forward::Nat, Forward::FullNat] {
                let mut world = World::by(cast, protocol, forward);
                world.tables.settings.follow_fragments = 0;
                world.begin(cast.client);
                let is_full = forward == Forward::FullNat;
                let seen = if is_full { nat_source(cast, FIRST_PORT) } else { cast.client };
                let (first, later) = split(&answer(protocol, cast.backends[0], seen), protocol);
                for packet in [first].iter().chain(&later) {
                    world.tables.litter(0xa5);
                    let sent = world.back(packet);
                    assert_eq!((sent.verdict, sent.exit), (Verdict::Fragment, Exit::Drop));
                }
            }
        }
    }
}

/// RFC 1122 section 3.2.2.
#[test]
fn no_error_is_sent_about_a_later_fragment_that_is_too_long() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            for forward in WAYS {
                let mut world = World::by(cast, protocol, forward);
                let (first, [later, _]) =
                    split(&opening(protocol, cast.client, cast.vip), protocol);
                assert_eq!(world.front(&first).verdict, Verdict::ToBackend);
                world.narrow(60);
                let sent = world.front(&later);
                assert_eq!((sent.verdict, sent.exit), (Verdict::TooBig, Exit::Drop), "{forward:?}");
                assert_eq!(world.front(&first).verdict, Verdict::TooBigReported);
            }
        }
    }
}

#[test]
fn fragments_of_another_packet_or_a_forgotten_one_follow_nothing() {
    for cast in FAMILIES {
        for forward in WAYS {
            let world = World::by(cast, TCP, forward);
            let (first, [later, _]) = split(&opening(TCP, cast.client, cast.vip), TCP);
            world.front(&first);
            let mut other = later.clone();
            if cast.vip.is_ipv4() {
                other.identification += 1;
            } else {
                other.source = cast.client_number(60_000);
            }
            for (tick, packet, verdict) in [
                (0, &other, Verdict::Fragment),
                (8, &later, Verdict::FragmentForwarded),
                (9, &later, Verdict::Fragment),
            ] {
                world.tables.set_tick(tick);
                assert_eq!(world.front(packet).verdict, verdict, "{forward:?} {tick}");
            }
        }
    }
}

#[test]
fn a_fragment_of_a_backend_to_somebody_else_passes_untouched() {
    for cast in FAMILIES {
        let world = World::by(cast, TCP, Forward::Nat);
        world.begin(cast.client);
        let (_, [later, _]) = split(&answer(TCP, cast.backends[0], cast.client), TCP);
        let packet = from_behind(later);
        let sent = world.back(&packet);
        assert_eq!((sent.verdict, sent.exit), (Verdict::NotOurs, Exit::Pass));
        assert_frame(&sent.bytes, &packet);
    }
}
