//! How long it takes a director that joins to know a million flows of the other one.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::programs::ProgramInfo;
use lb_tests::binaries::Binaries;
use lb_tests::clock::{now, wait_for, wait_until};
use lb_tests::link::End;
use lb_tests::pair::{Director, Pair, VIP_V4};
use serde_json::Value;

use super::super::budget::Budget;
use super::super::feed::{Family, Flags, feed};
use super::super::harness::Harness;
use super::super::row::Row;
use super::super::{Arguments, link};
use super::{QUICK_ROUNDS, ROUNDS};
use crate::failover::{Setup, System, pair, tables};

pub(super) const CASE: &str = "until a director that joins is in step";
const FLOWS: u32 = 1_000_000;
/// Among so many it happens that two have the same tag and share a cell; not more often than this.
const SHARING: u64 = 8;
const WITHIN: Duration = Duration::from_mins(1);
/// All flows are of the shop.
const PORT: u16 = 80;

pub(super) fn run(arguments: &Arguments, binaries: &Binaries, budget: Budget) -> Result<Row> {
    arguments.say(&format!("failover: {CASE}"));
    let mut pair = pair()?;
    pair.max_flows = FLOWS;
    let first = start(&pair, 1, binaries)?;
    open_connections(&first)?;
    ensure!(n_flows(&first)? >= u64::from(FLOWS) - SHARING, "flows are missing");
    let mut times = Vec::new();
    for _ in budget.rounds(ROUNDS, QUICK_ROUNDS) {
        let time = join(&pair, &first, binaries)?.as_secs_f64();
        arguments.say(&format!("  {time:.2} s"));
        times.push(time);
    }
    Ok(Row::of("failover", CASE, ("IPv4", FLOWS), "s", &times))
}

fn start<'p>(pair: &'p Pair, number: usize, binaries: &Binaries) -> Result<Director<'p>> {
    let advert = Duration::from_millis(100);
    let setup = Setup { system: System::Sluice, advert, has_preferred: false };
    // A million SYNs are no flood here.
    let tables = format!("[firewall]\nsyn_cookies = \"off\"\n\n{}", tables(pair, number, setup)?);
    Director::start_from(pair, number, &tables, binaries)
}

/// Has the packet path open connections, with the backends' answers.
fn open_connections(director: &Director<'_>) -> Result<()> {
    let front = link(End { namespace: director.namespace, interface: "front" })?;
    let mac = front.mac.context("find a MAC address")?;
    let mut feed = feed(Family::V4, mac, VIP_V4.into(), Flags::Ack);
    (feed.end, feed.first_service, feed.services) = (u32::MAX, PORT, 0);
    let mut harness = Harness::load(&[])?;
    let program = ProgramInfo::from_pin(director.pin_path().join("program"))?.fd()?;
    let packets = (3 * FLOWS, front.index);
    director.namespace.enter(|| harness.run(("open", Family::V4), &program, feed, packets))??;
    Ok(())
}

fn n_flows(director: &Director<'_>) -> Result<u64> {
    let listed = director.ctl_json(&["conn", "list"])?;
    listed.pointer("/total").and_then(Value::as_u64).context("count the flows")
}

fn says(status: &Value, what: &str) -> bool {
    status.pointer(what) == Some(&Value::Bool(true))
}

/// From the first word of the other director until the one that joins knows all its flows.
fn join(pair: &Pair, first: &Director<'_>, binaries: &Binaries) -> Result<Duration> {
    let way = pair.directors.get(1).context("there are two directors")?;
    // It does not hear the other one before somebody looks.
    way.ip("route add blackhole 192.0.2.2/32")?;
    let second = start(pair, 2, binaries)?;
    way.ip("route del blackhole 192.0.2.2/32")?;
    let joined = wait_for("the directors to hear each other", WITHIN, || {
        let asked_at = now();
        let status = second.ctl_json(&["sync", "status"])?;
        Ok(says(&status, "/peers/0/heard/connected").then_some(asked_at))
    })?;
    wait_until("the one that joins to be in step", WITHIN, || {
        Ok(says(&second.ctl_json(&["sync", "status"])?, "/is_in_step"))
    })?;
    let time = now() - joined;
    let (told, heard) = (n_flows(first)?, n_flows(&second)?);
    ensure!(heard == told, "{heard} flows of {told} are known");
    Ok(time)
}
