//! SYN floods: when a service begins to answer with cookies, and when it ends.

use lb_common::layout::guard::{COOKIES_FOR, FLOODS};
use lb_common::layout::{Forward, SynCookies};
use lb_common::verdict::Verdict;

use crate::cast::{BACK, FAMILIES, HASH_KEY, TCP, V4, World, opening};

const SECOND: u64 = 1_000_000_000;
const ABOVE: u32 = 100;

/// A world that answers with cookies while more SYNs a second than [`ABOVE`] are followed by nothing.
fn guarded(cast: crate::cast::Cast) -> World {
    let tables = lb_ebpf::host::HostTables::new(65_536, HASH_KEY);
    let mut world = World::of(cast, TCP, tables, BACK);
    let listener = &mut world.tables.listeners[world.listener as usize];
    listener.syn_cookies = SynCookies::Auto.number();
    (listener.syn_cost, listener.syn_burst) = (1_000_000_000 / ABOVE, ABOVE);
    world
}

/// What becomes of the SYN of a client that is never heard again.
fn syn(world: &World, number: u32, at: u64) -> Verdict {
    world.tables.set_nanoseconds(at);
    world.front(&opening(TCP, world.cast.client_number(number), world.cast.vip)).verdict
}

#[test]
fn cookies_begin_when_more_syns_are_followed_by_nothing_than_may() {
    for cast in FAMILIES {
        let world = guarded(cast);
        for number in 0..ABOVE {
            assert_eq!(syn(&world, number, SECOND), Verdict::ToBackend, "{number}");
        }
        assert_eq!(syn(&world, ABOVE, SECOND), Verdict::SynCookieSent);
        assert_eq!(syn(&world, ABOVE + 1, SECOND), Verdict::SynCookieSent);
        assert_eq!(world.tables.guard_of(world.listener)[FLOODS], 1);
    }
}

#[test]
fn cookies_last_for_a_while_after_the_flood_and_then_end() {
    let world = guarded(V4);
    for number in 0..=ABOVE {
        syn(&world, number, SECOND);
    }
    let ends = SECOND + COOKIES_FOR;
    assert_eq!(syn(&world, 500, ends - 1), Verdict::SynCookieSent);
    assert_eq!(syn(&world, 501, ends), Verdict::ToBackend);
    assert_eq!(world.tables.guard_of(world.listener)[FLOODS], 1);
}

#[test]
fn a_flood_that_goes_on_keeps_the_cookies_going_and_counts_once() {
    let world = guarded(V4);
    let pace = 5 * ABOVE;
    let is_answered = |number: u32| {
        let at = SECOND + u64::from(number) * SECOND / u64::from(pace);
        syn(&world, number, at) == Verdict::SynCookieSent
    };
    let answered: Vec<_> = (0..60 * pace).map(is_answered).collect();
    let first = answered.iter().position(|it| *it).unwrap();
    // A fifth of those that come is let, besides those that may come at once.
    assert!(first.abs_diff(125) <= 1, "{first}");
    assert!(answered[first..].iter().all(|it| *it));
    assert_eq!(world.tables.guard_of(world.listener)[FLOODS], 1);
    let later = SECOND + 61 * SECOND + COOKIES_FOR;
    assert_eq!(syn(&world, 7, later), Verdict::ToBackend);
}

#[test]
fn clients_that_answer_are_no_flood_however_many_they_are() {
    let world = guarded(V4);
    world.tables.set_nanoseconds(SECOND);
    for number in 0..20 * ABOVE {
        world.establish(V4.client_number(number));
    }
    assert_eq!(world.tables.guard_of(world.listener)[FLOODS], 0);
}

#[test]
fn in_the_other_ways_a_flood_goes_by_hash_and_open_connections_stay() {
    for forward in [Forward::Dsr, Forward::IpipV4, Forward::GueV6] {
        let tables = lb_ebpf::host::HostTables::with_buckets(16, HASH_KEY);
        let world = World::by_of(V4, TCP, forward, tables);
        let clients: Vec<_> = (0..64).map(|number| V4.client_number(number)).collect();
        let ack = |client| crate::cast::packet::tcp(client, V4.vip).ack();
        let kept: Vec<_> = clients
            .iter()
            .map(|client| {
                assert_eq!(world.front(&opening(TCP, *client, V4.vip)).verdict, Verdict::ToBackend);
                world.front(&ack(*client)).exit
            })
            .collect();
        let flood: Vec<_> = (1_000..9_000).map(|number| syn(&world, number, SECOND)).collect();
        let unremembered = Verdict::ToBackendUnremembered;
        assert!(flood.iter().all(|it| *it == Verdict::ToBackend || *it == unremembered));
        let open =
            world.states().0.into_iter().filter(|it| *it == lb_common::cell::State::Established);
        assert_eq!(open.count(), clients.len(), "{forward:?}");
        for (client, exit) in clients.iter().zip(kept) {
            let sent = world.front(&ack(*client));
            assert_eq!((sent.verdict, sent.exit), (Verdict::ToBackend, exit));
        }
    }
}
