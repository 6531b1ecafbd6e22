//! Two directors and who of them has the addresses.
#![cfg(feature = "root")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::time::Duration;

use lb_tests::binaries::Binaries;
use lb_tests::clock::wait_until;
use lb_tests::http_client::ask_name;
use lb_tests::pair::{Director, Pair, VIP_V4, VIP_V6, vips};
use lb_tests::web::{PORT, Web};
use lb_tests::world::Host;

const WITHIN: Duration = Duration::from_secs(10);

/// The service `shop` and the virtual routers of a director: the VIPs, and the backends' gateway.
fn tables(priority: u8, more: &str) -> String {
    format!(
        r#"
[[service]]
name = "shop"
listen = ["{VIP_V4}:80", "[{VIP_V6}]:80"]
[[service.backend]]
name = "web1"
address = ["192.0.2.11:80", "[2001:db8:2::11]:80"]

[[vrrp]]
name = "vip"
group = "pair"
interface = "front"
virtual_router_id = 51
priority = {priority}
advert_interval = "100ms"
addresses = ["{VIP_V4}/32", "{VIP_V6}/128"]
{more}

[[vrrp]]
name = "gateway"
group = "pair"
interface = "back"
virtual_router_id = 52
priority = {priority}
advert_interval = "100ms"
addresses = ["192.0.2.1/24", "2001:db8:2::1/64"]
{more}
"#
    )
}

/// Backends that serve.
fn serve(pair: &Pair) -> Vec<Web> {
    let binaries = Binaries::of_this_profile().unwrap();
    let start =
        |host: &Host| Web::start_in(pair.folder(), host, &binaries, &host.at(PORT)).unwrap();
    pair.backends.iter().map(start).collect()
}

/// Waits until a client's requests to both VIPs are answered.
fn wait_for_answers(pair: &Pair) {
    let mut last = None;
    let answers = || {
        let ask = || vips().map(|vip| ask_name(vip, Duration::from_millis(500)).outcome);
        let outcomes = pair.client.namespace.enter(ask)?;
        let is_done = outcomes.iter().all(Result::is_ok);
        last = Some(outcomes);
        Ok(is_done)
    };
    let waited = wait_until("answers of both VIPs", WITHIN, answers);
    waited.unwrap_or_else(|error| panic!("{error}: {last:?}"));
}

#[test]
fn the_other_director_takes_over_when_one_is_dead_and_keeps_the_addresses() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let mut lb1 = Director::start(&pair, 1, &tables(200, "")).unwrap();
    lb1.wait_for("active").unwrap();
    let lb2 = Director::start(&pair, 2, &tables(100, "")).unwrap();
    lb2.wait_for("backup").unwrap();
    assert!(lb1.has(VIP_V4.into()).unwrap() && lb1.has(VIP_V6.into()).unwrap());
    assert!(!lb2.has(VIP_V4.into()).unwrap() && !lb2.has(VIP_V6.into()).unwrap());
    wait_for_answers(&pair);
    // The machine dies: its agent, and everything that it answers.
    lb1.process.kill().unwrap();
    for port in ["lb1-front", "lb1-back"] {
        pair.deafen(port, true).unwrap();
    }
    lb2.wait_for("active").unwrap();
    wait_for_answers(&pair);
    // It comes back with a higher priority, and does not preempt.
    for port in ["lb1-front", "lb1-back"] {
        pair.deafen(port, false).unwrap();
    }
    lb1.restart().unwrap();
    lb1.wait_for("backup").unwrap();
    assert!(!lb1.has(VIP_V4.into()).unwrap() && !lb1.has(VIP_V6.into()).unwrap());
    assert_eq!(lb2.states().unwrap(), ["active"]);
    wait_for_answers(&pair);
}
