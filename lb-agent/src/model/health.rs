//! Health of the backends: when to probe, and what the results mean.
//!
//! A pure machine: it says which probes to start and is told how they ended. The one hard fact: a backend
//! that dies is down within `interval * fall + timeout`, because jitter only ever shortens the wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

pub use lb_common::api::Health;

use super::agent::{ProbeOutcome, Target};
use super::config::{BackendState, Config, HealthCheck};
use jitter::Jitter;

mod jitter;
#[cfg(test)]
mod tests;

/// Most changes that are remembered.
pub const HISTORY: usize = 1_000;

/// Health of every target, and the schedule of the probes.
#[derive(Clone, Debug)]
pub struct Checks {
    targets: BTreeMap<Target, Checked>,
    // The next probe of every target that is checked and has no probe under way.
    waiting: BTreeSet<(Instant, Target)>,
    // Probes under way whose result no longer counts: the target or its check has changed since.
    stale: BTreeSet<Target>,
    history: VecDeque<Change>,
    n_changes: u64,
    jitter: Jitter,
    // Once every target had a result, what is added later is not waited for.
    first_round_is_over: bool,
}

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
    next_at: Instant,
    under_way: bool,
    // Nothing was known of its service when the agent started.
    is_first: bool,
}

/// A change of health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub at: Instant,
    /// Whose.
    pub target: Target,
    /// Before.
    pub from: Health,
    /// After.
    pub to: Health,
    /// How the deciding probe ended.
    pub reason: String,
}

impl Checks {
    /// Begins to check the targets of `config`, each with the health that `assumed` says.
    ///
    /// Of a service of which nothing is known, all targets serve until their first probe has ended, so that
    /// those that are probed first do not serve alone.
    pub fn new(
        now: Instant,
        seed: u64,
        config: &Config,
        assumed: impl Fn(&Target) -> Health,
    ) -> Self {
        let mut checks = Self {
            targets: BTreeMap::new(),
            waiting: BTreeSet::new(),
            stale: BTreeSet::new(),
            history: VecDeque::new(),
            n_changes: 0,
            jitter: Jitter::new(seed),
            first_round_is_over: false,
        };
        checks.reload(now, config);
        let mut known = BTreeSet::new();
        for (target, checked) in &mut checks.targets {
            if checked.check.is_some() {
                checked.health = assumed(target);
            }
            if checked.health != Health::Unknown {
                known.insert(target.service.clone());
            }
        }
        for (target, checked) in &mut checks.targets {
            checked.is_first = !known.contains(&target.service);
        }
        checks
    }

    /// Checks the targets of `config` from now on.
    ///
    /// A target that was there before keeps its health; if its check has changed, it starts a new count. One
    /// whose service or backend has another name now is known by its address.
    pub fn reload(&mut self, now: Instant, config: &Config) {
        let mut before = std::mem::take(&mut self.targets);
        let mut new = Vec::new();
        for (target, check) in targets(config) {
            let checked = match before.remove(&target) {
                Some(checked) if checked.check.as_ref() == check => checked,
                Some(checked) => self.with_new_check(now, &target, checked, check),
                None => {
                    new.push((target, check));
                    continue;
                }
            };
            self.targets.insert(target, checked);
        }
        let known = by_address(&before);
        for (target, check) in new {
            let checked = Checked::new(now, check).knowing(known.get(&target.address).copied());
            self.targets.insert(target, checked);
        }
        let gone = before.into_iter().filter(|(_, checked)| checked.under_way);
        self.stale.extend(gone.map(|(target, _)| target));
        let waiting = self.targets.iter().filter(|(target, _)| !self.stale.contains(target));
        self.waiting = waiting.filter_map(|(target, checked)| checked.waits(target)).collect();
        self.note_first_round();
    }

    fn with_new_check(
        &mut self,
        now: Instant,
        target: &Target,
        before: Checked,
        check: Option<&HealthCheck>,
    ) -> Checked {
        if before.under_way {
            self.stale.insert(target.clone());
        }
        let health = if check.is_some() { before.health } else { Health::Up };
        let Checked { last, since, is_first, .. } = before;
        Checked { health, last, since, is_first, ..Checked::new(now, check) }
    }

    /// Takes the result of a probe; says whether the target's health has changed.
    ///
    /// The result of a probe that was started for another check, or for a target that is gone, is ignored.
    pub fn handle(
        &mut self,
        now: Instant,
        target: &Target,
        outcome: ProbeOutcome,
    ) -> Option<Change> {
        let is_stale = self.stale.remove(target);
        let checked = self.targets.get_mut(target)?;
        let from = checked.health;
        let changed = if is_stale { None } else { checked.take(now, outcome) };
        self.waiting.extend(checked.waits(target));
        let change = changed.map(|()| {
            let reason = checked.last.as_ref().map(|last| last.result.clone()).unwrap_or_default();
            Change { at: now, target: target.clone(), from, to: checked.health, reason }
        });
        self.note_first_round();
        let change = change?;
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(change.clone());
        self.n_changes += 1;
        Some(change)
    }

