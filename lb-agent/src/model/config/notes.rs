//! What a valid configuration does that its author may not expect.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::address::family;
use super::{Config, Service, Vrrp, Word};
use crate::model::desired::cut;
use crate::model::firewall::{Action, Match};

/// Names that a note lists at most.
const NAMED: usize = 3;

/// A sentence for each surprise. `checks` are the names of all health checks of the file.
pub(super) fn notes<'a>(config: &Config, checks: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut notes = vips(config);
    notes.extend(config.services.iter().flat_map(service));
    notes.extend(config.vrrp.iter().filter_map(|router| virtual_router(config, router)));
    let used = config.services.iter().filter_map(|service| service.health_check.as_ref());
    let used: BTreeSet<&str> = used.filter_map(|check| check.name.as_deref()).collect();
    let unused = checks.filter(|name| !used.contains(name));
    notes.extend(unused.map(|name| format!("health check {name}: no service uses it")));
    notes.extend(firewall(config));
    notes.extend(rings(config));
    if config.services.is_empty() {
        notes.push("there is no service, so every packet is passed to the host".to_owned());
    }
    notes
}

/// Rings that are smaller than they should be.
fn rings(config: &Config) -> Option<String> {
    let (cap, names) = cut(&config.services)?;
    let some: Vec<&str> = names.iter().copied().take(NAMED).collect();
    let more = if names.len() > NAMED { ", ..." } else { "" };
    Some(format!(
        "services by sh and maglev are too many for rings of the usual size: {cap} slots are the most here, and {} \
         services have fewer than they should ({}{more}); when a backend is removed or the next service is added, \
         more flows than need be change their backend",
        names.len(),
        some.join(", ")
    ))
}

/// Sets that nobody names, and what a closed firewall closes that is easily forgotten.
fn firewall(config: &Config) -> Vec<String> {
    let Config { firewall, services, .. } = config;
    let of_rules =
        firewall.rules.iter().flat_map(|rule| rule.sources.iter().chain(&rule.destinations));
    let named = of_rules.chain(services.iter().flat_map(|service| &service.allow));
    let used: BTreeSet<&str> = named
        .filter_map(|one| match one {
            Match::Set(name) => Some(name.as_str()),
            Match::Prefix(_) => None,
        })
        .collect();
    let unused = firewall.sets.keys().filter(|name| !used.contains(name.as_str()));
    let mut notes: Vec<String> =
        unused.map(|name| format!("set {name}: no rule and no service names it")).collect();
    if firewall.policy == Action::Drop {
        let ports: Vec<String> = firewall.protect_ports.iter().map(u16::to_string).collect();
        let open = if ports.is_empty() { "none".to_owned() } else { ports.join(", ") };
        notes.push(format!(
            "firewall: what matches no rule is dropped, services and answers to what this host asks others \
             among it; TCP ports of the host that stay open: {open}"
        ));
    }
    notes
}

/// Which ports of a VIP answer.
fn vips(config: &Config) -> Vec<String> {
    let mut ports: BTreeMap<IpAddr, BTreeSet<(&str, u16)>> = BTreeMap::new();
    for service in &config.services {
        for listen in &service.listen {
            let port = (service.protocol.word(), listen.port());
            ports.entry(listen.ip()).or_default().insert(port);
        }
    }
    let line = |(vip, ports): (IpAddr, BTreeSet<(&str, u16)>)| {
        let ports: Vec<String> =
            ports.iter().map(|(protocol, port)| format!("{protocol} {port}")).collect();
        let ports = ports.join(", ");
        let router =
            config.vrrp.iter().find(|router| router.addresses.iter().any(|net| net.addr() == vip));
        let closed =
            config.datapath.manage_addresses || router.is_some_and(|router| !router.accept);
        let state = if closed { "is closed" } else { "stays open" };
        if let Some(router) = router {
            return format!(
                "VIP {vip}: on {} while virtual router {} is Active; every port but {ports} {state}",
                router.interface, router.name
            );
        }
        if config.datapath.manage_addresses {
            format!("VIP {vip}: put on the interface; every port but {ports} is closed")
        } else {
            format!(
                "VIP {vip}: the host must have it already (manage_addresses is false); its ports \
                 other than {ports} stay open"
            )
        }
    };
    ports.into_iter().map(line).collect()
}

fn service(service: &Service) -> Vec<String> {
    let name = &service.name;
    if service.backends.is_empty() {
        return vec![format!(
            "service {name}: it has no backend, so its packets are dropped as no_backend"
        )];
    }
    let mut notes = Vec::new();
    if service.health_check.is_none() {
        notes.push(format!(
            "service {name}: it has no health check, so every backend counts as healthy"
        ));
    }
    let weights =
        service.backends.iter().map(|backend| backend.weight).filter(|weight| *weight > 0);
    let differ = weights.clone().min() != weights.max();
    if !service.scheduler.minds_weights() && differ {
        let scheduler = service.scheduler.word();
        notes.push(format!(
            "service {name}: scheduler {scheduler} gives all weights but 0 the same share; w{scheduler} \
             follows them"
        ));
    }
    notes.extend(unused_addresses(service));
    notes
}

fn virtual_router(config: &Config, router: &Vrrp) -> Option<String> {
    let is_ours = config.datapath.interfaces.contains(&router.interface);
    (!is_ours).then(|| {
        format!(
            "virtual router {}: {} is not in [datapath] interfaces, so nothing that comes there is balanced",
            router.name, router.interface
        )
    })
}

fn unused_addresses(service: &Service) -> Vec<String> {
    let listened = |ipv4| service.listen.iter().any(|listen| listen.is_ipv4() == ipv4);
    let addresses = service
        .backends
        .iter()
        .flat_map(|backend| backend.address.iter().map(move |address| (&backend.name, *address)));
    addresses
        .filter(|(_, address)| !listened(address.is_ipv4()))
        .map(|(backend, address)| {
            format!(
                "service {}: {address} of backend {backend} is not used, for no listen address is {}",
                service.name,
                family(address)
            )
        })
        .collect()
}
