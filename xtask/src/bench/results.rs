//! What benchmarks came to: rows, and the parts of which there are none. A part that fails takes no other with it.

use std::collections::BTreeSet;

use anyhow::{Error, Result, bail};

use super::budget::{Budget, TimeIsOver};
use super::row::Row;

/// A part without rows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Missing {
    bench: &'static str,
    part: String,
    why: String,
    /// Or there was no time for it.
    failed: bool,
}

/// All of a run.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// The benchmark that goes on.
    bench: &'static str,
    /// What was measured.
    pub(crate) rows: Vec<Row>,
    missing: Vec<Missing>,
}

impl Results {
    /// What comes is of this benchmark.
    pub(crate) fn begin(&mut self, bench: &'static str) {
        self.bench = bench;
    }

    /// The rows of the benchmark that goes on.
    pub(crate) fn of_this_bench(&self) -> Vec<Row> {
        self.rows.iter().filter(|row| row.bench == self.bench).cloned().collect()
    }

    /// Runs parts with their names one after the other, each with a share of the time by its weight.
    pub(crate) fn of_each<T>(
        &mut self,
        budget: Budget,
        parts: Vec<(String, T)>,
        weight: impl Fn(&T) -> u32,
        mut run: impl FnMut(&mut Self, Budget, T) -> Result<()>,
    ) {
        for (budget, (name, part)) in budget.divide(parts, |(_, part)| weight(part)) {
            let ran = budget.map_err(Error::from).and_then(|budget| run(self, budget, part));
            self.note(&name, ran);
        }
    }

    /// Says why there is nothing of a part, if it has failed.
    pub(crate) fn note(&mut self, part: &str, ran: Result<()>) {
        let Err(error) = ran else { return };
        let (part, why) = (part.to_owned(), format!("{error:#}"));
        eprintln!("{}: {part}: {why}", self.bench);
        self.missing.push(Missing {
            bench: self.bench,
            part,
            why,
            failed: !error.is::<TimeIsOver>(),
        });
    }

    /// Whether nothing was asked for.
    pub(crate) fn are_empty(&self) -> bool {
        self.rows.is_empty() && self.missing.is_empty()
    }

    /// The parts that a benchmark is without.
    pub(crate) fn missing_of(&self, bench: &str) -> Vec<&str> {
        let missing = self.missing.iter().filter(|missing| missing.bench == bench);
        missing.map(|missing| missing.part.as_str()).collect()
    }

    /// Benchmarks of which nothing was measured at all.
    pub(crate) fn without_rows(&self) -> BTreeSet<&'static str> {
        let missing = self.missing.iter().map(|missing| missing.bench);
        missing.filter(|bench| self.rows.iter().all(|row| row.bench != *bench)).collect()
    }

    /// Fails if a part has; for one without time, `--quick` is the reason, which was asked for.
    pub(crate) fn check(&self) -> Result<()> {
        let failed = self.missing.iter().filter(|missing| missing.failed);
        let failed: Vec<_> =
            failed.map(|it| format!("\n  {}: {}: {}", it.bench, it.part, it.why)).collect();
        if !failed.is_empty() {
            bail!("{} parts have failed:{}", failed.len(), failed.concat());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anyhow::Context;

    use super::super::budget::tests::{budget, endless, spend};
    use super::*;

    const PARTS: [&str; 3] = ["first", "second", "third"];

    fn row(case: &str) -> Row {
        Row::of("wire", case, ("IPv4", 1), "ns", &[1.0])
    }

    fn run(budget: Budget, mut one: impl FnMut(&str) -> Result<()>) -> Results {
        let mut results = Results::default();
        results.begin("wire");
        let parts = PARTS.map(|name| (name.to_owned(), name)).to_vec();
        results.of_each(
            budget,
            parts,
            |_| 1,
            |results, _, part| {
                one(part)?;
                results.rows.push(row(part));
                Ok(())
            },
        );
        results
    }

    #[test]
    fn a_part_that_fails_is_named_at_the_end_and_the_others_are_measured() {
        let fails = |part: &str| {
            if part == "second" { None::<()>.context("no wrk here") } else { Ok(()) }
        };
        let results = run(endless(), fails);
        assert_eq!(results.rows, ["first", "third"].map(row));
        assert_eq!(results.missing_of("wire"), ["second"]);
        assert!(results.missing_of("http").is_empty() && !results.are_empty());
        let error = results.check().unwrap_err().to_string();
        assert_eq!(error, "1 parts have failed:\n  wire: second: no wrk here");
        assert!(results.without_rows().is_empty());
        assert!(run(endless(), |_| Ok(())).check().is_ok());
        let nothing = run(endless(), |_| None::<()>.context("no root"));
        assert_eq!(nothing.without_rows().into_iter().collect::<Vec<_>>(), ["wire"]);
    }

    #[test]
    fn parts_without_time_are_named_and_are_no_failures() {
        let slow = |_: &str| {
            spend(Duration::from_secs(50));
            Ok(())
        };
        let results = run(budget(Duration::from_mins(1)), slow);
        assert_eq!(results.rows.len(), 2);
        assert_eq!(results.missing_of("wire"), ["third"]);
        results.check().unwrap();
    }
}
