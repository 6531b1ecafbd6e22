//! From the client's SYN to its first word.

use lb_common::verdict::Verdict;
use lb_ebpf::Exit;

use crate::cast::packet::{CUSTOMER, SERVICE, tcp};
use crate::cast::{BACK, DIRECTOR_BACK, DIRECTOR_FRONT, FRONT, ROUTER, SERVERS, V4, assert_frame};
use crate::scene::{
    BACKEND, BACKEND_CLOCK, CLIENT, CLIENT_CLOCK, DIRECTOR_SCALE, OFFERS, Scene, numbered,
    our_options, ours,
};

/// The size of segments that clients are asked for.
fn largest(scene: &Scene) -> u16 {
    if scene.cast.vip.is_ipv4() { 1460 } else { 1440 }
}

#[test]
fn a_syn_is_answered_from_the_vip_with_a_closed_window_and_nothing_is_remembered() {
    for scene in Scene::all(Scene::asked) {
        for tags in [&[][..], &[(SERVICE, 9), (CUSTOMER, 8)]] {
            let opening = scene.opening().tags(tags);
            let sent = scene.front(&opening, Verdict::SynCookieSent);
            assert_eq!(sent.exit, Exit::Transmit);
            let told =
                (largest(&scene), scene.offer.scale.map(|_| DIRECTOR_SCALE), scene.offer.sack);
            let clocks = scene.offer.timestamps.then_some([scene.clock, CLIENT_CLOCK]);
            let expected = tcp(scene.cast.vip, scene.cast.client).syn().ack();
            let expected = expected.tcp_options(&our_options(Some(told), clocks)).tags(tags);
            let expected = numbered(expected, scene.cookie, CLIENT.wrapping_add(1), 0);
            assert_frame(&sent.bytes, &ours(expected).link(DIRECTOR_FRONT, ROUTER));
        }
        assert_eq!(scene.world.states(), (vec![], vec![]));
    }
}

#[test]
fn a_valid_cookie_becomes_the_syn_that_the_client_once_sent() {
    for scene in Scene::all(Scene::asked) {
        for payload in [&b""[..], b"too early"] {
            let sent =
                scene.front(&scene.cookie_back().payload(payload), Verdict::SynCookieAccepted);
            assert_eq!(sent.exit, Exit::Redirect(BACK));
            let segment = match (scene.cast.vip.is_ipv4(), scene.offer.segment) {
                (true, None) => 536,
                (false, None) => 1220,
                (true, Some(1400)) => 1360,
                (false, Some(1400)) => 1340,
                (true, Some(other)) => other,
                (false, Some(_)) => 1440,
            };
            let told = (segment, scene.offer.scale, scene.offer.sack);
            let clocks = scene.offer.timestamps.then_some([CLIENT_CLOCK + 1, 0]);
            let expected = tcp(scene.source, scene.cast.backends[0]).syn();
            let expected = expected.tcp_options(&our_options(Some(told), clocks));
            let window = 60 << scene.offer.scale.unwrap_or(0);
            let expected = numbered(expected, CLIENT, 0, window);
            assert_frame(&sent.bytes, &ours(expected).link(DIRECTOR_BACK, SERVERS[0]));
        }
        assert_eq!(scene.world.tables.traffic_of_backend(0).flows, 1);
    }
}

#[test]
fn the_backend_s_answer_opens_the_client_s_window_and_asks_for_an_answer() {
    for scene in Scene::all(Scene::opened) {
        let sent = scene.back(&scene.answer(), Verdict::ToClient);
        assert_eq!(sent.exit, Exit::Redirect(FRONT));
        let clocks = scene.offer.timestamps.then_some([scene.clock, CLIENT_CLOCK + 1]);
        let expected = tcp(scene.cast.vip, scene.cast.client).ack();
        let expected = expected.tcp_options(&our_options(None, clocks)[..16]).payload(&[0]);
        let window = if scene.offer.scale.is_some() { 65_160 >> DIRECTOR_SCALE } else { 65_160 };
        // A byte in the place of the SYN, which the client has had.
        let expected = numbered(expected, scene.cookie, CLIENT.wrapping_add(1), window);
        assert_frame(&sent.bytes, &ours(expected).padding(&[0; 3]).link(DIRECTOR_FRONT, ROUTER));
    }
}

#[test]
fn what_the_client_says_first_ends_the_handshake() {
    for scene in Scene::all(Scene::answered) {
        let data = scene.by_client().payload(b"hello");
        let sent = scene.front(&data, Verdict::ToBackend);
        let expected = data.tcp_options(&scene.client_options(BACKEND_CLOCK));
        let (sequence, heard) = (CLIENT.wrapping_add(1), BACKEND.wrapping_add(1));
        let expected = numbered(expected, sequence, heard, 60);
        assert_frame(&sent.bytes, &scene.at_backend(&expected));
    }
}

#[test]
fn a_backend_that_repeats_its_answer_is_heard_for_a_client_that_it_has_not_heard() {
    for scene in Scene::all(Scene::answered) {
        let sent = scene.back(&scene.answer(), Verdict::BackendAcknowledged);
        assert_eq!(sent.exit, Exit::Transmit);
        let clocks = scene.offer.timestamps.then_some([CLIENT_CLOCK + 1, BACKEND_CLOCK]);
        let expected = tcp(scene.source, scene.cast.backends[0]).ack();
        let expected = expected.tcp_options(&our_options(None, clocks));
        let expected = numbered(expected, CLIENT.wrapping_add(1), BACKEND.wrapping_add(1), 512);
        assert_frame(&sent.bytes, &ours(expected).link(DIRECTOR_BACK, SERVERS[0]));
    }
}

#[test]
fn a_service_without_cookies_sends_none() {
    let scene = Scene::asked(V4, lb_common::layout::Forward::Nat, OFFERS[0]);
    let mut world = scene.world;
    world.tables.listeners[0].syn_cookies = 0;
    assert_eq!(world.begin(V4.client), 0);
}
