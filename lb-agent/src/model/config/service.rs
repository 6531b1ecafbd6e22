//! `[[service]]` and `[[service.backend]]`.
//!
//! A service is first read as a [`Draft`], which keeps what is valid of it and where it stands, so that
//! services can be compared although one of them has a problem.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use toml::Spanned;
use toml::de::DeValue;

use super::address::{self, unicast};
use super::health_check::health_check;
use super::problem::Fault;
use super::reader::{List, Located, Table};
use super::value::{boolean, choice, integer, name, nearest, type_name};
use super::{
    Backend, BackendState, DEFAULT_WEIGHT, Forward, HealthCheck, MAX_WEIGHT, OnBackendDown,
    Protocol, Scheduler, Service,
};
use crate::model::desired::rotation;

/// The health checks of the file by name; `None`: it has a problem.
pub(super) type HealthChecks = BTreeMap<String, Option<HealthCheck>>;

const LATER_KEYS: &[&str] = &[
    "slow_start",
    "drain_timeout",
    "panic_threshold",
    "affinity",
    "allow",
    "limits",
    "pool",
    "role",
    "role_fallback",
];
const LATER_SCHEDULERS: &[&str] = &["lc", "wlc", "sh", "maglev", "random"];

/// A service as far as it is valid.
pub(super) struct Draft {
    pub(super) name: Option<Located<String>>,
    pub(super) listen: List<SocketAddr>,
    pub(super) protocol: Option<Protocol>,
    pub(super) backends: Vec<BackendDraft>,
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
}

/// Reads a service.
pub(super) fn draft(mut table: Table<'_>, checks: &HealthChecks) -> Draft {
    let name = table.required("name", "\"shop\"", name);
    let listen = table.required_list("listen", "[\"203.0.113.10:80\"]", unicast);
    let protocol = table.or("protocol", Protocol::Tcp, choice(&[]));
    let rest = rest(&mut table, checks);
    let backends =
        table.sections("backend", "[[service.backend]]").into_iter().map(backend).collect();
    table.finish(LATER_KEYS);
    Draft { name, listen, protocol: protocol.map(|protocol| protocol.value), backends, rest }
}

fn rest(table: &mut Table<'_>, checks: &HealthChecks) -> Option<Rest> {
    let forward = table.or("forward", Forward::Nat, choice(&[]));
    let scheduler = table.or("scheduler", Scheduler::RoundRobin, choice(LATER_SCHEDULERS));
    let on_backend_down = table.or("on_backend_down", OnBackendDown::Reset, choice(&[]));
    let health_check = match table.raw("health_check") {
        Some(value) => select_check(table, value, checks).map(Some),
        None => Some(None),
    };
    Some(Rest {
        forward: forward?,
        scheduler: scheduler?.value,
        health_check: health_check?,
        on_backend_down: on_backend_down?.value,
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

    /// The longest rotation behind a listen address: that of all backends of its family.
    pub(super) fn longest_rotation(&self, listen: SocketAddr) -> u64 {
        let weights = self.backends.iter().filter_map(|backend| {
            let mut addresses = backend.address.items.iter();
            addresses.find(|address| address.value.is_ipv4() == listen.is_ipv4())?;
            let weight = backend.rest.map_or(DEFAULT_WEIGHT, |(weight, ..)| weight);
            (weight > 0).then_some(u64::from(weight))
        });
        let weights: Vec<u64> = weights.collect();
        match self.rest.as_ref().map(|rest| rest.scheduler) {
            Some(Scheduler::WeightedRoundRobin) => rotation::length(weights),
            Some(Scheduler::RoundRobin) | None => u64::try_from(weights.len()).unwrap_or(u64::MAX),
        }
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
