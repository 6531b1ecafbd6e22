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

/// Every way by which answers do not pass the director.
const PAST: [Forward; 5] =
    [Forward::Dsr, Forward::IpipV4, Forward::IpipV6, Forward::GueV4, Forward::GueV6];

#[test]
fn in_the_other_ways_a_flood_goes_by_hash_and_open_connections_stay() {
    for (cast, forward) in FAMILIES.into_iter().flat_map(|cast| PAST.map(|way| (cast, way))) {
        let tables = lb_ebpf::host::HostTables::with_buckets(16, HASH_KEY);
        let world = World::by_of(cast, TCP, forward, tables);
        let syn = |client| world.front(&opening(TCP, client, cast.vip));
        let ack = |client| world.front(&crate::cast::packet::tcp(client, cast.vip).ack());
        // As many as find a place; no other flow finds one beside them.
        let clients = (0..400).map(|number| cast.client_number(number));
        let known = clients.filter(|client| syn(*client).verdict == Verdict::ToBackend);
        let kept: Vec<_> = known.map(|client| (client, ack(client).exit)).collect();
        let n_unremembered = (1_000..9_000)
            .map(|number| cast.client_number(number))
            .filter(|client| {
                let sent = syn(*client);
                if sent.verdict != Verdict::ToBackendUnremembered {
                    assert_eq!(sent.verdict, Verdict::ToBackend);
                    return false;
                }
                let next = ack(*client);
                assert_eq!(
                    (next.verdict, next.exit),
                    (sent.verdict, sent.exit),
                    "its hash names it"
                );
                true
            })
            .count();
        assert!(n_unremembered > 100, "{n_unremembered} by {forward:?}");
        for (client, exit) in kept {
            let sent = ack(client);
            assert_eq!((sent.verdict, sent.exit), (Verdict::ToBackend, exit), "{forward:?}");
        }
    }
}
