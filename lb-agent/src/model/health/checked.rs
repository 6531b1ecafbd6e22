//! What is known of one target, and what one more result makes of it.

use std::time::Instant;

use super::Health;
use crate::model::agent::{ProbeOutcome, Target};
use crate::model::config::HealthCheck;

/// What is known of one target.
#[derive(Clone, Debug)]
pub struct Checked {
    /// How it is checked; `None`: it is not, and taken for healthy.
    pub check: Option<HealthCheck>,
    /// What the probes say.
    pub health: Health,
    /// Probes in a row that contradict `health`.
    pub streak: u32,
    /// How the last probe ended.
    pub last: Option<ProbeOutcome>,
    /// Since when `health` holds.
    pub since: Instant,
    pub(super) next_at: Instant,
    pub(super) under_way: bool,
    // Nothing was known of its service when the agent started.
    pub(super) is_first: bool,
    /// Why the last probe could not be carried out.
    pub(super) missed: Option<String>,
}

impl Checked {
    pub(super) fn new(now: Instant, check: Option<&HealthCheck>) -> Self {
        Self {
            health: if check.is_some() { Health::Unknown } else { Health::Up },
            check: check.cloned(),
            streak: 0,
            last: None,
            since: now,
            next_at: now,
            under_way: false,
            is_first: false,
            missed: None,
        }
    }

    /// With the health that another target of the same address had, if there is one.
    pub(super) fn knowing(self, other: Option<&Self>) -> Self {
        match other {
            Some(&Self { health, since, is_first, .. }) if self.check.is_some() => {
                Self { health, since, is_first, ..self }
            }
            Some(_) | None => self,
        }
    }

    /// The next probe, unless there is none or one is under way.
    pub(super) fn waits(&self, target: &Target) -> Option<(Instant, Target)> {
        let waits = self.check.is_some() && !self.under_way;
        waits.then(|| (self.next_at, target.clone()))
    }

    pub(super) fn missed(&self) -> Option<&str> {
        self.missed.as_deref()
    }

    /// Counts a result; `Some` if it changed the health.
    pub(super) fn take(&mut self, now: Instant, outcome: ProbeOutcome) -> Option<()> {
        if !std::mem::take(&mut self.under_way) {
            return None;
        }
        self.missed = None;
        let check = self.check.as_ref()?;
        let (says, needed) = match (outcome.passed, self.health) {
            (true, Health::Unknown) => (Health::Up, 1),
            (false, Health::Unknown) => (Health::Down, 1),
            (true, Health::Up | Health::Down) => (Health::Up, check.rise),
            (false, Health::Up | Health::Down) => (Health::Down, check.fall),
        };
        self.last = Some(outcome);
        if says == self.health {
            self.streak = 0;
            return None;
        }
        self.streak += 1;
        if self.streak < needed {
            return None;
        }
        (self.health, self.streak, self.since) = (says, 0, now);
        Some(())
    }
}
