//! Which backends of a service take new flows, with which weight, and what becomes of the flows of the others.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;

use lb_common::layout::{BACKEND_DOWN_RESET, BACKEND_UP};

use super::Known;
use super::ring::Member;
use super::rotation::lowest_terms;
use crate::model::agent::Target;
use crate::model::config::{Backend, BackendState, Service};
use crate::model::health::{Checks, Health};
use crate::model::paces::Paces;

/// The backends that have an address of one family.
pub(super) struct Members<'a> {
    /// A state for each.
    pub(super) states: BTreeMap<SocketAddr, u8>,
    /// Those that take new flows, with weights that nothing divides.
    pub(super) serving: Vec<(SocketAddr, u32)>,
    /// All that have a weight, and the part of it that counts now.
    pub(super) configured: Vec<Member>,
    names: Vec<&'a str>,
}

/// A backend at its address of the family.
struct Candidate<'a> {
    backend: &'a Backend,
    address: SocketAddr,
    target: Target,
    health: Health,
    is_reached: bool,
}

/// Whether a backup, and of which health. A backup serves only when no primary can, and a backend of unknown
/// health only when none of its tier is known to be up, or beside the others of its service right after the
/// agent's first start.
const TIERS: [(bool, Health); 4] =
    [(false, Health::Up), (false, Health::Unknown), (true, Health::Up), (true, Health::Unknown)];

impl<'a> Members<'a> {
    pub(super) fn of(service: &'a Service, known: Known<'_>, is_ipv4: bool) -> Self {
        let Known { checks, paces, .. } = known;
        let is_reached = |address: SocketAddr| known.next_hops.contains_key(&address.ip());
        let candidates = candidates(service, checks, is_reached, is_ipv4);
        let serving = serving(service, &candidates);
        let mut states: BTreeMap<_, _> = candidates
            .iter()
            .map(|candidate| (candidate.address, state(service, candidate, checks, paces)))
            .collect();
        // In panic some of them are down.
        states.extend(serving.iter().map(|candidate| (candidate.address, BACKEND_UP)));
        let names = serving.iter().map(|candidate| candidate.backend.name.as_str()).collect();
        let serves: HashSet<SocketAddr> =
            serving.iter().map(|candidate| candidate.address).collect();
        let configured = candidates.iter().filter_map(|candidate| {
            let (address, weight) = (candidate.address, weight(service, candidate.backend));
            let serves = serves.contains(&address);
            let percent = if serves { paces.percent(&candidate.target) } else { 0 };
            (weight > 0).then_some(Member { address, weight, percent })
        });
        let configured: Vec<Member> = configured.collect();
        Self { states, serving: weighed(&configured), configured, names }
    }

    /// Who takes turns, whatever the address.
    pub(super) fn rotation(&self) -> impl Iterator<Item = (&str, u32)> {
        self.names.iter().copied().zip(self.serving.iter().map(|(_, weight)| *weight))
    }
}

/// Each backend that can serve a VIP of the family, with its address: of the same family, or where a tunnel
/// leads to another one, of that.
fn candidates<'a>(
    service: &'a Service,
    checks: &Checks,
    is_reached: impl Fn(SocketAddr) -> bool,
    is_ipv4: bool,
) -> Vec<Candidate<'a>> {
    let backends = service.backends.iter().filter_map(|backend| {
        let address = address(service, backend, is_ipv4)?;
        let target = Target::new(service, backend, address);
        let (health, is_reached) = (checks.taken_for(&target), is_reached(address));
        Some(Candidate { backend, address, target, health, is_reached })
    });
    backends.collect()
}

fn address(service: &Service, backend: &Backend, is_ipv4: bool) -> Option<SocketAddr> {
    let same = backend.address.iter().find(|address| address.is_ipv4() == is_ipv4);
    let other = backend.address.first().filter(|_| service.forward.crosses_families());
    same.or(other).copied()
}

/// The weights of all backends that can serve a VIP of the family and have one.
pub(super) fn weights(service: &Service, is_ipv4: bool) -> impl Iterator<Item = u32> {
    let backends = service.backends.iter();
    let reachable = backends.filter(move |backend| address(service, backend, is_ipv4).is_some());
    reachable.map(|backend| weight(service, backend)).filter(|weight| *weight > 0)
}

