//! Configurations, backends and requests of these tests.

use std::time::Duration;

use lb_tests::binaries::Binaries;
use lb_tests::clock::wait_until;
use lb_tests::http_client::ask_name;
use lb_tests::pair::{Director, Pair, VIP_V4, VIP_V6, vips};
use lb_tests::web::{PORT, Web};
use lb_tests::world::Host;

pub(crate) const WITHIN: Duration = Duration::from_secs(10);

/// The service `shop` on both VIPs.
pub(crate) fn shop() -> String {
    format!(
        r#"
[[service]]
name = "shop"
listen = ["{VIP_V4}:80", "[{VIP_V6}]:80"]
[[service.backend]]
name = "web1"
address = ["192.0.2.11:80", "[2001:db8:2::11]:80"]
"#
    )
}

/// The service, and the virtual routers of a director: the VIPs, and the backends' gateway, which move together.
/// `more` are further lines of both.
pub(crate) fn tables(priority: u8, more: &str) -> String {
    let shop = shop();
    format!(
        r#"{shop}
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
pub(crate) fn serve(pair: &Pair) -> Vec<Web> {
    let binaries = Binaries::of_this_profile().unwrap();
    let start =
        |host: &Host| Web::start_in(pair.folder(), host, &binaries, &host.at(PORT)).unwrap();
    pair.backends.iter().map(start).collect()
}

/// Two directors, of which the first is Active.
pub(crate) fn both<'p>(pair: &'p Pair, more: &str) -> [Director<'p>; 2] {
    let lb1 = Director::start(pair, 1, &tables(200, more)).unwrap();
    lb1.wait_for("active").unwrap();
    let lb2 = Director::start(pair, 2, &tables(100, more)).unwrap();
    lb2.wait_for("backup").unwrap();
    [lb1, lb2]
}

/// A director is started again, and leaves the addresses to the one that has them now.
pub(crate) fn restart_as_backup(pair: &Pair, it: &mut Director<'_>, other: &Director<'_>) {
    it.restart().unwrap();
    it.wait_for("backup").unwrap();
    assert_eq!((holds(it), holds(other)), ([false; 2], [true; 2]));
    assert_eq!(other.states().unwrap(), ["active"]);
    wait_for_answers(pair);
}

/// Waits until a client's requests to both VIPs are answered.
pub(crate) fn wait_for_answers(pair: &Pair) {
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

/// Which of the VIPs a director has.
pub(crate) fn holds(director: &Director<'_>) -> [bool; 2] {
    [VIP_V4.into(), VIP_V6.into()].map(|vip| director.has(vip).unwrap())
}

/// Changes of state so far.
pub(crate) fn n_changes(director: &Director<'_>) -> usize {
    director.ctl_json(&["vrrp", "history"]).unwrap().as_array().unwrap().len()
}
