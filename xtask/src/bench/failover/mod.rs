//! Time without service when a director fails, beside keepalived with `HAProxy` and with conntrackd on machines laid out
//! alike; and the time until a director that joins knows all flows.
//!
//! Both directors of a system have the same priority, so whoever is Active stays so, and the faults befall them in
//! turn; but for the return of a preferred one. The systems take turns too, for each has a pair of machines of its own.

mod join;

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
use crate::failover::{Beside, Directors, Fault, Setup, System, Trial, attempt, pair};
use crate::{demo, packages};

/// Connections that are open at each failover: a thousand in all rounds of a case.
const N_OPEN: usize = 200;
/// Intervals between advertisements; `--quick` takes the first alone.
const ADVERTS: [Duration; 3] =
    [Duration::from_millis(10), Duration::from_millis(100), Duration::from_secs(1)];
const ROUNDS: u32 = 5;
const QUICK_ROUNDS: u32 = 3;
/// Who is measured. The first is compared with the second.
const SYSTEMS: [System; 3] =
    [System::Sluice, System::Classic(Beside::Haproxy), System::Classic(Beside::Conntrackd)];

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

/// What is measured with the same directors, or the time that one takes to join.
enum Part {
    Faults(Group),
    Join,
}

struct Group {
    advert: Duration,
    has_preferred: bool,
    faults: Vec<Fault>,
}

/// Measures all cases that are asked for.
pub(crate) fn run(arguments: &Arguments, budget: Budget, results: &mut Results) -> Result<()> {
    let binaries = arguments.binaries()?;
    let parts = parts(arguments).into_iter().map(|part| (part.name(), part)).collect();
    results.of_each(budget, parts, Part::weight, |results, budget, part| match part {
        Part::Faults(group) => measure(arguments, &binaries, &group, budget, results),
        Part::Join => {
            results.rows.push(join::run(arguments, &binaries, budget)?);
            Ok(())
        }
    });
    Ok(())
}

/// Builds what the cases need that are asked for.
pub(crate) fn prepare(arguments: &Arguments) -> Result<()> {
    packages::ensure_for_failovers()?;
    arguments.binaries()?;
    let upgrades = |part: &Part| match part {
        Part::Faults(group) => group.faults.contains(&Fault::Upgrade),
        Part::Join => false,
    };
    if arguments.binaries.is_none() && parts(arguments).iter().any(upgrades) {
        demo::build_before()?;
    }
    Ok(())
}

fn parts(arguments: &Arguments) -> Vec<Part> {
    let adverts = ADVERTS.into_iter().take(if arguments.quick { 1 } else { ADVERTS.len() });
    let groups = adverts.flat_map(|advert| {
        [false, true].map(|has_preferred| Group::of(arguments, advert, has_preferred))
    });
    let asked_for = groups.filter(|group| !group.faults.is_empty()).map(Part::Faults);
    asked_for.chain(arguments.wants(join::CASE).then_some(Part::Join)).collect()
}

impl Part {
    fn name(&self) -> String {
        match self {
            Self::Faults(group) => format!("adverts of {} ms", group.advert.as_millis()),
            Self::Join => join::CASE.to_owned(),
        }
    }

    fn weight(&self) -> u32 {
        match self {
            Self::Faults(group) => u32::try_from(group.faults.len()).unwrap_or(u32::MAX),
            Self::Join => 1,
        }
    }
}

impl Group {
    fn of(arguments: &Arguments, advert: Duration, has_preferred: bool) -> Self {
        let faults = Fault::ALL.into_iter().filter(|fault| {
            (*fault == Fault::Return) == has_preferred && arguments.wants(&case(*fault, advert))
        });
        Self { advert, has_preferred, faults: faults.collect() }
    }
}

fn case(fault: Fault, advert: Duration) -> String {
    format!("{}, adverts of {} ms", fault.name(), advert.as_millis())
}

