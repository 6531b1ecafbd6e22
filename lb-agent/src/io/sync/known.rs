//! What a peer is known to know: what it was told, and what it has told itself.
//!
//! An agent that dies leaves words on their way, which are heard while the next one of its host is told already. What
//! the dead one knew says nothing of the next, whose flow table may be a new one.

use std::sync::Arc;

use crate::io::datapath::Shadow;

/// Of one peer. By default it is not told anything.
#[derive(Default)]
pub(super) struct Known {
    /// The run of its agent that is told, once that has said so.
    run: Option<u64>,
    shadow: Arc<Shadow>,
}

impl Known {
    /// It is told everything anew.
    pub(super) fn forget(&mut self, shadow: Shadow) {
        self.shadow = Arc::new(shadow);
    }

    /// This run of its agent is told.
    pub(super) fn is_told(&mut self, run: u64) {
        self.run = Some(run);
    }

    /// For what it is told.
    pub(super) fn shadow(&self) -> Arc<Shadow> {
        Arc::clone(&self.shadow)
    }

    /// For what a run of its agent tells; without a place for anything unless that one is told too.
    pub(super) fn shadow_of(&self, run: u64) -> Arc<Shadow> {
        if self.run == Some(run) { self.shadow() } else { Arc::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const CELL: u64 = 7;

    /// Takes note that a run has told a cell; says what the shadow has of it.
    fn note(known: &Known, run: u64) -> u64 {
        if let Some(place) = known.shadow_of(run).first() {
            place.store(CELL, Ordering::Relaxed);
        }
        known.shadow().first().unwrap().load(Ordering::Relaxed)
    }

    #[test]
    fn what_an_earlier_run_of_a_peer_has_told_is_not_known_to_the_one_that_is_told() {
        let mut known = Known::default();
        known.forget(vec![AtomicU64::new(0)]);
        // It has not said yet which one it is.
        assert_eq!(note(&known, 1), 0);
        known.is_told(2);
        assert_eq!(note(&known, 1), 0);
        assert_eq!(note(&known, 2), CELL);
        known.forget(vec![AtomicU64::new(0)]);
        assert_eq!((note(&known, 1), note(&known, 2)), (0, CELL));
    }
}
