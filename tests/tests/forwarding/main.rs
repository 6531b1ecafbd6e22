//! Every way of forwarding with real clients, servers and routers.
#![cfg(feature = "root")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod direct;
mod errors;
mod flooded;
mod fragments;
mod full_nat;
mod jumbo;
mod path_mtu;
mod tunnels;

use std::net::SocketAddr;

use lb_tests::binaries::Binaries;
use lb_tests::decap::{Backend, DIRECTORS};
use lb_tests::http_server::{digest, pattern};
use lb_tests::stage::Stage;
use lb_tests::way::{give_vips, is_direct};
use lb_tests::world::{Arms, World};

/// Every way.
const WAYS: [&str; 5] = ["nat", "full-nat", "dsr", "ipip", "gue"];

const TEN_MEGABYTES: usize = 10_000_000;

/// Downloads and uploads much through a VIP.
fn exchange(stage: &Stage<'_>, vip: SocketAddr) {
    let body = pattern(TEN_MEGABYTES);
    let mut connection = stage.connect(vip).unwrap();
    let answer = connection.get(&format!("/bytes/{TEN_MEGABYTES}")).unwrap();
    assert!(answer.body == body, "the body from {vip} was changed");
    let answer = connection.post("/echo-hash", &body).unwrap();
    assert_eq!(String::from_utf8(answer.body).unwrap(), digest(&body), "{vip}");
}

/// A world with one backend that can be reached by some way, once [`prepare`] was called.
fn world_for(way: &str) -> World {
    World::new(if is_direct(way) { Arms::One } else { Arms::Two }, 1).unwrap()
}

/// Has the backend take what comes to it by some way.
fn prepare<'w>(world: &'w World, way: &str) -> Option<Backend<'w>> {
    let host = world.backends.first().unwrap();
    if way == "dsr" {
        give_vips(host).unwrap();
    } else if is_direct(way) {
        host.answer_directly().unwrap();
        return Some(
            Backend::start(world, &Binaries::of_this_profile().unwrap(), &DIRECTORS).unwrap(),
        );
    }
    None
}
