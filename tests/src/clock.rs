//! The one place of tests and tools that reads the clock, and waits.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The time.
#[expect(clippy::disallowed_methods, reason = "the one clock of tests and tools")]
pub fn now() -> Instant {
    Instant::now()
}

/// Lets time pass: to pace requests, or between two looks at a condition; never to wait for an event.
#[expect(clippy::disallowed_methods, reason = "the one pause of tests and tools")]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Looks until `look` finds something, and gives up with the name of the thing after `within`.
pub fn wait_for<T>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = now() + within;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if now() >= end {
            bail!("waited {within:?} for {what}");
        }
        pause(LOOK_EVERY);
    }
}

/// Looks until `holds` is true, and gives up with the name of the condition after `within`.
pub fn wait_until(
    what: &str,
    within: Duration,
    mut holds: impl FnMut() -> Result<bool>,
) -> Result<()> {
    wait_for(what, within, || Ok(holds()?.then_some(())))
}
