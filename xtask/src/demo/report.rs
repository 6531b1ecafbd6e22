//! What the demo found out, and whether that is what is promised.

use std::collections::BTreeMap;

use serde::Serialize;

/// The numbers of a demo; with `--json` they are all that is printed.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Requests that were sent.
    pub(crate) requests: usize,
    /// Requests that failed: only the killed backend may be the reason.
    pub(crate) failed: usize,
    /// Answers by backend, before one was killed.
    pub(crate) by_backend: BTreeMap<String, usize>,
    /// Milliseconds from the kill to the end of the last request that failed or was delayed.
    pub(crate) failover_ms: u64,
    /// Whether a backend was drained without a failure.
    pub(crate) drained: bool,
    /// Whether every phase went as promised.
    pub(crate) ok: bool,
    /// What did not go as promised, a sentence each.
    #[serde(skip)]
    pub(crate) problems: Vec<String>,
}

impl Report {
    /// Takes note of a promise.
    pub(crate) fn expect(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(problem());
        }
    }

    /// The closing words.
    pub(crate) fn verdict(&self) -> String {
        let numbers = format!("{} requests, {} failed", self.requests, self.failed);
        if self.ok {
            return format!(
                "Everything went as promised: {numbers}, failover in {} ms.",
                self.failover_ms
            );
        }
        format!("Not as promised ({numbers}):\n  {}", self.problems.join("\n  "))
    }
}

/// Whether no two counts differ by more than one, and none of `n` backends is missing.
pub(crate) fn is_even(counts: &BTreeMap<String, usize>, n: usize) -> bool {
    let (least, most) = (counts.values().min(), counts.values().max());
    counts.len() == n && least.zip(most).is_some_and(|(least, most)| most - least <= 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_even_if_they_differ_by_at_most_one() {
        let counts = |numbers: &[usize]| {
            numbers.iter().enumerate().map(|(index, n)| (format!("web{index}"), *n)).collect()
        };
        assert!(is_even(&counts(&[10, 11, 10]), 3));
        assert!(!is_even(&counts(&[10, 12, 10]), 3));
        assert!(!is_even(&counts(&[10, 10]), 3));
        assert!(!is_even(&counts(&[]), 0));
    }
}
