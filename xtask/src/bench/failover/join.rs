//! How long it takes a director that joins to know a million flows of the other one, and a preferred one that returns to
//! take over from it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::programs::ProgramInfo;
use lb_tests::binaries::Binaries;
use lb_tests::clock::{now, wait_for, wait_until};
use lb_tests::held::Held;
use lb_tests::link::End;
use lb_tests::pair::{Director, Pair, VIP_V4};
use lb_tests::web::{PORT, Web};
use lb_tests::world::Host;
use serde_json::Value;

use super::super::budget::Budget;
use super::super::feed::{Family, Flags, feed};
use super::super::harness::Harness;
use super::super::row::Row;
use super::super::{Arguments, link};
use super::{QUICK_ROUNDS, ROUNDS};
use crate::failover::{Setup, System, pair, tables};

pub(super) const CASE: &str = "until a director that joins is in step";
pub(super) const RETURN: &str =
    "until a preferred director that returns takes a million flows over";
/// Connections of a client among them, none of which may break.
const N_HELD: usize = 100;
const FLOWS: u32 = 1_000_000;
/// Among so many it happens that two have the same tag and share a cell; not more often than this.
const SHARING: u64 = 8;
const WITHIN: Duration = Duration::from_mins(1);

pub(super) fn run(arguments: &Arguments, binaries: &Binaries, budget: Budget) -> Result<Row> {
    let mut pair = pair()?;
    pair.max_flows = FLOWS;
    let first = start(&pair, 1, binaries, false)?;
    open_connections(&first)?;
    measure(arguments, CASE, budget, || join(&pair, &first, binaries))
}

/// Fails where the preferred director takes over before it knows the flows, or a connection breaks.
pub(super) fn run_return(
    arguments: &Arguments,
    binaries: &Binaries,
    budget: Budget,
) -> Result<Row> {
    measure(arguments, RETURN, budget, || take_over(binaries))
}

fn measure(
    arguments: &Arguments,
    case: &str,
    budget: Budget,
    once: impl Fn() -> Result<Duration>,
) -> Result<Row> {
    arguments.say(&format!("failover: {case}"));
    let mut times = Vec::new();
    for _ in budget.rounds(ROUNDS, QUICK_ROUNDS) {
        let time = once()?.as_secs_f64();
        arguments.say(&format!("  {time:.2} s"));
        times.push(time);
    }
    Ok(Row::of("failover", case, ("IPv4", FLOWS), "s", &times))
}

fn take_over(binaries: &Binaries) -> Result<Duration> {
    let mut pair = pair()?;
    pair.max_flows = FLOWS;
    let hosts = pair.backends.iter();
    let serve = |host: &Host| Web::start_in(pair.folder(), host, binaries, &host.at(PORT));
    let _webs: Vec<Web> = hosts.map(serve).collect::<Result<_>>()?;
    let second = start(&pair, 2, binaries, true)?;
    second.wait_for("active")?;
    open_connections(&second)?;
    let held = Held::open(&pair.client.namespace, (VIP_V4, PORT).into(), N_HELD)?;
    let begin = now();
    let first = start(&pair, 1, binaries, true)?;
    first.wait_for("active")?;
    let time = now() - begin;
    let known = n_flows(&first)?;
    ensure!(known >= u64::from(FLOWS) - SHARING, "it took over with {known} flows");
    second.wait_for("backup")?;
    let mut problems = held.stop()?.into_iter().filter_map(|fate| fate.problem);
    ensure!(problems.next().is_none(), "connections have broken");
    Ok(time)
}

fn start<'p>(
    pair: &'p Pair,
    number: usize,
    binaries: &Binaries,
    has_preferred: bool,
) -> Result<Director<'p>> {
    let advert = Duration::from_millis(100);
    let setup = Setup { system: System::Sluice, advert, has_preferred };
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
    ensure!(n_flows(director)? >= u64::from(FLOWS) - SHARING, "flows are missing");
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
    let second = start(pair, 2, binaries, false)?;
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
