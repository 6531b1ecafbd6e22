//! Every way of forwarding with real clients, servers and routers.
#![cfg(feature = "root")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod direct;
mod fragments;
mod full_nat;
mod jumbo;
mod path_mtu;
mod tunnels;

use std::net::SocketAddr;

use lb_tests::agent::{BALANCED, CALM_CHECK, Settings, service};
use lb_tests::http_server::{digest, pattern};
use lb_tests::stage::Stage;
use lb_tests::web::PORT;
use lb_tests::world::{World, vips};

/// Sources of full NAT, on ports that the director's kernel does not use, and of tunnels.
const SOURCES: &str = r#"full_nat = { sources = ["192.0.2.1", "2001:db8:2::1"], ports = "20000-29999" }
tunnel = { sources = ["192.0.2.1", "2001:db8:2::1"] }
"#;

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
