//! What cannot be told of one value alone: unique names and addresses, families that match, limits.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};

use lb_common::{MAX_BACKENDS, MAX_LISTENERS};

use super::Protocol;
use super::address::family;
use super::problem::{Fault, Report, Span};
use super::reader::Located;
use super::service::{BackendDraft, Draft};
use crate::model::desired::MOST_TURNS;

/// Checks the services of a file against each other, and each service's backends.
pub(super) fn check(report: &Report, services: &[Draft]) {
    unique_services(report, services);
    for service in services {
        unique_backends(report, service);
        one_per_family(report, &service.backends);
        every_family_served(report, service);
    }
    no_vip_as_backend(report, services);
    within_limits(report, services);
}

/// What was seen, and where first.
struct Seen<'a, K>(HashMap<K, &'a Span>);

impl<'a, K: Eq + Hash> Seen<'a, K> {
    fn new() -> Self {
        Self(HashMap::new())
    }

    /// Reports a key that was seen before.
    fn once(&mut self, report: &Report, key: K, span: &'a Span, fault: impl FnOnce() -> Fault) {
        if let Some(first) = self.0.get(&key) {
            report.add(fault().at(span).and(first, "first used here"));
        } else {
            self.0.insert(key, span);
        }
    }
}

fn unique_services(report: &Report, services: &[Draft]) {
    let mut names = Seen::new();
    let mut listeners: Seen<'_, (SocketAddr, Protocol)> = Seen::new();
    for service in services {
        if let Some(Located { value, span }) = &service.name {
            names.once(report, value, span, || {
                Fault::new(
                    format!("the service name {value:?} is used twice"),
                    "give each service a name of its own",
                )
            });
        }
        let Some(protocol) = service.protocol else { continue };
        for Located { value, span } in &service.listen.items {
            listeners.once(report, (*value, protocol), span, || {
                Fault::new(
                    format!("{value} is listened on twice with the same protocol"),
                    "give one of the two another address, port or protocol",
                )
            });
        }
    }
}

fn unique_backends(report: &Report, service: &Draft) {
    let mut names = Seen::new();
    let mut addresses = Seen::new();
    for backend in &service.backends {
        if let Some(Located { value, span }) = &backend.name {
            names.once(report, value, span, || {
                Fault::new(
                    format!("the backend name {value:?} is used twice in this service"),
                    "give each backend of a service a name of its own",
                )
            });
        }
        for Located { value, span } in &backend.address.items {
            addresses.once(report, value, span, || {
                Fault::new(
                    format!("the address {value} is used twice in this service"),
                    "remove one of the two; a weight gives a backend a greater share",
                )
            });
        }
    }
}

fn one_per_family(report: &Report, backends: &[BackendDraft]) {
    for backend in backends {
        let mut families: HashMap<&str, &Located<SocketAddr>> = HashMap::new();
        for address in &backend.address.items {
            let family = family(address.value);
            let first = families.entry(family).or_insert(address);
            // The same address twice is reported as such.
            if first.value != address.value {
                let message = format!("a second {family} address for the same backend");
                let help = "a backend has one address per family: make it two backends";
                let problem = Fault::new(message, help).at(&address.span);
                report.add(problem.and(&first.span, "the first one"));
            }
        }
    }
}

fn every_family_served(report: &Report, service: &Draft) {
    // A wrong address might have been the one that is missing.
    let unsure = service.backends.iter().any(|backend| !backend.address.whole);
    if service.backends.is_empty() || unsure {
        return;
    }
    let has_one = |is_ipv4: bool| service.in_family(is_ipv4).0 > 0;
    let (v4, v6) = (has_one(true), has_one(false));
    for Located { value, span } in &service.listen.items {
        if !(if value.is_ipv4() { v4 } else { v6 }) {
            let family = family(*value);
            let message = format!("no backend of this service has an {family} address");
            let help = format!("add an {family} address to a backend, or remove {value}");
            report.add(Fault::new(message, help).at(span));
        }
    }
}

fn no_vip_as_backend(report: &Report, services: &[Draft]) {
    let vips = services.iter().flat_map(|service| &service.listen.items);
    let vips: HashMap<IpAddr, &Span> = vips.map(|vip| (vip.value.ip(), &vip.span)).collect();
    let backends = services.iter().flat_map(|service| &service.backends);
    for address in backends.flat_map(|backend| &backend.address.items) {
        if let Some(vip) = vips.get(&address.value.ip()) {
            let message = format!("the backend address {} is a VIP", address.value.ip());
            let help = "give the address of the server itself: a VIP cannot be balanced to a VIP";
            report.add(Fault::new(message, help).at(&address.span).and(vip, "a VIP here"));
        }
    }
}

const FEWER: &str = "remove services or backends, or share them between several directors";
const LIGHTER: &str = "give weights that have a greater common divisor, remove services or backends, or share them \
                       between several directors";

/// What the rotations of all listeners take at least.
fn turns_of_all(services: &[Draft]) -> u64 {
    let of_service = |service: &Draft| {
        let families = [true, false].into_iter().map(|is_ipv4| {
            let listens = service.listen.items.iter();
            let alike = listens.filter(|listen| listen.value.is_ipv4() == is_ipv4).count();
            u64::try_from(alike).unwrap_or(u64::MAX).saturating_mul(service.in_family(is_ipv4).1)
        });
        families.sum::<u64>()
    };
    services.iter().map(of_service).sum()
}

/// The number of VIPs is not counted: no more of them fit than listeners.
fn within_limits(report: &Report, services: &[Draft]) {
    let mut room_listeners = usize::try_from(MAX_LISTENERS).unwrap_or(usize::MAX);
    let mut room_backends = usize::try_from(MAX_BACKENDS).unwrap_or(usize::MAX);
    let mut room_turns = u64::from(MOST_TURNS);
    for service in services {
        let [v4, v6] = [true, false].map(|is_ipv4| service.in_family(is_ipv4));
        for Located { value, span } in &service.listen.items {
            let (n_backends, n_turns) = if value.is_ipv4() { v4 } else { v6 };
            let listeners = room_listeners.checked_sub(1);
            let backends = room_backends.checked_sub(n_backends);
            let turns = room_turns.checked_sub(n_turns);
            let (full, help) = match (listeners, backends, turns) {
                (Some(listeners), Some(backends), Some(turns)) => {
                    (room_listeners, room_backends, room_turns) = (listeners, backends, turns);
                    continue;
                }
                (None, ..) => (format!("{MAX_LISTENERS} listen addresses"), FEWER),
                (_, None, _) => {
                    (format!("{MAX_BACKENDS} backends over all listen addresses"), FEWER)
                }
                (.., None) => {
                    let sum = turns_of_all(services);
                    (format!("{MOST_TURNS} turns in all rotations ({sum} here)"), LIGHTER)
                }
            };
            let message = format!("more than {full} do not fit into the kernel's tables");
            report.add(Fault::new(message, help).at(span));
            return;
        }
    }
}
