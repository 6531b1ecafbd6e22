//! The demo's phases: spread, failure, return, drain.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lb_tests::agent::NOTICED_WITHIN;
use lb_tests::clock::now;
use lb_tests::http_client::{Connection, Exchange};
use lb_tests::load::{TIMEOUT, by_backend, failures};
use lb_tests::web::{PORT, Web};
use lb_tests::world::vips;

use super::report::{Report, is_even};
use super::stage::{SERVICE, Stage};

/// A request that takes longer than this was delayed.
const DELAYED: Duration = Duration::from_millis(200);

/// Plays all phases.
pub(crate) fn play(stage: &mut Stage<'_>) -> Result<Report> {
    let mut report = Report::default();
    spread(stage, &mut report)?;
    fail(stage, &mut report)?;
    return_to_service(stage, &mut report)?;
    drain(stage, &mut report)?;
    report.ok = report.problems.is_empty();
    Ok(report)
}

fn spread(stage: &Stage<'_>, report: &mut Report) -> Result<()> {
    stage.story.begin("600 requests through the VIP, IPv4 and IPv6 in turn, each a new connection");
    let exchanges = stage.send(600)?;
    let failed = take_in(&exchanges, report);
    report.by_backend = by_backend(&exchanges);
    stage.show(&report.by_backend);
    report.expect(failed == 0, || {
        format!("{failed} requests failed while all backends were healthy")
    });
    let is_even = is_even(&report.by_backend, stage.webs.len());
    report.expect(is_even, || "the backends' counts differ by more than one".to_owned());
    Ok(())
}

fn fail(stage: &mut Stage<'_>, report: &mut Report) -> Result<()> {
    stage.story.begin("Killing web2 while requests run");
    let load = stage.load()?;
    load.wait_for_more(200)?;
    let killed_at = now();
    stage.webs.get_mut(1).context("find web2")?.process.kill()?;
    stage.agent.wait_for_health("web2", "down")?;
    let noticed = now() - killed_at;
    load.wait_for_more(1000)?;
    let exchanges = load.stop()?;
    let failed = take_in(&exchanges, report);
    let promised_at = killed_at + NOTICED_WITHIN;
    report.failover_ms = failover(&exchanges, killed_at).as_millis().try_into()?;
    let say = |line: String| stage.story.say(&format!("   {line}"));
    say(format!("lb-ctl says that web2 is down {} ms after the kill", noticed.as_millis()));
    say(format!(
        "{} requests, {failed} failed; the last one that failed or was delayed ended {} ms after the kill",
        exchanges.len(),
        report.failover_ms
    ));
    say(format!(
        "promised: none later than {} ms (interval x fall + timeout). Answers after that:",
        NOTICED_WITHIN.as_millis()
    ));
    let after = by_backend(exchanges.iter().filter(|exchange| exchange.started_at > promised_at));
    stage.show(&after);
    let outside =
        exchanges.iter().filter(|exchange| is_failure_outside(exchange, killed_at)).count();
    report.expect(outside == 0, || {
        format!("{outside} requests failed before the kill or too long after it")
    });
    let others = after.keys().eq(["web1", "web3"]);
    report.expect(others, || "not exactly the other two backends took over".to_owned());
    Ok(())
}

fn return_to_service(stage: &mut Stage<'_>, report: &mut Report) -> Result<()> {
    stage.story.begin("Bringing web2 back");
    let returned_at = now();
    let host = stage.world.backends.get(1).context("find web2")?;
    *stage.webs.get_mut(1).context("find web2")? = Web::start(stage.world, host, stage.binaries)?;
    stage.agent.wait_for_health("web2", "up")?;
    stage
        .story
        .say(&format!("   healthy after {} ms; 60 requests:", (now() - returned_at).as_millis()));
    let exchanges = stage.send(60)?;
    let failed = take_in(&exchanges, report);
    let counts = by_backend(&exchanges);
    stage.show(&counts);
    report.expect(failed == 0, || format!("{failed} requests failed after web2 was back"));
    let is_even = is_even(&counts, stage.webs.len());
    report.expect(is_even, || "web2 did not take its full share after its return".to_owned());
    Ok(())
}

fn drain(stage: &Stage<'_>, report: &mut Report) -> Result<()> {
    stage
        .story
        .begin("Draining web3 with lb-ctl while requests run and one of its connections is open");
    let mut connection =
        stage.world.client.namespace.enter(|| open_connection_to(stage, "web3"))??;
    let load = stage.load()?;
    load.wait_for_more(100)?;
    let said = stage.agent.ctl_ok(&["backend", "drain", SERVICE, "web3"])?;
    let drained_at = now();
    said.lines().for_each(|line| stage.story.say(&format!("   {line}")));
    load.wait_for_more(200)?;
    let kept = connection.get("/").is_ok_and(|answer| answer.backend == "web3");
    drop(connection);
    let waited =
        stage.agent.ctl(&["backend", "drain", SERVICE, "web3", "--wait", "--timeout", "60s"])?;
    let exchanges = load.stop()?;
    let failed = take_in(&exchanges, report);
    let after = by_backend(exchanges.iter().filter(|exchange| exchange.started_at > drained_at));
    let word = if kept { "still answers" } else { "is broken" };
    stage.story.say(&format!("   the connection that was open {word}; new requests went to:"));
    stage.show(&after);
    stage.story.say(&format!(
        "   {} requests, {failed} failed; web3 has no flows left after {:.1} s",
        exchanges.len(),
        (now() - drained_at).as_secs_f32()
    ));
    report.drained =
        failed == 0 && kept && waited.status.success() && after.keys().eq(["web1", "web2"]);
    let drained = report.drained;
    report.expect(drained, || {
        format!("web3 was not drained cleanly: {}", String::from_utf8_lossy(&waited.stderr).trim())
    });
    Ok(())
}

/// Counts the requests of a phase, and returns how many failed.
fn take_in(exchanges: &[Exchange], report: &mut Report) -> usize {
    let failed = failures(exchanges).len();
    report.requests += exchanges.len();
    report.failed += failed;
    failed
}

/// From the kill to the end of the last request that failed or was delayed.
fn failover(exchanges: &[Exchange], killed_at: Instant) -> Duration {
    let was_hit = |exchange: &&Exchange| exchange.outcome.is_err() || exchange.took() > DELAYED;
    let ends = exchanges.iter().filter(was_hit).map(|exchange| exchange.ended_at);
    ends.max().map_or(Duration::ZERO, |end| end.saturating_duration_since(killed_at))
}

/// Whether a request failed for which the kill is no excuse.
fn is_failure_outside(exchange: &Exchange, killed_at: Instant) -> bool {
    let excused =
        exchange.ended_at >= killed_at && exchange.started_at <= killed_at + NOTICED_WITHIN;
    exchange.outcome.is_err() && !excused
}

/// Opens connections until one is to `backend`.
fn open_connection_to(stage: &Stage<'_>, backend: &str) -> Result<Connection> {
    let mut open = vips(PORT).into_iter().cycle().take(2 * stage.webs.len()).filter_map(|vip| {
        let mut connection = Connection::open(vip, TIMEOUT).ok()?;
        (connection.get("/").ok()?.backend == backend).then_some(connection)
    });
    open.next().with_context(|| format!("open a connection to {backend}"))
}
