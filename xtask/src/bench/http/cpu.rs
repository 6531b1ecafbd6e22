//! CPU time, of the machine and of processes.

use std::time::Duration;

use anyhow::{Context, Result};

/// Milliseconds of the unit of /proc/stat: `USER_HZ` is 100 (`man 7 time`).
const UNIT: u64 = 10;

/// Time that all CPUs were busy since the start of the machine.
pub(crate) fn machine() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    parse_machine(&text).context("parse /proc/stat")
}

/// `cpu  user nice system idle iowait irq softirq steal …`.
fn parse_machine(text: &str) -> Option<Duration> {
    let fields = text.lines().next()?.strip_prefix("cpu")?.split_whitespace();
    let fields: Option<Vec<u64>> = fields.map(|field| field.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = fields?[..] else { return None };
    Some(Duration::from_millis(UNIT * (user + nice + system + irq + softirq)))
}

/// Time that a process has taken, with all its threads; none once it has ended.
pub(crate) fn process(pid: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    threads
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse().ok())
        .map(Duration::from_nanos)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_and_stolen_time_is_not_busy() {
        let text = "cpu  1 2 3 1000 2000 4 5 3000 0 0\ncpu0 1 2 3 4\n";
        assert_eq!(parse_machine(text), Some(Duration::from_millis(150)));
        assert_eq!(parse_machine("cpu  1 2"), None);
    }

    #[test]
    fn this_process_has_taken_time() {
        assert!(process(std::process::id()) > Duration::ZERO);
        assert_eq!(process(0), Duration::ZERO);
    }
}
