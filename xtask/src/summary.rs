//! Counts of tests by level, and the table that sums them up.

use std::fmt;
use std::time::Duration;

/// The levels of test, cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Pure code on the host.
    Unit,
    /// Expected frames from an independent builder.
    Oracle,
    /// Frames through the kernel.
    Kernel,
    /// Real clients and servers in network namespaces.
    Namespaces,
}

/// How the names of targets begin that need the kernel, but no world.
const ON_THE_KERNEL: [&str; 3] = ["kernel", "datapath", "netlink"];

impl Level {
    /// All levels.
    pub(crate) const ALL: [Self; 4] = [Self::Unit, Self::Oracle, Self::Kernel, Self::Namespaces];

    /// The level of a test target, by its name: targets that need root are in `lb-tests`.
    pub(crate) fn of(target: &str, needs_root: bool) -> Self {
        match (target, needs_root) {
            (name, _) if name.starts_with("oracle") => Self::Oracle,
            (name, true) if ON_THE_KERNEL.iter().any(|it| name.starts_with(it)) => Self::Kernel,
            (_, true) => Self::Namespaces,
            (_, false) => Self::Unit,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Unit => "1 unit",
            Self::Oracle => "2 oracle",
            Self::Kernel => "3 kernel",
            Self::Namespaces => "4 namespaces",
        }
    }
}

/// How tests ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Tests that passed.
    pub(crate) passed: u32,
    /// Tests that failed.
    pub(crate) failed: u32,
    /// Tests that were not run.
    pub(crate) ignored: u32,
    /// How long they took.
    pub(crate) time: Duration,
}

impl Counts {
    /// Reads the line with which a test binary ends: `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let mut result = Self::default();
        for part in counts.split("; ") {
            match part.split_once(' ') {
                Some((n, "passed")) => result.passed = n.parse().ok()?,
                Some((n, "failed")) => result.failed = n.parse().ok()?,
                Some((n, "ignored")) => result.ignored = n.parse().ok()?,
                Some(_) | None => {}
            }
        }
        Some(result)
    }

    /// Adds other tests to these.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.time += other.time;
    }
}

/// The name of a test that failed, from the line that says so: `test name ... FAILED`.
pub(crate) fn parse_failed(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

/// What all tests came to.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    parts: Vec<(Level, Counts)>,
    failed: Vec<String>,
}

impl Summary {
    /// Takes in the counts of one test binary.
    pub(crate) fn add(&mut self, level: Level, counts: Counts) {
        self.parts.push((level, counts));
    }

    /// Takes in the command that repeats a test that failed.
    pub(crate) fn add_failed(&mut self, command: String) {
        self.failed.push(command);
    }

    /// The counts of one level.
    fn of(&self, level: Level) -> Counts {
        let mut sum = Counts::default();
        self.parts.iter().filter(|part| part.0 == level).for_each(|part| sum.add(part.1));
        sum
    }

    /// All tests.
    pub(crate) fn total(&self) -> Counts {
        let mut sum = Counts::default();
        self.parts.iter().for_each(|part| sum.add(part.1));
        sum
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<14}{:>8}{:>8}{:>9}{:>9}", "LEVEL", "PASSED", "FAILED", "IGNORED", "TIME")?;
        let mut row = |title: &str, counts: Counts| {
            let Counts { passed, failed, ignored, time } = counts;
            let time = format!("{:.1} s", time.as_secs_f32());
            writeln!(f, "{title:<14}{passed:>8}{failed:>8}{ignored:>9}{time:>9}")
        };
        for level in Level::ALL {
            row(level.title(), self.of(level))?;
        }
        row("all", self.total())?;
        self.failed.iter().try_for_each(|command| writeln!(f, "failed: {command}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_test_binary_is_understood() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.02s";
        let counts = Counts::parse(line).unwrap();
        assert_eq!((counts.passed, counts.failed, counts.ignored), (12, 3, 1));
        assert_eq!(Counts::parse("test a ... ok"), None);
    }

    #[test]
    fn a_failed_test_is_named() {
        assert_eq!(parse_failed("test a::b ... FAILED"), Some("a::b"));
        assert_eq!(parse_failed("test a::b ... ok"), None);
    }

    #[test]
    fn a_level_sums_up_its_binaries() {
        let mut summary = Summary::default();
        let three = Counts { passed: 3, ..Counts::default() };
        summary.add(Level::Unit, three);
        summary.add(Level::Kernel, three);
        summary.add(Level::Unit, Counts { failed: 1, ..three });
        assert_eq!(summary.of(Level::Unit).passed, 6);
        assert_eq!((summary.total().passed, summary.total().failed), (9, 1));
    }

    #[test]
    fn the_level_is_in_the_name_of_the_target() {
        assert_eq!(Level::of("lb_agent", false), Level::Unit);
        assert_eq!(Level::of("oracle_nat", false), Level::Oracle);
        assert_eq!(Level::of("kernel_frames", true), Level::Kernel);
        assert_eq!(Level::of("datapath", true), Level::Kernel);
        assert_eq!(Level::of("failover", true), Level::Namespaces);
    }
}
