//! Which numbers are shown, and what each is compared with.

use super::super::row::Row;
use super::contender::Contender::{self, Direct, Haproxy, Nftables, Nginx, Sluice};
use super::wrk::{CONNECTIONS, Connections};

/// What a run came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Requests a second.
    pub(crate) rate: f64,
    /// Microseconds.
    pub(crate) p50: f64,
    /// Microseconds.
    pub(crate) p99: f64,
    /// Microseconds of all CPUs for a request.
    pub(crate) machine: f64,
    /// Microseconds that the balancer's own processes and program took for a request.
    pub(crate) own: f64,
}

/// A number of each run, and whose it is shown of, beside whose.
struct Metric {
    name: &'static str,
    unit: &'static str,
    /// From a sample, and from one without a balancer of the same round.
    value: fn(&Sample, &Sample) -> f64,
    of: &'static [(Contender, Option<Contender>)],
}

const SPEED: &[(Contender, Option<Contender>)] = &[
    (Direct, None),
    (Sluice, Some(Direct)),
    (Sluice, Some(Haproxy)),
    (Haproxy, Some(Direct)),
    (Nginx, Some(Direct)),
    (Nftables, Some(Direct)),
];

const METRICS: [Metric; 5] = [
    Metric { name: "requests", unit: "1/s", value: |it, _| it.rate, of: SPEED },
    Metric { name: "p50", unit: "us", value: |it, _| it.p50, of: SPEED },
    Metric { name: "p99", unit: "us", value: |it, _| it.p99, of: SPEED },
    Metric {
        name: "CPU over none",
        unit: "us/request",
        value: |it, direct| it.machine - direct.machine,
        of: &[(Sluice, Some(Haproxy)), (Haproxy, None), (Nginx, None), (Nftables, None)],
    },
    Metric {
        name: "own CPU",
        unit: "us/request",
        value: |it, _| it.own,
        of: &[(Sluice, Some(Haproxy)), (Haproxy, None), (Nginx, None)],
    },
];

/// The rows of all metrics, from the samples of each contender.
pub(crate) fn compare(connections: Connections, samples: &[(Contender, Vec<Sample>)]) -> Vec<Row> {
    let rows = METRICS.iter().flat_map(|metric| {
        metric.of.iter().map(|(contender, floor)| {
            let values = values(metric, samples, *contender);
            let case = format!("{}, {} {}", connections.name(), contender.name(), metric.name);
            let row = Row::of("http", &case, ("IPv4", CONNECTIONS), metric.unit, &values);
            match floor {
                Some(floor) => {
                    row.beside(floor.name(), &values, &self::values(metric, samples, *floor))
                }
                None => row,
            }
        })
    });
    rows.collect()
}

fn values(metric: &Metric, samples: &[(Contender, Vec<Sample>)], of: Contender) -> Vec<f64> {
    let find = |wanted| samples.iter().find(|(contender, _)| *contender == wanted);
    let (Some((_, own)), Some((_, direct))) = (find(of), find(Direct)) else { return Vec::new() };
    own.iter().zip(direct).map(|(own, direct)| (metric.value)(own, direct)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(rate: f64, machine: f64) -> Sample {
        Sample { rate, p50: 1.0, p99: 2.0, machine, own: 1.0 }
    }

    #[test]
    fn the_cost_of_a_balancer_is_what_the_machine_does_beyond_the_direct_path() {
        let samples = [
            (Direct, vec![sample(100.0, 10.0)]),
            (Sluice, vec![sample(90.0, 12.0)]),
            (Haproxy, vec![sample(45.0, 30.0)]),
        ];
        let rows = compare(Connections::New, &samples);
        let find = |case: &str, floor: &str| {
            let row = rows.iter().find(|row| {
                row.case == case && row.floor.as_ref().is_some_and(|it| it.name == floor)
            });
            row.unwrap_or_else(|| panic!("{case} beside {floor}")).clone()
        };
        let cost = find("new connections, Sluice CPU over none", "HAProxy");
        assert_eq!((cost.value, cost.ratio), (2.0, Some(0.1)));
        let requests = find("new connections, Sluice requests", "HAProxy");
        assert_eq!(requests.ratio, Some(2.0));
    }
}
