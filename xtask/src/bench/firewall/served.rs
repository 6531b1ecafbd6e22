//! What clients saw during floods, as rows: those of Sluice, each beside another system.

use std::fmt::Write;
use std::time::Duration;

use lb_tests::pulse::Beat;

use super::super::http::contender::Contender;
use super::super::row::{Floor, Row};
use super::super::show::number;
use super::super::statistics::Spread;
use super::flood::{PACE, Rate, SYSTEMS};

/// One system at one rate, for some time.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    /// The requests of the client with an interface of its own, and of that on the flood's.
    pub(super) clients: [Vec<Beat>; 2],
    /// SYNs that were sent.
    pub(super) sent: u64,
    /// Frames that the director's interface took.
    pub(super) arrived: u64,
    /// The time of both.
    pub(super) seconds: f64,
}

impl Sample {
    /// All rounds as if they were one.
    fn of_all(rounds: &[Self]) -> Self {
        let mut all = Self::default();
        for round in rounds {
            for (client, beats) in all.clients.iter_mut().zip(&round.clients) {
                client.extend(beats);
            }
            all.sent += round.sent;
            all.arrived += round.arrived;
            all.seconds += round.seconds;
        }
        all
    }
}

/// A number of a sample.
pub(super) struct Metric {
    /// As cases name it.
    pub(super) name: &'static str,
    unit: &'static str,
    value: fn(&Sample) -> f64,
    /// Whose connections it is about.
    flows: fn(&Sample) -> &[Beat],
    /// Whether there is anything to say without a flood.
    needs_flood: bool,
}

pub(super) const METRICS: [Metric; 6] = [
    Metric {
        name: "own port served",
        unit: "%",
        value: |it| share(own(it)),
        flows: own,
        needs_flood: false,
    },
    Metric {
        name: "own port p99",
        unit: "ms",
        value: |it| p99(own(it)),
        flows: own,
        needs_flood: false,
    },
    Metric {
        name: "shared port served",
        unit: "%",
        value: |it| share(shared(it)),
        flows: shared,
        needs_flood: false,
    },
    Metric {
        name: "shared port p99",
        unit: "ms",
        value: |it| p99(shared(it)),
        flows: shared,
        needs_flood: false,
    },
    Metric {
        name: "SYNs sent",
        unit: "1/s",
        value: |it| a_second(it.sent, it),
        flows: |_| &[],
        needs_flood: true,
    },
    Metric {
        name: "SYNs arrived",
        unit: "1/s",
        value: |it| a_second(it.arrived, it),
        flows: |_| &[],
        needs_flood: true,
    },
];

fn own(sample: &Sample) -> &[Beat] {
    let [own, _] = &sample.clients;
    own
}

fn shared(sample: &Sample) -> &[Beat] {
    let [_, shared] = &sample.clients;
    shared
}

/// Per cent that were answered.
fn share(beats: &[Beat]) -> f64 {
    let answered = beats.iter().filter(|beat| beat.is_answered).count();
    100.0 * count(answered) / count(beats.len()).max(1.0)
}

/// Milliseconds in which 99 of 100 were answered; one that failed counts as the time after which clients give up.
fn p99(beats: &[Beat]) -> f64 {
    let time = |beat: &Beat| if beat.is_answered { beat.took } else { PACE.patience };
    let mut times: Vec<Duration> = beats.iter().map(time).collect();
    times.sort();
    let place = (times.len() * 99).div_ceil(100).saturating_sub(1);
    times.get(place).map_or(0.0, |time| time.as_secs_f64() * 1_000.0)
}

fn a_second(number: u64, sample: &Sample) -> f64 {
    count(usize::try_from(number).unwrap_or_default()) / sample.seconds
}

fn count(count: usize) -> f64 {
    u32::try_from(count).unwrap_or(u32::MAX).into()
}

/// The rows of a rate. Values are of all rounds together, for a median would hide the losses of a single round.
pub(super) fn compare(rate: Rate, samples: &[Vec<Sample>; 3]) -> Vec<Row> {
    let has_flood = rate != Rate::Of(0);
    let metrics = METRICS.iter().filter(|metric| has_flood || !metric.needs_flood);
    let [ours, others @ ..] = samples;
    let rows = metrics.flat_map(|metric| {
        let others = SYSTEMS.iter().skip(1).zip(others);
        others.map(|(other, theirs)| row(metric, rate, ours, (other.name(), theirs)))
    });
    rows.collect()
}

