//! Time without service when the Active director fails, beside keepalived with `HAProxy` on the same machines.
//!
//! Both directors of a system have the same priority, so whoever is Active stays so, and the faults befall them in
//! turn. The systems take turns too, for each has a pair of machines of its own.

use std::fmt::Write;
use std::time::Duration;

use anyhow::Result;
use lb_tests::binaries::Binaries;
use lb_tests::pair::Pair;
use serde::Serialize;

use super::Arguments;
use super::budget::Budget;
use super::results::Results;
use super::row::Row;
use super::show::number;
use crate::failover::{Directors, Fault, System, Trial, attempt, pair};
use crate::packages;

/// Connections that are open at each failover.
const N_OPEN: usize = 50;
/// Intervals between advertisements, and failovers of each kind that are measured.
const ADVERTS: [(Duration, usize); 3] =
    [(Duration::from_millis(10), 20), (Duration::from_millis(100), 5), (Duration::from_secs(1), 3)];
const QUICK_ROUNDS: usize = 3;

/// What is told of failovers besides the median of times without service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Failover {
    /// What has happened.
    fault: &'static str,
    /// Milliseconds between two advertisements.
    advert_ms: u64,
    /// What it has happened to.
    system: &'static str,
    /// Milliseconds without service.
    blackout_ms: Blackout,
    /// Requests of an ordinary client that failed in all rounds, however often TCP tried.
    failed_requests: usize,
    /// Those that it sent.
    requests: usize,
    /// Connections that were open, in all rounds.
    open_connections: usize,
    /// Those that broke.
    broken_connections: usize,
    /// Milliseconds that a surviving one had to wait at most.
    longest_stall_ms: u64,
}

/// Milliseconds of all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Blackout {
    median: f64,
    min: f64,
    max: f64,
}

/// Measures all cases that are asked for.
pub(crate) fn run(arguments: &Arguments, budget: Budget, results: &mut Results) -> Result<()> {
    packages::ensure_for_failovers()?;
    let binaries = arguments.binaries()?;
    let named = |case: (Duration, usize)| (format!("adverts of {} ms", case.0.as_millis()), case);
    let adverts = ADVERTS.map(named).to_vec();
    results.of_each(
        budget,
        adverts,
        |_| 1,
        |results, _, (advert, rounds)| {
            let faults =
                Fault::ALL.into_iter().filter(|fault| arguments.wants(&case(*fault, advert)));
            let faults: Vec<_> = faults.collect();
            let usual = if arguments.quick { QUICK_ROUNDS } else { rounds };
            let rounds =
                arguments.rounds.map_or(usual, |rounds| usize::try_from(rounds).unwrap_or(usual));
            if !faults.is_empty() {
                results.rows.extend(measure(arguments, &binaries, advert, &faults, rounds)?);
            }
            Ok(())
        },
    );
    Ok(())
}

fn case(fault: Fault, advert: Duration) -> String {
    format!("{}, adverts of {} ms", fault.name(), advert.as_millis())
}

/// All faults at one interval.
fn measure(
    arguments: &Arguments,
    binaries: &Binaries,
    advert: Duration,
    faults: &[Fault],
    rounds: usize,
) -> Result<Vec<Row>> {
    let start = |pair, system| Directors::start(pair, binaries, system, advert);
    let pairs: [Pair; 2] = [pair()?, pair()?];
    let [first, second] = &pairs;
    let mut systems = [start(first, System::Sluice)?, start(second, System::Classic)?];
    let mut rows = Vec::new();
    for fault in faults {
        let case = case(*fault, advert);
        arguments.say(&format!("failover: {case}, {rounds} of each system"));
        let mut trials = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            for (directors, trials) in systems.iter_mut().zip(&mut trials) {
                let trial = attempt(directors, *fault, N_OPEN)?;
                arguments.say(&format!(
                    "  {} ms, {} of {} broken",
                    trial.silence.as_millis(),
                    trial.broken,
                    trial.open
                ));
                trials.push(trial);
                directors.recover(*fault)?;
            }
        }
        let [sluice, classic] = trials;
        rows.extend(compare(&case, *fault, advert, &sluice, &classic));
    }
    Ok(rows)
}

