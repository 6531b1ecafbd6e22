//! What the tables should say: the only function that derives them from configuration and health.
//!
//! There are no ids here: [`super::plan`] gives them. The one hard fact: a backend is in the slots of a
//! listener exactly if new flows may go to it now.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use lb_common::layout;
use lb_common::layout::{BACKEND_DOWN_KEEP, BACKEND_DOWN_RESET, BACKEND_UP, Vip};

use super::agent::Target;
use super::config::{self, BackendState, Config, Forward, OnBackendDown, Service};
use super::health::{Checks, Health};
use super::tables::{ListenerKey, NextHop};

pub(super) mod rotation;
mod settings;
#[cfg(test)]
mod tests;

/// What the tables should say.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// What is the same for all packets; what the maps were made with is zero.
    pub settings: layout::Settings,
    /// VIPs.
    pub vips: BTreeMap<IpAddr, Vip>,
    /// Where is listened.
    pub listeners: BTreeMap<ListenerKey, Listener>,
    /// Ways to backends, those included that only old flows remember.
    pub next_hops: NextHops,
}

/// One VIP, port and protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The listener whose cursor it draws from.
    pub cursor: ListenerKey,
    /// A [`state`](lb_common::layout::Backend::state) for each backend of the VIP's family.
    pub backends: BTreeMap<SocketAddr, u8>,
    /// The backends that new flows take turns on.
    pub slots: Vec<SocketAddr>,
    /// The state of backends that are dead or gone.
    pub down: u8,
    /// How packets reach the backends.
    pub forward: Forward,
}

/// The ways to addresses that are known.
type NextHops = BTreeMap<IpAddr, NextHop>;

/// Derives the tables.
pub fn desired(config: &Config, checks: &Checks, next_hops: &NextHops) -> Desired {
    let closed = u32::from(config.datapath.manage_addresses);
    let listens = config.services.iter().flat_map(|service| &service.listen);
    Desired {
        settings: settings::settings(&config.datapath),
        vips: listens.map(|listen| (listen.ip(), Vip { closed })).collect(),
        listeners: config
            .services
            .iter()
            .flat_map(|service| listeners(service, checks, next_hops))
            .collect(),
        next_hops: next_hops.clone(),
    }
}

/// Backends that take part in a listener's rotation, by name.
type Rotation<'a> = Vec<(&'a str, SocketAddr)>;

fn listeners(
    service: &Service,
    checks: &Checks,
    next_hops: &NextHops,
) -> Vec<(ListenerKey, Listener)> {
    let mut groups: Vec<(ListenerKey, Vec<&str>)> = Vec::new();
    let listen = |&address: &SocketAddr| {
        let key = ListenerKey { address, protocol: service.protocol };
        let rotation = rotation(service, checks, next_hops, address);
        let names: Vec<_> = rotation.iter().map(|(name, _)| *name).collect();
        let same = groups.iter().find(|(_, group)| *group == names).map(|(first, _)| *first);
        let cursor = same.unwrap_or(key);
        groups.push((cursor, names));
        let slots = rotation.into_iter().map(|(_, backend)| backend).collect();
        let backends = states(service, checks, address);
        (key, Listener { cursor, backends, slots, down: down(service), forward: service.forward })
    };
    service.listen.iter().map(listen).collect()
}

/// Each backend that can serve `vip`, with its address: of the same family, or where a tunnel leads to
/// another one, of that.
fn of_family(
    service: &Service,
    vip: SocketAddr,
) -> impl Iterator<Item = (&config::Backend, SocketAddr)> {
    service.backends.iter().filter_map(move |backend| {
        let mut addresses = backend.address.iter();
        let same = addresses.find(|address| address.is_ipv4() == vip.is_ipv4());
        let other = backend.address.first().filter(|_| service.forward.crosses_families());
        Some((backend, *same.or(other)?))
    })
}

fn states(service: &Service, checks: &Checks, vip: SocketAddr) -> BTreeMap<SocketAddr, u8> {
    of_family(service, vip)
        .map(|(backend, address)| {
            let dead = checks.of(&Target::new(service, backend, address)) == Health::Down;
            let maint = backend.state == BackendState::Maint;
            (address, if dead || maint { down(service) } else { BACKEND_UP })
        })
        .collect()
}

fn down(service: &Service) -> u8 {
    match service.on_backend_down {
        OnBackendDown::Reset => BACKEND_DOWN_RESET,
        OnBackendDown::Keep => BACKEND_DOWN_KEEP,
    }
}

/// One cycle of the backends that serve: of the best tier that is not empty.
///
/// A backup serves only when no primary can, and a backend of unknown health only when none of its tier is
/// known to be up, or beside the others of its service right after the agent's first start. One without a
/// next hop serves only when all are without, so that what is dropped then is dropped for that reason.
fn rotation<'a>(
    service: &'a Service,
    checks: &Checks,
    next_hops: &NextHops,
    vip: SocketAddr,
) -> Rotation<'a> {
    let mut tiers = [true, false].into_iter().flat_map(|is_reached| {
        [false, true].into_iter().flat_map(move |is_backup| {
            [Health::Up, Health::Unknown].map(|health| (is_reached, is_backup, health))
        })
    });
    let takes_flows: Vec<_> = of_family(service, vip)
        .filter(|(backend, _)| backend.state == BackendState::Ready && backend.weight > 0)
        .map(|(backend, address)| {
            let health = checks.taken_for(&Target::new(service, backend, address));
            let is_reached = next_hops.contains_key(&address.ip());
            (backend, address, (is_reached, backend.backup, health))
        })
        .collect();
    let serving = tiers.find(|tier| takes_flows.iter().any(|(.., of)| of == tier));
    let members: Vec<_> = takes_flows
        .iter()
        .filter(|(.., tier)| Some(*tier) == serving)
        .map(|(backend, address, _)| ((backend.name.as_str(), *address), backend.weight))
        .collect();
    match service.scheduler {
        config::Scheduler::RoundRobin => members.into_iter().map(|(member, _)| member).collect(),
        config::Scheduler::WeightedRoundRobin => rotation::weighted(&members),
    }
}
