//! The load: `wrk` in a namespace, and its report.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::command::run;
use lb_tests::namespace::Namespace;

/// Connections at a time.
pub(crate) const CONNECTIONS: u32 = 64;

/// How requests share connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connections {
    /// One for each request.
    New,
    /// All over the same few.
    Kept,
}

impl Connections {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::New, Self::Kept];

    /// As results name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::New => "new connections",
            Self::Kept => "keep-alive",
        }
    }
}

/// What `wrk` reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Report {
    /// Number of requests.
    pub(crate) requests: f64,
    /// Requests a second.
    pub(crate) rate: f64,
    /// Microseconds.
    pub(crate) p50: f64,
    /// Microseconds.
    pub(crate) p99: f64,
}

/// Asks for `/` at an address for some time.
pub(crate) fn load(
    client: &Namespace,
    address: &str,
    connections: Connections,
    time: Duration,
) -> Result<Report> {
    let mut command = client.command("wrk");
    command.args(["--threads", "2", "--latency", "--connections", &CONNECTIONS.to_string()]);
    command.args(["--duration", &format!("{}s", time.as_secs()), "--timeout", "10s"]);
    if connections == Connections::New {
        command.args(["--header", "Connection: close"]);
    }
    let text = run(command.arg(format!("http://{address}/")))?;
    ensure!(!text.contains("Socket errors"), "requests to {address} failed:\n{text}");
    ensure!(!text.contains("Non-2xx"), "requests to {address} were refused:\n{text}");
    parse(&text).with_context(|| format!("parse the report of wrk:\n{text}"))
}

fn parse(text: &str) -> Option<Report> {
    let line = |is_it: fn(&str) -> bool| text.lines().map(str::trim).find(|line| is_it(line));
    let requests = line(|line| line.contains(" requests in "))?.split(' ').next()?.parse().ok()?;
    let rate = line(|line| line.starts_with("Requests/sec:"))?;
    let rate = rate.split_whitespace().nth(1)?.parse().ok()?;
    let time = |line: &str| microseconds(line.split_whitespace().nth(1)?);
    let p50 = time(line(|line| line.starts_with("50%"))?)?;
    let p99 = time(line(|line| line.starts_with("99%"))?)?;
    Some(Report { requests, rate, p50, p99 })
}

/// `87.00us`, `1.50ms`, `2.00s`.
fn microseconds(text: &str) -> Option<f64> {
    for (unit, length) in [("us", 1.0), ("ms", 1_000.0), ("s", 1_000_000.0)] {
        if let Some(number) = text.strip_suffix(unit) {
            return Some(number.parse::<f64>().ok()? * length);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "Running 2s test @ http://192.0.2.11/
  2 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.01ms  500.00us   9.00ms   90.00%
  Latency Distribution
     50%  870.00us
     75%    1.20ms
     90%    1.60ms
     99%    2.50ms
  40000 requests in 2.01s, 6.00MB read
Requests/sec:  19900.50
Transfer/sec:      3.00MB
";

    #[test]
    fn the_report_is_understood() {
        let report = parse(REPORT).unwrap();
        let expected = Report { requests: 40_000.0, rate: 19_900.5, p50: 870.0, p99: 2_500.0 };
        assert_eq!(report, expected);
        assert_eq!(parse("unable to connect"), None);
    }

    #[test]
    fn seconds_are_not_mistaken_for_smaller_units() {
        assert_eq!(microseconds("2.00s"), Some(2_000_000.0));
        assert_eq!(microseconds("2.00m"), None);
    }
}
