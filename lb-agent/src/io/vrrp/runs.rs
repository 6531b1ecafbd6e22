//! The number of this start of the agent: greater than that of every earlier one, so that the proofs of an earlier one
//! are old.
//!
//! It lies in the state folder. Where that is lost, the date is greater than the number that the last one had, unless
//! the date is lost too: then other directors discard this one's advertisements until they are restarted.

use std::path::Path;

use crate::io::{clock, store};
use crate::model::vrrp::proof::Prover;

const NAME: &str = "vrrp.run";

/// What proves this start's advertisements.
pub(super) fn prover(state: &Path, key: &[u8; 32]) -> Prover {
    let file = state.join(NAME);
    let before = std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let run = next(before, clock::unix().as_secs());
    if let Err(error) = store::save(&file, &run) {
        // The date will do, unless it jumps back.
        tracing::warn!("note the number of this start: {error}");
    }
    Prover::new(key, run)
}

fn next(before: Option<u32>, unix_seconds: u64) -> u32 {
    let date = u32::try_from(unix_seconds).unwrap_or(u32::MAX);
    before.map_or(date, |before| before.saturating_add(1).max(date))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_has_a_greater_number_than_all_before_it_wherever_the_clock_has_jumped() {
        assert_eq!(next(None, 1_000), 1_000);
        assert_eq!(next(Some(1_000), 1_000), 1_001);
        assert_eq!(next(Some(1_000), 5), 1_001);
        assert_eq!(next(Some(1_000), 9_000), 9_000);
    }
}
