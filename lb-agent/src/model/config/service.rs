//! `[[service]]` and `[[service.backend]]`.
//!
//! A service is first read as a [`Draft`], which keeps what is valid of it and where it stands, so that
//! services can be compared although one of them has a problem.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::address::{self, unicast};
use super::affinity::affinity;
use super::duration::duration;
use super::firewall::addresses;
use super::health_check::health_check;
use super::limits::limits;
use super::problem::Fault;
use super::reader::{List, Located, Table};
use super::value::{boolean, choice, integer, name, nearest, share, type_name};
use super::{
    Affinity, Backend, BackendState, DEFAULT_WEIGHT, Forward, HealthCheck, Limits, MAX_WEIGHT,
    OnBackendDown, Protocol, Scheduler, Service,
};
use crate::model::desired::least_turns;
use crate::model::firewall::Match;

/// The health checks of the file by name; `None`: it has a problem.
pub(super) type HealthChecks = BTreeMap<String, Option<HealthCheck>>;

const LATER_KEYS: &[&str] = &["pool", "role", "role_fallback"];
const SECOND: Duration = Duration::from_secs(1);
const LONGEST_SLOW_START: Duration = Duration::from_hours(1);
const LONGEST_DRAIN: Duration = Duration::from_hours(24);

/// A service as far as it is valid.
pub(super) struct Draft {
    pub(super) name: Option<Located<String>>,
    pub(super) listen: List<SocketAddr>,
    pub(super) protocol: Option<Protocol>,
    pub(super) backends: Vec<BackendDraft>,
    pub(super) allow: List<Match>,
    rest: Option<Rest>,
}

/// A backend as far as it is valid.
pub(super) struct BackendDraft {
    pub(super) name: Option<Located<String>>,
    pub(super) address: List<SocketAddr>,
    rest: Option<(u32, BackendState, bool)>,
}

/// What is valid or not by itself.
struct Rest {
    forward: Located<Forward>,
    scheduler: Scheduler,
    health_check: Option<HealthCheck>,
    on_backend_down: OnBackendDown,
    slow_start: Option<Duration>,
    drain_timeout: Option<Duration>,
    panic_threshold: Option<f64>,
    affinity: Option<Affinity>,
    limits: Option<Limits>,
}

/// Reads a service.
pub(super) fn draft(mut table: Table<'_>, checks: &HealthChecks) -> Draft {
    let name = table.required("name", "\"shop\"", name);
    let listen = table.required_list("listen", "[\"203.0.113.10:80\"]", unicast);
    let protocol = table.or("protocol", Protocol::Tcp, choice(&[]));
    let rest = rest(&mut table, checks);
    let backends =
        table.sections("backend", "[[service.backend]]").into_iter().map(backend).collect();
    let allow = table.list("allow", "[\"198.51.100.0/24\"]", addresses);
    let allow = allow.unwrap_or(List { items: Vec::new(), whole: true });
    table.finish(LATER_KEYS);
    Draft { name, listen, protocol: protocol.map(|protocol| protocol.value), backends, allow, rest }
}

fn rest(table: &mut Table<'_>, checks: &HealthChecks) -> Option<Rest> {
    let forward = table.or("forward", Forward::Nat, choice(&[]));
    let scheduler = table.or("scheduler", Scheduler::RoundRobin, choice(&[]));
    let on_backend_down = table.or("on_backend_down", OnBackendDown::Reset, choice(&[]));
    let health_check = match table.raw("health_check") {
        Some(value) => select_check(table, value, checks).map(Some),
        None => Some(None),
    };
    let slow_start = table.optional("slow_start", duration(SECOND..=LONGEST_SLOW_START));
    let drain_timeout = table.optional("drain_timeout", duration(SECOND..=LONGEST_DRAIN));
    let panic_threshold = table.optional("panic_threshold", share);
    let affinity = match table.raw("affinity") {
        Some(value) => affinity(table, value).map(Some),
        None => Some(None),
    };
    let limits = match table.raw("limits") {
        Some(value) => limits(table, value).map(Some),
        None => Some(None),
    };
    Some(Rest {
        forward: forward?,
        scheduler: scheduler?.value,
        health_check: health_check?,
        on_backend_down: on_backend_down?.value,
        slow_start: slow_start?.map(|found| found.value),
        drain_timeout: drain_timeout?.map(|found| found.value),
        panic_threshold: panic_threshold?.map(|found| found.value),
        affinity: affinity?,
        limits: limits?,
    })
}

