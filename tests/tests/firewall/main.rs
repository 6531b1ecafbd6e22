//! The firewall with real clients: what is dropped, what is not, and what follows a change at once.
#![cfg(feature = "root")]
#![expect(clippy::indexing_slicing, reason = "a test's own answers")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;
use lb_tests::agent::{CALM_CHECK, Settings, shop};
use lb_tests::clock::wait_until;
use lb_tests::load::TIMEOUT;
use lb_tests::stage::Stage;
use lb_tests::web::PORT;
use lb_tests::world::{World, vips};
use serde_json::Value;

mod rules;
mod safety;
mod sets;
mod trace;

/// How long a connection that is dropped is waited for: it is the counters that prove why it did not come.
const SOON: Duration = Duration::from_millis(700);

/// The shop with further tables before it.
fn with(world: &World, tables: &str) -> Settings {
    let settings = shop(world);
    let tables = settings.tables.replacen(CALM_CHECK, &format!("{tables}\n{CALM_CHECK}"), 1);
    Settings { tables, ..settings }
}

/// Whether the client can connect.
fn connects(stage: &Stage<'_>, to: SocketAddr) -> bool {
    let connect = || TcpStream::connect_timeout(&to, SOON).is_ok();
    stage.world.client.namespace.enter(connect).unwrap()
}

/// Whether the client can connect to both VIPs; they must not differ.
fn is_served(stage: &Stage<'_>) -> bool {
    let [v4, v6] = vips(PORT).map(|vip| connects(stage, vip));
    assert_eq!(v4, v6, "IPv4 and IPv6 differ");
    v4
}

/// Waits until the client is served, or until it is not, through both VIPs.
fn wait_until_served(stage: &Stage<'_>, wanted: bool) {
    let all_are = || Ok(vips(PORT).iter().all(|vip| connects(stage, *vip) == wanted));
    wait_until("both VIPs to follow", TIMEOUT, all_are).unwrap();
}

/// Runs `lb-ctl`, which must succeed; returns what it printed.
fn ctl(stage: &Stage<'_>, line: &str) -> String {
    stage.agent.ctl_ok(&line.split(' ').collect::<Vec<_>>()).unwrap()
}

/// Runs `lb-ctl`, which must end with this code; returns what it said.
fn ctl_ends(stage: &Stage<'_>, line: &str, code: i32) -> String {
    let output = stage.agent.ctl(&line.split(' ').collect::<Vec<_>>()).unwrap();
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert_eq!(output.status.code(), Some(code), "{line}: {said}");
    said
}

/// Packets that a rule has decided about.
fn met_by(stage: &Stage<'_>, rule: &str) -> u64 {
    let firewall: Value = stage.agent.ctl_json(&["firewall", "counters"]).unwrap();
    let rules = firewall["rules"].as_array().unwrap();
    let row = rules.iter().find(|row| row["rule"]["name"] == rule);
    row.and_then(|row| row["count"]["packets"].as_u64()).context("find the rule").unwrap()
}
