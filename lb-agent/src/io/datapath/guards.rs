//! How much listeners are asked for, as the packet path keeps it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lb_common::layout::guard::{COOKIES_UNTIL, FLOODS, Guard};

use super::maps::Maps;

const GUARD_WORDS: usize = size_of::<Guard>() / size_of::<u64>();

/// SYN cookies of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookies {
    /// Until when SYNs are answered with them, since boot.
    pub until: Duration,
    /// How often that has begun.
    pub n_floods: u64,
}

impl Maps {
    pub(super) fn cookies(&self, listener: u32) -> Option<Cookies> {
        let guard = self.guard(listener)?;
        let word = |index: usize| Some(guard.get(index)?.load(Ordering::Relaxed));
        let until = Duration::from_nanos(word(COOKIES_UNTIL)?);
        Some(Cookies { until, n_floods: word(FLOODS)? })
    }

    /// Forgets how much the listener was asked for that had the id before.
    pub(super) fn clear_guard(&self, listener: u32) {
        let words = self.guard(listener).unwrap_or_default();
        for word in words {
            word.store(0, Ordering::Relaxed);
        }
    }

    fn guard(&self, listener: u32) -> Option<&[AtomicU64]> {
        let start = usize::try_from(listener).ok()?.checked_mul(GUARD_WORDS)?;
        self.guards.words().get(start..start + GUARD_WORDS)
    }
}
