//! A rule that lets each source have so many flows open, where a cookie opens them.

use std::net::SocketAddr;

use lb_common::verdict::Verdict;

use crate::cast::Cast;
use crate::cast::packet::Packet;
use crate::scene::{CLIENT, Offer, Scene, number_at, numbered};

/// A client has been sent a cookie, and may have one flow.
fn asked(cast: Cast, forward: lb_common::layout::Forward, offer: Offer) -> Scene {
    let mut scene = Scene::asked(cast, forward, offer);
    scene.world.let_open(1);
    scene
}

/// The same address from another port.
fn other(scene: &Scene) -> SocketAddr {
    scene.cast.client_number(1)
}

/// Asks from this end, and returns what brings the cookie back.
fn ask(scene: &Scene, from: SocketAddr, sequence: u32) -> Packet {
    let opening = scene.opening().from(from).sequence(sequence);
    let sent = scene.front(&opening, Verdict::SynCookieSent);
    let cookie = number_at(&sent.bytes, scene.cast, 4);
    let back = scene.cookie_back().from(from);
    numbered(back, sequence.wrapping_add(1), cookie.wrapping_add(1), 60)
}

fn end(scene: &Scene) {
    let next = CLIENT.wrapping_add(6);
    scene.front(&scene.by_client().sequence(next).fin(), Verdict::ToBackend);
    scene.back(&scene.by_backend().fin(), Verdict::ToClient);
}

fn establish(scene: &Scene) {
    scene.front(&scene.cookie_back(), Verdict::SynCookieAccepted);
    // Asked once more, for the same flow.
    scene.front(&scene.cookie_back(), Verdict::SynCookieAccepted);
    scene.back(&scene.answer(), Verdict::ToClient);
    scene.front(&scene.by_client().payload(b"hello"), Verdict::ToBackend);
}

#[test]
fn of_cookies_that_were_sent_before_only_as_many_open_flows_as_there_may_be() {
    for scene in Scene::all(asked) {
        let back = ask(&scene, other(&scene), 5);
        establish(&scene);
        assert_eq!(scene.world.n_open(), 1);
        scene.front(&back, Verdict::FirewallDrop);
        scene.front(&scene.opening().from(other(&scene)), Verdict::FirewallDrop);
        end(&scene);
        scene.front(&back, Verdict::SynCookieAccepted);
        assert_eq!(scene.world.n_open(), 1);
    }
}

#[test]
fn a_port_that_is_taken_again_with_a_cookie_needs_room_and_what_is_left_of_its_past_does_not() {
    for scene in Scene::all(asked) {
        establish(&scene);
        end(&scene);
        let back = ask(&scene, scene.cast.client, 77);
        scene.front(&ask(&scene, other(&scene), 5), Verdict::SynCookieAccepted);
        scene.front(&back, Verdict::FirewallDrop);
        let last = scene.by_client().sequence(CLIENT.wrapping_add(7));
        scene.front(&last, Verdict::ToBackend);
        assert_eq!(scene.world.n_open(), 1);
    }
}