/// The best tier that is not empty; in panic all primaries. A backend without a next hop serves only when all
/// are without, so that what is dropped then is dropped for that reason.
fn serving<'c, 'a>(service: &Service, candidates: &'c [Candidate<'a>]) -> Vec<&'c Candidate<'a>> {
    let ready = candidates.iter().filter(|candidate| is_ready(candidate.backend));
    let ready: Vec<_> = ready.collect();
    let panics = panics(service, &ready);
    let any_reached =
        ready.iter().any(|candidate| candidate.is_reached && serves(candidate, panics));
    let tier = |candidate: &Candidate<'_>| (candidate.backend.backup, candidate.health);
    let ready: Vec<_> = ready
        .into_iter()
        .filter(|candidate| serves(candidate, panics) && candidate.is_reached == any_reached)
        .collect();
    if panics {
        return ready;
    }
    let best =
        TIERS.into_iter().find(|best| ready.iter().any(|candidate| tier(candidate) == *best));
    ready.into_iter().filter(|candidate| Some(tier(candidate)) == best).collect()
}

/// Whether a backend can be among those that serve.
fn serves(candidate: &Candidate<'_>, panics: bool) -> bool {
    if panics { !candidate.backend.backup } else { candidate.health != Health::Down }
}

/// Whether too few primaries are healthy for health to be believed. A backup that can serve goes before
/// primaries of which none is healthy.
fn panics(service: &Service, ready: &[&Candidate<'_>]) -> bool {
    let healthy = |backup: bool| {
        let all = ready.iter().filter(move |candidate| candidate.backend.backup == backup);
        let healthy = all.clone().filter(|candidate| candidate.health == Health::Up);
        (count(healthy), count(all))
    };
    let ((n_healthy, n_primaries), (n_backups, _)) = (healthy(false), healthy(true));
    let threshold = service.panic_threshold.unwrap_or_default();
    (n_healthy > 0 || n_backups == 0) && f64::from(n_healthy) < threshold * f64::from(n_primaries)
}

fn count<T>(all: impl Iterator<Item = T>) -> u32 {
    u32::try_from(all.count()).unwrap_or(u32::MAX)
}

/// Whether a service sends flows to backends although they are not healthy, for too few are.
pub(in crate::model) fn is_in_panic(service: &Service, checks: &Checks) -> bool {
    [true, false].into_iter().any(|is_ipv4| {
        let candidates = candidates(service, checks, |_| true, is_ipv4);
        let ready: Vec<_> =
            candidates.iter().filter(|candidate| is_ready(candidate.backend)).collect();
        panics(service, &ready)
    })
}

/// Whether any backend of a service is ready and not known to be dead.
pub(in crate::model) fn can_serve(service: &Service, checks: &Checks) -> bool {
    service.keys().any(|key| {
        let candidates = candidates(service, checks, |_| true, key.address.is_ipv4());
        candidates.iter().any(|candidate| is_ready(candidate.backend) && serves(candidate, false))
    })
}

/// Whether a backend takes new flows as far as its operator is concerned.
pub(in crate::model) fn is_ready(backend: &Backend) -> bool {
    backend.state == BackendState::Ready && backend.weight > 0
}

fn state(service: &Service, candidate: &Candidate<'_>, checks: &Checks, paces: &Paces) -> u8 {
    if paces.is_over(&service.name, &candidate.backend.name) {
        return BACKEND_DOWN_RESET;
    }
    let dead = checks.of(&candidate.target) == Health::Down;
    let maint = candidate.backend.state == BackendState::Maint;
    if dead || maint { super::down(service) } else { BACKEND_UP }
}

fn weight(service: &Service, backend: &Backend) -> u32 {
    if service.scheduler.minds_weights() { backend.weight } else { backend.weight.min(1) }
}

/// Those that serve, with the weights that count now.
fn weighed(members: &[Member]) -> Vec<(SocketAddr, u32)> {
    let serving = members.iter().filter(|member| member.percent > 0);
    let weights: Vec<u32> = serving.clone().map(|member| member.weight * member.percent).collect();
    let weights = lowest_terms(&weights).into_iter();
    let weights = weights.map(|weight| u32::try_from(weight).unwrap_or(u32::MAX));
    serving.map(|member| member.address).zip(weights).collect()
}