/// The check that a service names or spells out.
fn select_check<'r>(
    table: &Table<'r>,
    value: &'r Spanned<DeValue<'r>>,
    checks: &HealthChecks,
) -> Option<HealthCheck> {
    if value.get_ref().is_table() {
        return health_check(table.of("health_check = { … }", value)?, None);
    }
    let Some(name) = value.get_ref().as_str() else {
        let found = type_name(value.get_ref());
        let message = format!("expected the name of a health check or a table, found {found}");
        let fault = Fault::new(message, "write it as in \"web\" or { type = \"tcp\" }");
        table.report.add(fault.at(&value.span()));
        return None;
    };
    if let Some(check) = checks.get(name) {
        return check.clone();
    }
    let help = match nearest(name, checks.keys().map(String::as_str)) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("add a table `[health_check.{name}]`"),
    };
    let fault = Fault::new(format!("there is no health check {name:?}"), help);
    table.report.add(fault.at(&value.span()));
    None
}

fn backend(mut table: Table<'_>) -> BackendDraft {
    let name = table.required("name", "\"web1\"", name);
    let address = table.required_list("address", address::EXAMPLE, unicast);
    let weight = table.or("weight", DEFAULT_WEIGHT, integer(0..=MAX_WEIGHT));
    let state = table.or("state", BackendState::Ready, choice(&[]));
    let backup = table.or("backup", false, boolean);
    table.finish(&[]);
    let rest = || Some((weight?.value, state?.value, backup?.value));
    BackendDraft { name, address, rest: rest() }
}

impl Draft {
    /// How its packets are forwarded, if that is known.
    pub(super) fn forward(&self) -> Option<&Located<Forward>> {
        self.rest.as_ref().map(|rest| &rest.forward)
    }

    /// The backends that can serve a VIP of the family: their number, and the slots that they take at least.
    pub(super) fn in_family(&self, is_ipv4: bool) -> (usize, u64) {
        let crosses = self.forward().is_some_and(|forward| forward.value.crosses_families());
        let has_one = |backend: &&BackendDraft| {
            let mut addresses = backend.address.items.iter();
            addresses.any(|address| crosses || address.value.is_ipv4() == is_ipv4)
        };
        let backends = self.backends.iter().filter(has_one);
        let weights: Vec<u32> = backends
            .map(|backend| backend.rest.map_or(DEFAULT_WEIGHT, |(weight, ..)| weight))
            .collect();
        let rest = self.rest.as_ref();
        let scheduler = rest.map_or(Scheduler::RoundRobin, |rest| rest.scheduler);
        let ramps = rest.is_some_and(|rest| rest.slow_start.is_some());
        (weights.len(), least_turns(scheduler, &weights, ramps))
    }

    /// The service, unless a part of it has a problem.
    pub(super) fn finish(self) -> Option<Service> {
        let rest = self.rest?;
        Some(Service {
            name: self.name?.value,
            listen: self.listen.items.into_iter().map(|address| address.value).collect(),
            protocol: self.protocol?,
            forward: rest.forward.value,
            scheduler: rest.scheduler,
            health_check: rest.health_check,
            on_backend_down: rest.on_backend_down,
            slow_start: rest.slow_start,
            drain_timeout: rest.drain_timeout,
            panic_threshold: rest.panic_threshold,
            affinity: rest.affinity,
            limits: rest.limits,
            allow: self
                .allow
                .whole
                .then(|| self.allow.items.into_iter().map(|it| it.value).collect())?,
            backends: self.backends.into_iter().map(BackendDraft::finish).collect::<Option<_>>()?,
        })
    }
}

impl BackendDraft {
    fn finish(self) -> Option<Backend> {
        let (weight, state, backup) = self.rest?;
        Some(Backend {
            name: self.name?.value,
            address: self.address.items.into_iter().map(|address| address.value).collect(),
            weight,
            state,
            backup,
        })
    }
}