fn compare(
    case: &str,
    fault: Fault,
    advert: Duration,
    sluice: &[Trial],
    classic: &[Trial],
) -> [Row; 2] {
    let open = u32::try_from(N_OPEN).unwrap_or_default();
    let row = |system: System, trials: &[Trial]| {
        let name = format!("{case}, {}", system.name());
        let row = Row::of("failover", &name, ("IPv4", open), "ms", &silences(trials));
        Row { failover: Some(Failover::of(fault, advert, system, trials)), ..row }
    };
    let (ours, theirs) = (silences(sluice), silences(classic));
    let compared = row(System::Sluice, sluice).beside(System::Classic.name(), &ours, &theirs);
    [compared, row(System::Classic, classic)]
}

fn silences(trials: &[Trial]) -> Vec<f64> {
    trials.iter().map(|trial| trial.silence.as_secs_f64() * 1_000.0).collect()
}

impl Failover {
    fn of(fault: Fault, advert: Duration, system: System, trials: &[Trial]) -> Self {
        let silences = silences(trials);
        let sum = |of: fn(&Trial) -> usize| trials.iter().map(of).sum();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let stalls = trials.iter().map(|trial| trial.longest_stall);
        Self {
            fault: fault.name(),
            advert_ms: millis(advert),
            system: system.name(),
            blackout_ms: Blackout {
                median: super::statistics::Spread::of(silences.iter().copied()).median,
                min: silences.iter().copied().fold(f64::INFINITY, f64::min),
                max: silences.iter().copied().fold(0.0, f64::max),
            },
            failed_requests: sum(|trial| trial.failed),
            requests: sum(|trial| trial.requests),
            open_connections: sum(|trial| trial.open),
            broken_connections: sum(|trial| trial.broken),
            longest_stall_ms: millis(stalls.max().unwrap_or_default()),
        }
    }
}

/// The rows of failovers for a page; `None`: they are of something else.
pub(crate) fn table(rows: &[Row]) -> Option<String> {
    let failovers: Option<Vec<_>> = rows.iter().map(|row| row.failover.as_ref()).collect();
    let mut text = String::from(
        "| fault | adverts | system | without service, median | min to max | open connections broken | \
         requests failed | longest stall of a survivor |\n|---|--:|---|--:|--:|--:|--:|--:|\n",
    );
    for it in failovers? {
        let Blackout { median, min, max } = it.blackout_ms;
        // Writing to a string cannot fail.
        writeln!(
            text,
            "| {} | {} ms | {} | {} ms | {} to {} ms | {} of {} | {} of {} | {} ms |",
            it.fault,
            it.advert_ms,
            it.system,
            number(median, "ms"),
            number(min, "ms"),
            number(max, "ms"),
            it.broken_connections,
            it.open_connections,
            it.failed_requests,
            it.requests,
            it.longest_stall_ms
        )
        .ok();
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use lb_tests::clock::now;

    use super::*;

    fn trial(silence: u64, broken: usize) -> Trial {
        let longest_stall = Duration::from_millis(silence + 200);
        Trial {
            fault_at: now(),
            beats: Vec::new(),
            silence: Duration::from_millis(silence),
            requests: 100,
            failed: broken,
            open: 50,
            broken,
            longest_stall,
        }
    }

    #[test]
    fn a_result_has_what_scripts_ask_for_and_the_page_shows() {
        let (ours, theirs) = ([trial(30, 0), trial(34, 0)], [trial(40, 50), trial(60, 50)]);
        let advert = Duration::from_millis(10);
        let case = case(Fault::Silent, advert);
        let rows = compare(&case, Fault::Silent, advert, &ours, &theirs);
        let json = serde_json::to_value(&rows).unwrap();
        let [ours, theirs] = [&json[0], &json[1]];
        assert_eq!(
            (&ours["system"], &theirs["system"]),
            (&"sluice".into(), &"keepalived-haproxy".into())
        );
        assert_eq!((&ours["fault"], &ours["advert_ms"]), (&"silent machine".into(), &10.into()));
        assert_eq!(
            ours["blackout_ms"],
            serde_json::json!({"median": 32.0, "min": 30.0, "max": 34.0})
        );
        assert_eq!(ours["ratio"], f64::midpoint(0.75, 34.0 / 60.0));
        let keys = ["failed_requests", "open_connections", "broken_connections"];
        assert_eq!(keys.map(|key| theirs[key].as_u64()), [Some(100), Some(100), Some(100)]);
        let page = table(&rows).unwrap();
        let line = "| silent machine | 10 ms | sluice | 32 ms | 30 to 34 ms | 0 of 100 | 0 of 200 | 234 ms |";
        assert!(page.lines().any(|it| it == line), "{page}");
        assert_eq!(table(&[Row::of("wire", "a", ("IPv4", 1), "ns", &[1.0])]), None);
    }
}
