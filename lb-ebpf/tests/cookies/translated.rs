//! The numbers of a connection, all its life long.

use lb_common::layout::Forward;
use lb_common::verdict::Verdict;

use crate::cast::error::{error, kinds, lengths};
use crate::cast::packet::Packet;
use crate::cast::{DIRECTOR_BACK, FAMILIES, SERVERS, V4, assert_frame};
use crate::scene::{
    BACKEND, BACKEND_CLOCK, BACKEND_SCALE, CLIENT, CLIENT_CLOCK, DIRECTOR_SCALE, OFFERS, Scene,
    numbered, timestamps,
};

/// The window of 500 that the backend sends, as the client is told it.
fn window(scene: &Scene) -> u16 {
    let shift = BACKEND_SCALE - DIRECTOR_SCALE;
    if scene.offer.scale.is_some() { 500 << shift } else { 500 }
}

/// A later packet of the backend as the client gets it.
fn translated(scene: &Scene, packet: &Packet) -> Packet {
    let sequence = scene.cookie.wrapping_add(1);
    let packet = numbered(packet.clone(), sequence, CLIENT.wrapping_add(6), window(scene));
    if !scene.offer.timestamps {
        return scene.at_client(&packet);
    }
    let clocks = [scene.clock.wrapping_add(500), CLIENT_CLOCK + 1];
    scene.at_client(&packet.tcp_options(&[vec![1, 1], timestamps(clocks)].concat()))
}

#[test]
fn what_the_backend_says_carries_the_numbers_that_the_client_knows() {
    for scene in Scene::all(Scene::established) {
        for packet in
            [scene.by_backend(), scene.by_backend().payload(&[7; 1_400]), scene.by_backend().fin()]
        {
            let sent = scene.back(&packet, Verdict::ToClient);
            assert_frame(&sent.bytes, &translated(&scene, &packet));
        }
    }
}

#[test]
fn numbers_are_still_translated_after_many_ticks_and_both_ways() {
    for scene in Scene::all(Scene::established) {
        for tick in [1, 2, 40, 900] {
            scene.world.tables.set_tick(tick);
            let sent = scene.front(&scene.by_client(), Verdict::ToBackend);
            let heard = crate::scene::number_at(&sent.bytes, scene.cast, 8);
            assert_eq!(heard, BACKEND.wrapping_add(1));
            let sent = scene.back(&scene.by_backend(), Verdict::ToClient);
            assert_frame(&sent.bytes, &translated(&scene, &scene.by_backend()));
        }
    }
}

#[test]
fn an_error_about_a_reply_quotes_the_number_that_the_backend_knows() {
    for scene in Scene::all(Scene::established) {
        let cast = scene.cast;
        let quoted = translated(&scene, &scene.by_backend().payload(&[7; 1_400]));
        let known = quoted.clone().from(cast.backends[0]).to(scene.source);
        let window = window(&scene);
        let known = numbered(known, BACKEND.wrapping_add(1), CLIENT.wrapping_add(6), window);
        for kind in kinds(&cast) {
            for length in lengths(&quoted) {
                let sent = error(cast.router, cast.vip.ip(), kind, &quoted, length);
                let sent = scene.front(&sent, Verdict::ErrorToBackend);
                let to = cast.backends[0].ip();
                let expected = error(cast.router, to, kind, &known, length).ttl(63);
                assert_frame(&sent.bytes, &expected.link(DIRECTOR_BACK, SERVERS[0]));
            }
        }
    }
}

/// SACK blocks with these edges, after some bytes that say nothing.
fn blocks(before: usize, edges: &[u32]) -> Vec<u8> {
    let mut bytes = vec![1; before];
    bytes.extend([5, u8::try_from(2 + edges.len() * 4).unwrap()]);
    for edge in edges {
        bytes.extend(edge.to_be_bytes());
    }
    while !bytes.len().is_multiple_of(4) {
        bytes.push(1);
    }
    bytes
}

#[test]
fn blocks_that_the_client_has_heard_are_translated_wherever_they_stand() {
    for cast in FAMILIES {
        let scene = Scene::established(cast, Forward::Nat, OFFERS[1]);
        let delta = scene.cookie.wrapping_sub(BACKEND);
        for (before, n_edges) in [(0, 2), (1, 4), (2, 6), (3, 8), (0, 8), (1, 2)] {
            let theirs: Vec<u32> =
                (1..=n_edges).map(|edge| BACKEND.wrapping_add(edge * 1_000)).collect();
            let known: Vec<u32> = theirs.iter().map(|edge| edge.wrapping_add(delta)).collect();
            let packet = scene.by_client().tcp_options(&blocks(before, &known));
            let sent = scene.front(&packet, Verdict::ToBackend);
            let expected = packet.tcp_options(&blocks(before, &theirs));
            let heard = BACKEND.wrapping_add(1);
            let expected = numbered(expected, CLIENT.wrapping_add(1), heard, 60);
            assert_frame(&sent.bytes, &scene.at_backend(&expected));
        }
    }
}

#[test]
fn timestamps_are_translated_at_an_odd_place_too() {
    let scene = Scene::established(V4, Forward::Nat, OFFERS[0]);
    for before in 0..4 {
        let options = |clocks| {
            let mut bytes = [vec![1; before], timestamps(clocks)].concat();
            bytes.resize(16, 0);
            bytes
        };
        let packet = scene.by_client().tcp_options(&options([5, scene.clock.wrapping_add(3)]));
        let sent = scene.front(&packet, Verdict::ToBackend);
        let expected = packet.tcp_options(&options([5, BACKEND_CLOCK.wrapping_add(3)]));
        let expected = numbered(expected, CLIENT.wrapping_add(1), BACKEND.wrapping_add(1), 60);
        assert_frame(&sent.bytes, &scene.at_backend(&expected));
    }
}

#[test]
fn no_window_is_told_larger_than_it_is_and_none_that_is_open_as_closed() {
    let scene = Scene::established(V4, Forward::Nat, OFFERS[0]);
    for (theirs, told) in [(0, 0), (1, 4), (16_383, 65_532), (16_384, 65_535), (65_535, 65_535)] {
        let packet =
            numbered(scene.by_backend(), BACKEND.wrapping_add(1), CLIENT.wrapping_add(6), theirs);
        let sent = scene.back(&packet, Verdict::ToClient);
        let window = crate::scene::number_at(&sent.bytes, V4, 14) >> 16;
        assert_eq!(window, told);
    }
}