    /// The probes to start now.
    pub fn due(&mut self, now: Instant) -> Vec<(Target, HealthCheck)> {
        let mut due = Vec::new();
        while self.waiting.first().is_some_and(|(next_at, _)| *next_at <= now) {
            let Some((planned_at, target)) = self.waiting.pop_first() else { break };
            let Some(checked) = self.targets.get_mut(&target) else { continue };
            let Some(check) = &checked.check else { continue };
            checked.under_way = true;
            let wait = self.jitter.shortened(check.interval, check.jitter);
            // Counted from the plan, so that waking up late does not add up; what was slept through is not
            // made up for.
            let next_at = planned_at + wait;
            checked.next_at = if next_at > now { next_at } else { now + wait };
            due.push((target, check.clone()));
        }
        due
    }

    /// When [`Self::due`] is to be asked next; changes with every call of a method that takes `&mut self`.
    pub fn deadline(&self) -> Option<Instant> {
        self.waiting.first().map(|(next_at, _)| *next_at)
    }

    /// Health of a target; unknown if it is not checked now.
    pub fn of(&self, target: &Target) -> Health {
        self.get(target).map_or(Health::Unknown, |checked| checked.health)
    }

    /// The health that counts when it is decided who serves: what is unknown since the agent's start counts
    /// as up until its first probe has ended, which takes no longer than its timeout.
    pub fn taken_for(&self, target: &Target) -> Health {
        match self.get(target) {
            Some(Checked { health: Health::Unknown, is_first: true, .. }) => Health::Up,
            Some(checked) => checked.health,
            None => Health::Unknown,
        }
    }

    /// A target that keeps the first round of probes from being over, if there is one: it is checked, and no
    /// probe of it has ended yet.
    pub fn first_without_result(&self) -> Option<&Target> {
        if self.first_round_is_over {
            return None;
        }
        let mut waiting = self.targets.iter();
        let found =
            waiting.find(|(_, checked)| checked.check.is_some() && checked.last.is_none())?;
        Some(found.0)
    }

    fn note_first_round(&mut self) {
        self.first_round_is_over = self.first_without_result().is_none();
    }

    /// What is known of a target; `None` if it is in maintenance or does not exist.
    pub fn get(&self, target: &Target) -> Option<&Checked> {
        self.targets.get(target)
    }

    /// Changes of health so far, those included that are no longer remembered.
    pub fn n_changes(&self) -> u64 {
        self.n_changes
    }

    /// Changes of health, oldest first.
    pub fn history(&self) -> impl Iterator<Item = &Change> {
        self.history.iter()
    }
}

impl Checked {
    fn new(now: Instant, check: Option<&HealthCheck>) -> Self {
        Self {
            health: if check.is_some() { Health::Unknown } else { Health::Up },
            check: check.cloned(),
            streak: 0,
            last: None,
            since: now,
            next_at: now,
            under_way: false,
            is_first: false,
        }
    }

    /// With the health that another target of the same address had, if there is one.
    fn knowing(self, other: Option<&Self>) -> Self {
        match other {
            Some(&Self { health, since, is_first, .. }) if self.check.is_some() => {
                Self { health, since, is_first, ..self }
            }
            Some(_) | None => self,
        }
    }

    /// The next probe, unless there is none or one is under way.
    fn waits(&self, target: &Target) -> Option<(Instant, Target)> {
        let waits = self.check.is_some() && !self.under_way;
        waits.then(|| (self.next_at, target.clone()))
    }

    /// Counts a result; `Some` if it changed the health.
    fn take(&mut self, now: Instant, outcome: ProbeOutcome) -> Option<()> {
        if !std::mem::take(&mut self.under_way) {
            return None;
        }
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

/// What probes said of each address; of one that failed any check, that it is down.
fn by_address(targets: &BTreeMap<Target, Checked>) -> BTreeMap<SocketAddr, &Checked> {
    let mut known: BTreeMap<SocketAddr, &Checked> = BTreeMap::new();
    for (target, checked) in targets.iter().filter(|(_, checked)| checked.check.is_some()) {
        let known = known.entry(target.address).or_insert(checked);
        if checked.health == Health::Down || known.health == Health::Unknown {
            *known = checked;
        }
    }
    known
}

/// Every target that is not in maintenance, and how it is checked.
fn targets(config: &Config) -> impl Iterator<Item = (Target, Option<&HealthCheck>)> {
    config.services.iter().flat_map(|service| {
        let backends =
            service.backends.iter().filter(|backend| backend.state != BackendState::Maint);
        backends.flat_map(move |backend| {
            backend.address.iter().map(move |&address| {
                (Target::new(service, backend, address), service.health_check.as_ref())
            })
        })
    })
}

impl Target {
    /// One address of a backend of a service.
    pub fn new(
        service: &super::config::Service,
        backend: &super::config::Backend,
        address: SocketAddr,
    ) -> Self {
        Self { service: service.name.clone(), backend: backend.name.clone(), address }
    }
}