/// All faults of a group.
fn measure(
    arguments: &Arguments,
    binaries: &Binaries,
    group: &Group,
    budget: Budget,
    results: &mut Results,
) -> Result<()> {
    let Group { advert, has_preferred, ref faults } = *group;
    let before =
        if faults.contains(&Fault::Upgrade) { binaries.before()? } else { binaries.clone() };
    let versions = [binaries.clone(), before];
    let pairs: Vec<Pair> = SYSTEMS.iter().map(|_| pair()).collect::<Result<_>>()?;
    let start =
        |(pair, system)| Directors::start(pair, &versions, Setup { system, advert, has_preferred });
    let mut systems: Vec<_> = pairs.iter().zip(SYSTEMS).map(start).collect::<Result<_>>()?;
    let faults = faults.iter().map(|fault| (case(*fault, advert), *fault)).collect();
    results.of_each(
        budget,
        faults,
        |_| 1,
        |results, budget, fault| {
            arguments.say(&format!("failover: {}", case(fault, advert)));
            let mut trials = SYSTEMS.map(|system| (system, Vec::new()));
            for _ in budget.rounds(ROUNDS, QUICK_ROUNDS) {
                for (directors, (system, trials)) in systems.iter_mut().zip(&mut trials) {
                    budget.step()?;
                    let trial = attempt(directors, fault, N_OPEN)?;
                    arguments.say(&told(*system, &trial));
                    trials.push(trial);
                    directors.recover(fault)?;
                }
            }
            results.rows.extend(compare(fault, advert, &trials));
            Ok(())
        },
    );
    Ok(())
}

fn told(system: System, trial: &Trial) -> String {
    format!(
        "  {}: {} ms, {} of {} broken, {} of {} failed",
        system.name(),
        trial.silence.as_millis(),
        trial.broken,
        trial.open,
        trial.failed,
        trial.requests
    )
}

fn compare(fault: Fault, advert: Duration, trials: &[(System, Vec<Trial>)]) -> Vec<Row> {
    let open = u32::try_from(N_OPEN).unwrap_or_default();
    let row = |(system, trials): &(System, Vec<Trial>)| {
        let name = format!("{}, {}", case(fault, advert), system.name());
        let row = Row::of("failover", &name, ("IPv4", open), "ms", &silences(trials));
        Row { failover: Some(Failover::of(fault, advert, *system, trials)), ..row }
    };
    let mut rows: Vec<_> = trials.iter().map(row).collect();
    if let ([(_, ours), (system, theirs), ..], Some(first)) = (trials, rows.first_mut()) {
        let compared = first.clone().beside(system.name(), &silences(ours), &silences(theirs));
        *first = compared;
    }
    rows
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

/// The rows of failovers for a page.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| fault | adverts | system | without service, median | min to max | open connections broken | \
         requests failed | longest stall of a survivor |\n|---|--:|---|--:|--:|--:|--:|--:|\n",
    );
    for it in rows.iter().filter_map(|row| row.failover.as_ref()) {
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
    text
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
        let (ours, theirs) = (vec![trial(30, 0), trial(34, 0)], vec![trial(40, 50), trial(60, 50)]);
        let advert = Duration::from_millis(10);
        let mut trials = SYSTEMS.map(|system| (system, ours.clone()));
        trials[1].1 = theirs;
        let rows = compare(Fault::Silent, advert, &trials);
        let json = serde_json::to_value(&rows).unwrap();
        let names = ["sluice", "keepalived-haproxy", "keepalived-conntrackd"];
        assert_eq!([0, 1, 2].map(|system| json[system]["system"].as_str()), names.map(Some));
        let [ours, theirs] = [&json[0], &json[1]];
        assert_eq!((&ours["fault"], &ours["advert_ms"]), (&"silent machine".into(), &10.into()));
        assert_eq!(
            ours["blackout_ms"],
            serde_json::json!({"median": 32.0, "min": 30.0, "max": 34.0})
        );
        assert_eq!(ours["ratio"], f64::midpoint(0.75, 34.0 / 60.0));
        let keys = ["failed_requests", "open_connections", "broken_connections"];
        assert_eq!(keys.map(|key| theirs[key].as_u64()), [Some(100), Some(100), Some(100)]);
        let page = table(&rows);
        let line = "| silent machine | 10 ms | sluice | 32 ms | 30 to 34 ms | 0 of 100 | 0 of 200 | 234 ms |";
        assert!(page.lines().any(|it| it == line), "{page}");
    }
}
