//! The firewall with real clients: what is dropped, what is not, and what follows a change at once.
#![cfg(feature = "root")]
#![expect(clippy::indexing_slicing, reason = "a test's own answers")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use lb_tests::agent::{CALM_CHECK, Settings, shop};
use lb_tests::clock::wait_until;
use lb_tests::load::TIMEOUT;
use lb_tests::stage::Stage;
use lb_tests::web::PORT;
use lb_tests::world::{World, vips};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

mod large;
mod rules;
mod safety;
mod sets;
mod trace;

/// How long a connection may still come after a packet was dropped, which may have been another one's.
const SOON: Duration = Duration::from_millis(300);

/// The shop with further tables before it.
fn with(world: &World, tables: &str) -> Settings {
    let settings = shop(world);
    let tables = settings.tables.replacen(CALM_CHECK, &format!("{tables}\n{CALM_CHECK}"), 1);
    Settings { tables, ..settings }
}

/// Whether the client can connect: if not, packets are dropped meanwhile. A SYN that is lost is sent again.
fn connects(stage: &Stage<'_>, to: SocketAddr) -> bool {
    let before = dropped(stage);
    let socket = stage.world.client.namespace.enter(|| begin_to_connect(to)).unwrap().unwrap();
    let is_open = || Ok(socket.peer_addr().is_ok());
    let is_refused = || socket.take_error().is_ok_and(|error| error.is_some());
    let is_dropped = || dropped(stage).is_none_or(|now| Some(now) != before);
    let is_decided = || Ok(is_open()? || is_refused() || is_dropped());
    wait_until("a connection, or a drop", TIMEOUT, is_decided).unwrap();
    wait_until("a connection", SOON, is_open).is_ok()
}

fn begin_to_connect(to: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// Packets that were dropped, whyever; `None`: there is no agent to ask.
fn dropped(stage: &Stage<'_>) -> Option<u64> {
    let metrics = stage.agent.metrics().ok()?;
    let lines = metrics.lines().filter(|line| line.starts_with("lb_packets_total{"));
    let lines = lines.filter(|line| line.contains("kind=\"dropped\""));
    Some(lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum())
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
