//! The clocks. No other file of the project reads one: elsewhere time is an argument.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lb_common::cell::TICK_SHIFT;
use nix::time::{ClockId, clock_gettime};

/// The monotonic clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Time since 1970-01-01 UTC; zero if the machine's clock stands before that.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Time since the boot of the machine: the monotonic clock, as all processes read it.
#[must_use]
pub fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// Tells dates of instants; an instant has the same date whenever it is asked for.
///
/// Only when the wall clock was set, by more than [`SET`], dates move with it.
#[derive(Clone, Copy, Debug)]
pub struct Calendar {
    anchor: Instant,
    unix: Duration,
}

/// What two readings of the clocks may differ in, and slewing add up to, before the clock counts as set.
const SET: Duration = Duration::from_secs(2);

impl Calendar {
    /// Both clocks were just read.
    #[must_use]
    pub fn new(now: Instant, unix: Duration) -> Self {
        Self { anchor: now, unix }
    }

    /// Follows the wall clock if it was set.
    pub fn follow(&mut self, now: Instant, unix: Duration) {
        if self.at(now).abs_diff(unix) > SET {
            *self = Self::new(now, unix);
        }
    }

    /// Seconds from 1970-01-01 UTC to `at`.
    #[must_use]
    pub fn unix_seconds(&self, at: Instant) -> u64 {
        self.at(at).as_secs()
    }

    fn at(&self, at: Instant) -> Duration {
        let after = at.saturating_duration_since(self.anchor);
        let before = self.anchor.saturating_duration_since(at);
        (self.unix + after).saturating_sub(before)
    }
}

/// The tick of the flow table's ages.
///
/// The packet path takes it from `bpf_ktime_get_coarse_ns`, which is this clock to within a few
/// milliseconds; either side may be a tick ahead of the other.
#[must_use]
pub fn tick() -> u64 {
    tick_at(coarse())
}

/// The clock of the packet path, coarse.
#[must_use]
pub fn coarse() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_or(Duration::ZERO, Duration::from)
}

/// What is to be added to ticks so that they count from 1970-01-01 UTC, on any machine, to within a tick; wraps.
#[must_use]
pub fn ticks_before_boot() -> u64 {
    ticks_between(coarse(), unix())
}

fn ticks_between(since_boot: Duration, unix: Duration) -> u64 {
    let nanoseconds = |of: Duration| of.as_nanos().cast_signed();
    let rounded =
        (nanoseconds(unix) - nanoseconds(since_boot) + (1 << (TICK_SHIFT - 1))) >> TICK_SHIFT;
    i64::try_from(rounded).unwrap_or_default().cast_unsigned()
}

fn tick_at(since_boot: Duration) -> u64 {
    u64::try_from(since_boot.as_nanos()).unwrap_or(u64::MAX) >> TICK_SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_four_seconds_and_a_bit() {
        assert_eq!(tick_at(Duration::from_secs(4)), 0);
        assert_eq!(tick_at(Duration::from_secs(5)), 1);
        assert_eq!(tick_at(Duration::from_secs(4295)), 1000);
    }

    #[test]
    fn machines_that_were_started_at_other_times_agree_on_the_tick_to_within_one() {
        for milliseconds in (0..20_000).step_by(77) {
            let unix = Duration::from_millis(1_700_000_000_000 + milliseconds);
            let ticks = [3, 4_000, 86_400_123, 1_800_000_000_000].map(|since_boot| {
                let since_boot = Duration::from_millis(since_boot + milliseconds);
                tick_at(since_boot).wrapping_add(ticks_between(since_boot, unix))
            });
            let (first, last) = (ticks.iter().min().unwrap(), ticks.iter().max().unwrap());
            assert!(last - first <= 1 && first.abs_diff(tick_at(unix)) <= 1, "{ticks:?}");
        }
    }

    #[test]
    fn an_instant_keeps_its_date_while_the_clocks_are_read_again() {
        let (start, unix) = (now(), Duration::from_millis(1_000_999));
        let mut calendar = Calendar::new(start, unix);
        let change = start + Duration::from_mins(1);
        for millis in (60_000..70_000).step_by(77) {
            let passed = Duration::from_millis(millis);
            // Between the readings of the two clocks some time passes.
            calendar.follow(start + passed, unix + passed + Duration::from_millis(millis % 5));
            assert_eq!(calendar.unix_seconds(change), 1_060);
        }
        assert_eq!(calendar.unix_seconds(start.checked_sub(Duration::from_secs(1)).unwrap()), 999);
    }

    #[test]
    fn dates_follow_a_clock_that_is_set() {
        let start = now();
        let mut calendar = Calendar::new(start, Duration::ZERO);
        let minute = Duration::from_mins(1);
        calendar.follow(start + minute, Duration::from_secs(1_000_000));
        assert_eq!(calendar.unix_seconds(start), 999_940);
    }

    #[test]
    fn the_clock_of_the_ages_runs() {
        assert!(tick() > 0 || now().elapsed() < Duration::from_secs(5));
        assert!(unix() > Duration::from_secs(1_700_000_000));
    }
}
