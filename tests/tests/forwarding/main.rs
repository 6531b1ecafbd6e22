//! Every way of forwarding with real clients, servers and routers.
#![cfg(feature = "root")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod direct;
mod errors;
mod fragments;
mod full_nat;
mod jumbo;
mod path_mtu;
mod tunnels;

use std::net::SocketAddr;

use lb_tests::agent::{BALANCED, CALM_CHECK, Settings, service};
use lb_tests::binaries::Binaries;
use lb_tests::decap::{Backend, DIRECTORS};
use lb_tests::http_server::{digest, pattern};
use lb_tests::stage::Stage;
use lb_tests::web::PORT;
use lb_tests::world::{Arms, Host, VIP_V4, VIP_V6, World, vips};

/// Sources of full NAT, on ports that the director's kernel does not use, and of tunnels.
const SOURCES: &str = r#"full_nat = { sources = ["192.0.2.1", "2001:db8:2::1"], ports = "20000-29999" }
tunnel = { sources = ["192.0.2.1", "2001:db8:2::1"] }
"#;

/// Every way.
const WAYS: [&str; 5] = ["nat", "full-nat", "dsr", "ipip", "gue"];

const TEN_MEGABYTES: usize = 10_000_000;

/// The service `shop` by some way.
fn shop_by(way: &str, world: &World) -> Settings {
    let options = BALANCED.replace("\"nat\"", &format!("{way:?}"));
    let listed = service("shop", &vips(PORT), &options, world);
    Settings { datapath: SOURCES.to_owned(), tables: format!("{CALM_CHECK}\n{listed}") }
}

/// Downloads and uploads much through a VIP.
fn exchange(stage: &Stage<'_>, vip: SocketAddr) {
    let body = pattern(TEN_MEGABYTES);
    let mut connection = stage.connect(vip).unwrap();
    let answer = connection.get(&format!("/bytes/{TEN_MEGABYTES}")).unwrap();
    assert!(answer.body == body, "the body from {vip} was changed");
    let answer = connection.post("/echo-hash", &body).unwrap();
    assert_eq!(String::from_utf8(answer.body).unwrap(), digest(&body), "{vip}");
}

/// Whether backends have the VIPs, and answer clients past the director.
fn is_direct(way: &str) -> bool {
    !way.ends_with("nat")
}

/// A world with one backend that can be reached by some way, once [`prepare`] was called.
fn world_for(way: &str) -> World {
    World::new(if is_direct(way) { Arms::One } else { Arms::Two }, 1).unwrap()
}

/// Has the backend take what comes to it by some way.
fn prepare<'w>(world: &'w World, way: &str) -> Option<Backend<'w>> {
    let host = world.backends.first().unwrap();
    if way == "dsr" {
        give_vips(host);
    } else if is_direct(way) {
        host.answer_directly().unwrap();
        return Some(
            Backend::start(world, &Binaries::of_this_profile().unwrap(), &DIRECTORS).unwrap(),
        );
    }
    None
}

/// Gives a backend the VIPs, and a way to the clients that is not the director's.
fn give_vips(host: &Host) {
    host.answer_directly().unwrap();
    let lines = format!("address add {VIP_V4}/32 dev lo\naddress add {VIP_V6}/128 dev lo nodad");
    host.namespace.ip(&lines).unwrap();
}

/// Where a backend serves.
fn served_at(host: &Host, way: &str, port: u16) -> [SocketAddr; 2] {
    if is_direct(way) { vips(port) } else { host.at(port) }
}
