//! What is lost and sent again, what ends early, and what comes after.

use lb_common::cell::State;
use lb_common::layout::{BACKEND_DOWN_RESET, Forward};
use lb_common::verdict::Verdict;

use crate::cast::packet::tcp;
use crate::cast::{DIRECTOR_BACK, FAMILIES, SERVERS, V4, assert_frame};
use crate::scene::{BACKEND, CLIENT, OFFERS, Scene, numbered, our_options, ours};

#[test]
fn the_backend_is_asked_again_when_the_client_repeats_itself() {
    for scene in Scene::all(Scene::asked) {
        let first = scene.front(&scene.cookie_back(), Verdict::SynCookieAccepted);
        for again in [
            scene.cookie_back(),
            scene.cookie_back().payload(b"early"),
            // A question about the closed window.
            scene.cookie_back().sequence(CLIENT),
        ] {
            let sent = scene.front(&again, Verdict::SynCookieAccepted);
            assert_eq!(sent.bytes, first.bytes);
        }
        scene.front(
            &scene.cookie_back().sequence(CLIENT.wrapping_add(9)),
            Verdict::SynCookieInvalid,
        );
        assert_eq!(scene.world.tables.traffic_of_backend(0).flows, 1);
        assert_eq!(scene.world.states(), (vec![State::Syn], vec![State::Syn]));
        scene.back(&scene.answer(), Verdict::ToClient);
        scene.front(&scene.by_client(), Verdict::ToBackend);
        assert_eq!(scene.world.states(), (vec![State::Established], vec![State::Established]));
    }
}

#[test]
fn a_question_about_the_window_opens_a_flow_whose_cookie_was_lost_on_its_way_back() {
    for scene in Scene::all(Scene::asked) {
        scene.front(&scene.cookie_back().sequence(CLIENT), Verdict::SynCookieAccepted);
    }
}

#[test]
fn a_syn_that_comes_once_more_is_answered_with_the_same_cookie() {
    for scene in Scene::all(Scene::opened) {
        let sent = scene.front(&scene.opening(), Verdict::SynCookieSent);
        assert_eq!(crate::scene::number_at(&sent.bytes, scene.cast, 4), scene.cookie);
    }
}

#[test]
fn a_client_that_gives_up_at_once_takes_the_backend_s_half_of_the_connection_with_it() {
    for scene in Scene::all(Scene::opened) {
        let reset =
            numbered(tcp(scene.cast.client, scene.cast.vip).rst(), CLIENT.wrapping_add(1), 0, 0);
        let sent = scene.front(&reset, Verdict::ToBackend);
        assert_frame(&sent.bytes, &scene.at_backend(&reset));
        assert_eq!(scene.world.states(), (vec![State::Closing], vec![State::Closing]));
    }
}

#[test]
fn a_backend_that_refuses_is_heard_at_the_number_that_the_client_expects() {
    for scene in Scene::all(Scene::opened) {
        let reset = tcp(scene.cast.backends[0], scene.source).rst().ack();
        let reset = numbered(reset, 0, CLIENT.wrapping_add(1), 0).link(SERVERS[0], DIRECTOR_BACK);
        let sent = scene.back(&reset, Verdict::ToClient);
        let expected = numbered(reset, scene.cookie.wrapping_add(1), CLIENT.wrapping_add(1), 0);
        assert_frame(&sent.bytes, &scene.at_client(&expected));
    }
}

#[test]
fn a_backend_that_goes_on_with_an_older_connection_is_reset() {
    for scene in Scene::all(Scene::opened) {
        let old = scene.by_backend();
        let sent = scene.back(&old, Verdict::BackendReset);
        let expected = tcp(scene.source, scene.cast.backends[0]).rst();
        let expected = expected.tcp_options(&our_options(None, None));
        let expected = numbered(expected, CLIENT.wrapping_add(6), 0, 0);
        assert_frame(&sent.bytes, &ours(expected).link(DIRECTOR_BACK, SERVERS[0]));
        scene.front(&scene.cookie_back(), Verdict::SynCookieAccepted);
        scene.back(&scene.answer(), Verdict::ToClient);
    }
}

#[test]
fn a_client_takes_its_port_again_after_the_end_of_a_connection() {
    for scene in Scene::all(Scene::established) {
        scene.front(&scene.by_client().sequence(CLIENT.wrapping_add(6)).fin(), Verdict::ToBackend);
        scene.back(&scene.by_backend().fin(), Verdict::ToClient);
        assert_eq!(scene.world.states().0, [State::Closing]);
        let sent = scene.front(&scene.opening().sequence(77), Verdict::SynCookieSent);
        let cookie = crate::scene::number_at(&sent.bytes, scene.cast, 4);
        let back = numbered(scene.cookie_back(), 78, cookie.wrapping_add(1), 60);
        scene.front(&back, Verdict::SynCookieAccepted);
        assert!(scene.world.states().0.contains(&State::Syn));
    }
}

#[test]
fn what_is_left_of_an_ended_connection_is_still_translated() {
    for scene in Scene::all(Scene::established) {
        let reset = numbered(scene.by_backend().rst(), BACKEND.wrapping_add(1), CLIENT, 0);
        scene.back(&reset, Verdict::ToClient);
        let last = scene.by_client().sequence(CLIENT.wrapping_add(6));
        let sent = scene.front(&last, Verdict::ToBackend);
        let heard = crate::scene::number_at(&sent.bytes, scene.cast, 8);
        assert_eq!(heard, BACKEND.wrapping_add(1));
    }
}

#[test]
fn a_client_whose_backend_dies_is_reset_at_the_number_that_it_expects() {
    for cast in FAMILIES {
        let mut scene = Scene::established(cast, Forward::Nat, OFFERS[0]);
        scene.world.tables.backends[0].state = BACKEND_DOWN_RESET;
        let sent = scene.front(&scene.by_client(), Verdict::ResetSent);
        let number = crate::scene::number_at(&sent.bytes, cast, 4);
        assert_eq!(number, scene.cookie.wrapping_add(1));
    }
}

#[test]
fn a_flood_leaves_no_trace_and_established_flows_stay() {
    let scene = Scene::established(V4, Forward::Nat, OFFERS[0]);
    for number in 0..20_000 {
        let client = V4.client_number(number);
        let flood = tcp(client, V4.vip).syn();
        scene.front(&flood, Verdict::SynCookieSent);
        let guess = numbered(tcp(client, V4.vip).ack(), number, number, 9);
        scene.front(&guess, Verdict::SynCookieInvalid);
    }
    assert_eq!(scene.world.states(), (vec![State::Established], vec![State::Established]));
    scene.front(&scene.by_client(), Verdict::ToBackend);
}
