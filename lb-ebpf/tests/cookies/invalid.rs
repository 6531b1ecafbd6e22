//! What is no valid cookie, or not any more.

use lb_common::layout::Forward;
use lb_common::verdict::Verdict;

use crate::cast::packet::tcp;
use crate::cast::{FAMILIES, V4};
use crate::scene::{CLIENT, OFFERS, Scene, numbered};

/// Ticks of a period: a cookie is valid in its own and in the next.
const PERIOD: u64 = 16;

#[test]
fn a_cookie_with_any_bit_changed_is_refused() {
    for cast in FAMILIES {
        let scene = Scene::asked(cast, Forward::Nat, OFFERS[0]);
        for bit in 0..32 {
            let other = (scene.cookie ^ (1 << bit)).wrapping_add(1);
            let packet = numbered(scene.cookie_back(), CLIENT.wrapping_add(1), other, 60);
            scene.front(&packet, Verdict::SynCookieInvalid);
        }
        assert_eq!(scene.world.states(), (vec![], vec![]));
        scene.front(&scene.cookie_back(), Verdict::SynCookieAccepted);
    }
}

#[test]
fn a_cookie_is_good_for_its_client_and_its_number_alone() {
    for cast in FAMILIES {
        let scene = Scene::asked(cast, Forward::Nat, OFFERS[0]);
        let back = scene.cookie_back();
        scene.front(&back.clone().from(cast.client_number(7)), Verdict::SynCookieInvalid);
        for ahead in [2, 3, 1_461] {
            let packet = back.clone().sequence(CLIENT.wrapping_add(ahead));
            scene.front(&packet, Verdict::SynCookieInvalid);
        }
        assert_eq!(scene.world.states(), (vec![], vec![]));
    }
}

#[test]
fn a_cookie_is_valid_in_its_period_and_in_the_next_one() {
    for (ticks, verdict) in [
        (PERIOD - 1, Verdict::SynCookieAccepted),
        (2 * PERIOD - 2, Verdict::SynCookieAccepted),
        (2 * PERIOD, Verdict::SynCookieInvalid),
        (4 * PERIOD, Verdict::SynCookieInvalid),
    ] {
        let scene = Scene::asked(V4, Forward::Nat, OFFERS[0]);
        scene.world.tables.set_tick(ticks);
        scene.front(&scene.cookie_back(), verdict);
    }
}

#[test]
fn a_director_whose_clock_is_a_tick_behind_takes_the_cookies_of_another() {
    for (behind, verdict) in [
        (1, Verdict::SynCookieAccepted),
        (2, Verdict::SynCookieInvalid),
        (PERIOD, Verdict::SynCookieInvalid),
    ] {
        let mut scene = Scene::asked(V4, Forward::Nat, OFFERS[0]);
        let clock = &mut scene.world.tables.settings.cookie_clock;
        *clock = clock.wrapping_sub(behind);
        scene.front(&scene.cookie_back(), verdict);
    }
}

#[test]
fn nothing_but_an_acknowledgement_brings_a_cookie_back() {
    let scene = Scene::asked(V4, Forward::Nat, OFFERS[0]);
    scene.front(&scene.cookie_back().rst(), Verdict::SynCookieInvalid);
    let syn_ack = scene.cookie_back().syn();
    scene.front(&syn_ack, Verdict::SynCookieInvalid);
    let bare = numbered(tcp(V4.client, V4.vip), 1, 1, 1);
    scene.front(&bare, Verdict::SynCookieInvalid);
    assert_eq!(scene.world.states(), (vec![], vec![]));
}

#[test]
fn other_cookies_come_for_other_keys_and_for_other_clients() {
    let scene = Scene::asked(V4, Forward::Nat, OFFERS[0]);
    let mut cookies = vec![scene.cookie];
    for number in 0..100 {
        let sent =
            scene.front(&scene.opening().from(V4.client_number(number)), Verdict::SynCookieSent);
        cookies.push(crate::scene::number_at(&sent.bytes, V4, 4));
    }
    let mut world = scene.world;
    world.tables.settings.cookie_key[1] ^= 1;
    let sent = world.front(&tcp(V4.client, V4.vip).syn().sequence(CLIENT));
    cookies.push(crate::scene::number_at(&sent.bytes, V4, 4));
    cookies.sort_unstable();
    cookies.dedup();
    assert_eq!(cookies.len(), 102);
}

#[test]
fn options_that_end_behind_the_packet_are_malformed() {
    for cast in FAMILIES {
        let scene = Scene::asked(cast, Forward::Nat, OFFERS[0]);
        let mut bytes = scene.opening().tcp_options(&[]).bytes();
        let offset = 14 + if cast.vip.is_ipv4() { 20 } else { 40 } + 12;
        bytes[offset] = 6 << 4;
        assert_eq!(scene.world.frame(&bytes, 2).verdict, Verdict::Malformed);
    }
}
