//! How much is told and heard in a second.

use std::mem::take;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// What went over a connection in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Cells.
    pub cells: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Counts by the second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    /// When the second began that is being counted.
    since: Option<Instant>,
    counting: Rate,
    last: Rate,
}

impl Meter {
    /// So much more.
    pub fn count(&mut self, now: Instant, more: Rate) {
        self.turn(now);
        self.counting.cells += more.cells;
        self.counting.bytes += more.bytes;
    }

    /// The last whole second, which has ended less than a second ago.
    pub fn rate(mut self, now: Instant) -> Rate {
        self.turn(now);
        self.last
    }

    fn turn(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let passed = now.saturating_duration_since(since);
        if passed >= 2 * SECOND {
            *self = Self { since: Some(now), ..Self::default() };
        } else if passed >= SECOND {
            (self.since, self.last) = (Some(since + SECOND), take(&mut self.counting));
        }
    }
}
