//! Health of the backends: when to probe, and what the results mean.
//!
//! A pure machine: it says which probes to start and is told how they ended. The one hard fact: a backend
//! that dies is down within `interval * fall + timeout`, because jitter only ever shortens the wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub use lb_common::api::Health;

use super::agent::{ProbeOutcome, Target};
use super::config::{BackendState, Config, HealthCheck};
pub use checked::Checked;
use jitter::Jitter;

mod checked;
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

/// Most targets whose first probes start at the same time: each takes a socket.
const AT_ONCE: usize = 64;

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
    /// those that are probed first do not serve alone. The first probes of many are spread over an interval.
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
        let n_new = new.len();
        for (place, (target, check)) in new.into_iter().enumerate() {
            let interval = check.map_or(Duration::ZERO, |check| check.interval);
            let first_at = now + spread(interval, place, n_new);
            let known = known.get(&target.address).copied();
            let checked = Checked { next_at: first_at, ..Checked::new(now, check) }.knowing(known);
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

    /// A probe could not be carried out; the next one comes when it would have come anyway.
    pub fn not_probed(&mut self, target: &Target, reason: String) {
        self.stale.remove(target);
        let Some(checked) = self.targets.get_mut(target) else { return };
        checked.under_way = false;
        checked.missed = Some(reason);
        self.waiting.extend(checked.waits(target));
    }

    /// Why the last probe of a target could not be carried out, if there is such a target.
    pub fn missed(&self) -> Option<&str> {
        self.targets.values().find_map(Checked::missed)
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
    /// as up until its first probe has ended, which takes no longer than its interval and its timeout.
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

/// How long the first probe of one of `n` new targets is put off. Those that do not start at once are spread
/// over one interval: no longer than a target waits that was probed when its server died.
fn spread(interval: Duration, place: usize, n: usize) -> Duration {
    let later = |count: usize| u32::try_from(count.saturating_sub(AT_ONCE)).unwrap_or(u32::MAX);
    interval / later(n).saturating_add(1) * later(place + 1)
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