fn row(metric: &Metric, rate: Rate, ours: &[Sample], (other, theirs): (&str, &[Sample])) -> Row {
    let (all, all_theirs) = (Sample::of_all(ours), Sample::of_all(theirs));
    let (value, floor) = ((metric.value)(&all), (metric.value)(&all_theirs));
    let flows = u32::try_from((metric.flows)(&all).len()).unwrap_or(u32::MAX);
    let case = format!("{} {}", rate.name(), metric.name);
    let row = Row::of("firewall", &case, ("IPv4", flows), metric.unit, &[value]);
    Row {
        spread: Spread::of(ours.iter().map(metric.value)),
        floor: Some(Floor { name: other.to_owned(), value: floor }),
        ratio: (floor > 0.0).then(|| value / floor),
        ..row
    }
}

/// Whether a row is one of these.
pub(crate) fn is_of_a_flood(row: &Row) -> bool {
    row.case.starts_with("flood=")
}

/// A column for each system.
pub(crate) fn table(rows: &[Row]) -> String {
    let names = SYSTEMS.map(Contender::name).join(" | ");
    let mut text = format!("| case | connections | {names} |\n|---|--:|--:|--:|--:|\n");
    for same in rows.chunk_by(|a, b| a.case == b.case) {
        let Some(Row { case, flows, value, unit, .. }) = same.first() else { continue };
        let floors = same.iter().filter_map(|row| row.floor.as_ref()).map(|floor| floor.value);
        let values = std::iter::once(*value).chain(floors);
        let values = values.map(|value| format!("{} {unit}", number(value, unit)));
        let values = values.collect::<Vec<_>>().join(" | ");
        // Writing to a string cannot fail.
        writeln!(text, "| {case} | {flows} | {values} |").ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use lb_tests::clock::now;

    use super::*;

    fn sample(answered: usize, of: usize) -> Sample {
        let beat = |n: usize| Beat {
            at: now(),
            took: Duration::from_millis(2),
            is_answered: n < answered,
        };
        let beats: Vec<_> = (0..of).map(beat).collect();
        Sample { clients: [beats.clone(), beats], sent: 400, arrived: 300, seconds: 2.0 }
    }

    #[test]
    fn losses_of_a_single_round_show_and_who_failed_has_waited_to_the_end() {
        let rounds = [sample(100, 100), sample(100, 100), sample(90, 100)];
        let samples = [rounds.to_vec(), vec![sample(50, 100)], vec![sample(0, 100)]];
        let rows = compare(Rate::Of(100_000), &samples);
        let find = |case: &str, other: &str| {
            let row = rows.iter().find(|row| {
                row.case == case && row.floor.as_ref().is_some_and(|floor| floor.name == other)
            });
            row.unwrap_or_else(|| panic!("{case} beside {other}")).clone()
        };
        let is = |value: f64, expected: f64| assert!((value - expected).abs() < 1e-9, "{value}");
        let served = find("flood=100000 own port served", "HAProxy");
        assert_eq!((served.flows, served.unit), (300, "%"));
        is(served.value, 290.0 / 3.0);
        is(served.floor.unwrap().value, 50.0);
        assert_eq!(find("flood=100000 own port served", "nftables synproxy").ratio, None);
        is(find("flood=100000 shared port p99", "HAProxy").value, 5_000.0);
        is(find("flood=100000 SYNs arrived", "HAProxy").value, 150.0);
        assert_eq!(rows.len(), 12);
        let line = "| flood=100000 own port served | 300 | 96.67 % | 50.00 % | 0.00 % |";
        let page = table(&rows);
        assert!(page.lines().any(|it| it == line) && page.lines().count() == 8, "{page}");
    }

    #[test]
    fn without_a_flood_no_syns_are_told_of() {
        let samples = [vec![sample(99, 100)], vec![sample(100, 100)], vec![sample(98, 100)]];
        let rows = compare(Rate::Of(0), &samples);
        assert!(rows.len() == 8 && rows.iter().all(|row| !row.case.contains("SYNs")), "{rows:?}");
        let p99 = rows.iter().find(|row| row.case == "flood=0 own port p99").unwrap();
        assert_eq!((p99.value, p99.ratio), (2.0, Some(1.0)));
    }
}
