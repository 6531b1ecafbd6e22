//! What time makes of backends: one that comes up reaches its full weight step by step, and one that is drained
//! may keep its flows only for so long.
//!
//! A pure machine on the agent's clock: [`Paces::note`] takes a look at what is so now, and says when the next
//! look is due.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::agent::Target;
use super::config::{Backend, BackendState, Config, Service};
use super::desired::is_ready;
use super::health::{Checks, Health};

/// Steps from a part of the weight to the whole.
const STEPS: u32 = 18;
const FIRST_PERCENT: u32 = 10;
const PERCENT_A_STEP: u32 = 5;
const WHOLE: u32 = 100;
/// Equal parts of which every step is a multiple.
pub(super) const PARTS: u64 = 20;

/// A backend of a service, by their names.
type Name = (String, String);

/// Since when backends are up or drained, as far as that matters. `None`: long enough.
#[derive(Clone, Debug, Default)]
pub struct Paces {
    up: BTreeMap<Target, Option<Instant>>,
    drained: BTreeMap<Name, Option<Instant>>,
    percents: BTreeMap<Target, u32>,
    over: BTreeSet<Name>,
    next: Option<Instant>,
}

impl Paces {
    /// What holds when the agent starts: who is up has been so for long; `was_over` says which drained
    /// backends had their time already.
    pub fn at_start(
        config: &Config,
        checks: &Checks,
        was_over: impl Fn(&Service, &Backend) -> bool,
    ) -> Self {
        let up = rising(config).map(|(_, target)| target);
        let up = up.filter(|target| checks.taken_for(target) == Health::Up);
        let over = draining(config).filter(|(service, backend, _)| was_over(service, backend));
        let over = over.map(|(service, backend, _)| (name(service, backend), None));
        Self { up: up.map(|up| (up, None)).collect(), drained: over.collect(), ..Self::default() }
    }

    /// Looks at what is so now.
    pub fn note(&mut self, now: Instant, config: &Config, checks: &Checks) {
        let before = std::mem::take(self);
        for (duration, target) in rising(config) {
            if checks.taken_for(&target) == Health::Up {
                let since = before.up.get(&target).copied().unwrap_or(Some(now));
                self.rise(now, since, duration, &target);
                self.up.insert(target, since);
            }
        }
        for (service, backend, duration) in draining(config) {
            let name = name(service, backend);
            let since = before.drained.get(&name).copied().unwrap_or(Some(now));
            match since.map(|since| since + duration) {
                Some(end) if now < end => self.look_at(end),
                Some(_) | None => drop(self.over.insert(name.clone())),
            }
            self.drained.insert(name, since);
        }
    }

    fn rise(&mut self, now: Instant, since: Option<Instant>, duration: Duration, target: &Target) {
        let Some(since) = since else { return };
        let steps = (1..=STEPS).map(|step| since + duration * step / STEPS);
        let Some((n_done, next)) = (0..).zip(steps).find(|(_, at)| now < *at) else { return };
        self.percents.insert(target.clone(), FIRST_PERCENT + n_done * PERCENT_A_STEP);
        self.look_at(next);
    }

    fn look_at(&mut self, at: Instant) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// When [`Self::note`] is to be called next.
    pub fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// The part of its weight that a target has now.
    pub fn percent(&self, target: &Target) -> u32 {
        self.percents.get(target).copied().unwrap_or(WHOLE)
    }

    /// Whether a drained backend has had its time.
    pub fn is_over(&self, service: &str, backend: &str) -> bool {
        !self.over.is_empty() && self.over.contains(&(service.to_owned(), backend.to_owned()))
    }
}

/// Targets that are to serve, of services that start them slowly.
fn rising(config: &Config) -> impl Iterator<Item = (Duration, Target)> {
    let services =
        config.services.iter().filter_map(|service| Some((service, service.slow_start?)));
    services.flat_map(|(service, duration)| {
        let backends = service.backends.iter().filter(|backend| is_ready(backend));
        backends.flat_map(move |backend| {
            let addresses = backend.address.iter();
            addresses.map(move |address| (duration, Target::new(service, backend, *address)))
        })
    })
}

/// Drained backends that may keep their flows for so long.
fn draining(config: &Config) -> impl Iterator<Item = (&Service, &Backend, Duration)> {
    let services = config.services.iter();
    let services = services.filter_map(|service| Some((service, service.drain_timeout?)));
    services.flat_map(|(service, duration)| {
        let backends = service.backends.iter();
        let drained = backends.filter(|backend| backend.state == BackendState::Drain);
        drained.map(move |backend| (service, backend, duration))
    })
}

fn name(service: &Service, backend: &Backend) -> Name {
    (service.name.clone(), backend.name.clone())
}
