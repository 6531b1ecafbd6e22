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

/// Seconds since 1970-01-01 UTC; 0 if the machine's clock stands before that.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The tick of the flow table's ages.
///
/// The packet path takes it from `bpf_ktime_get_coarse_ns`, which is this clock to within a few
/// milliseconds; either side may be a tick ahead of the other.
#[must_use]
pub fn tick() -> u64 {
    let since_boot =
        clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_or(Duration::ZERO, Duration::from);
    tick_at(since_boot)
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
    fn the_clock_of_the_ages_runs() {
        assert!(tick() > 0 || now().elapsed() < Duration::from_secs(5));
        assert!(unix_seconds() > 1_700_000_000);
    }
}
