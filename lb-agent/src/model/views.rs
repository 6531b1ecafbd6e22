//! What the API shows of the agent's state, rendered without changing it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Instant;

use lb_common::api::{self, Health};
use lb_common::layout;

use super::agent::{Agent, Target};
use super::config::{Backend, CheckKind, Service, Word};
use super::desired::is_in_panic;
use super::health::Checked;
use super::tables::{ListenerKey, server};

mod firewall;
#[cfg(test)]
mod tests;
mod trace;

/// Counters as they were read from the maps, summed over the CPUs.
#[derive(Clone, Copy, Debug)]
pub struct Counters<'a> {
    /// By listener id.
    pub listeners: &'a BTreeMap<u32, layout::Traffic>,
    /// By backend id.
    pub backends: &'a BTreeMap<u32, layout::Traffic>,
    /// Flows (cells of the forward direction) by backend id.
    pub flows: &'a BTreeMap<u32, u64>,
}

/// Whose a backend id is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Name of the service; `None` if it is gone.
    pub service: Option<String>,
    /// Name of the backend; `None` if it is gone.
    pub backend: Option<String>,
    /// Where its clients connect to.
    pub listener: ListenerKey,
    /// Address of the backend.
    pub address: SocketAddr,
}

/// Numbers for the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Services.
    pub services: usize,
    /// Backends over all services.
    pub backends: usize,
    /// Backends that take new flows.
    pub backends_serving: usize,
    /// What an operator should look at, a sentence each.
    pub warnings: Vec<String>,
}

impl Agent {
    /// The services with their backends, in the file's order.
    pub fn services(&self, counters: Counters<'_>) -> Vec<api::Service> {
        let ids = Ids::of(self);
        let file: HashMap<&str, &Service> =
            self.file().services.iter().map(|service| (service.name.as_str(), service)).collect();
        let services = self.config().services.iter();
        let in_file = |service: &Service| file.get(service.name.as_str()).copied();
        services.map(|service| self.service(service, in_file(service), &ids, counters)).collect()
    }

    /// `file` is the service as the file has it.
    fn service(
        &self,
        service: &Service,
        file: Option<&Service>,
        ids: &Ids,
        counters: Counters<'_>,
    ) -> api::Service {
        let in_file: HashMap<&str, &Backend> = file
            .into_iter()
            .flat_map(|file| &file.backends)
            .map(|backend| (backend.name.as_str(), backend))
            .collect();
        let mut traffic = api::Traffic::default();
        for id in service.keys().filter_map(|key| self.installed().pointers.get(&key)) {
            add(&mut traffic, counters.listeners.get(id));
        }
        let backends = service.backends.iter();
        let backends: Vec<_> = backends
            .map(|backend| {
                let overlay = in_file.get(backend.name.as_str()) != Some(&backend);
                api::Backend { overlay, ..self.backend(service, backend, ids, counters) }
            })
            .collect();
        traffic.flows = backends.iter().map(|backend| backend.traffic.flows).sum();
        api::Service {
            name: service.name.clone(),
            listen: service.listen.clone(),
            protocol: service.protocol.word().to_owned(),
            forward: service.forward.word().to_owned(),
            scheduler: service.scheduler.word().to_owned(),
            health_check: service
                .health_check
                .as_ref()
                .map(|check| check.name.clone().unwrap_or_else(|| kind(&check.kind).to_owned())),
            backends,
            traffic,
        }
    }

    fn backend(
        &self,
        service: &Service,
        backend: &Backend,
        ids: &Ids,
        counters: Counters<'_>,
    ) -> api::Backend {
        let mut traffic = api::Traffic::default();
        for id in ids.of_backend(service, backend) {
            add(&mut traffic, counters.backends.get(id));
            traffic.flows += counters.flows.get(id).copied().unwrap_or_default();
        }
        api::Backend {
            name: backend.name.clone(),
            address: backend.address.clone(),
            state: backend.state,
            health: self.backend_health(service, backend),
            backup: backend.backup,
            weight: backend.weight,
            serving: ids.is_serving(service, backend),
            overlay: false,
            traffic,
        }
    }

    /// The worst of its addresses.
    fn backend_health(&self, service: &Service, backend: &Backend) -> Health {
        let addresses = backend.address.iter();
        let health = addresses.map(|at| self.checks().of(&Target::new(service, backend, *at)));
        health.max_by_key(|health| badness(*health)).unwrap_or(Health::Unknown)
    }

    /// Health of every address of every backend, in the file's order.
    pub fn health(&self, now: Instant) -> Vec<api::TargetHealth> {
        let services = self.config().services.iter();
        let targets = services.flat_map(|service| {
            let backends = service.backends.iter();
            backends.flat_map(move |backend| {
                let addresses = backend.address.iter();
                addresses.map(move |address| Target::new(service, backend, *address))
            })
        });
        targets.map(|target| self.target_health(now, target)).collect()
    }

    fn target_health(&self, now: Instant, target: Target) -> api::TargetHealth {
        let checked = self.checks().get(&target);
        let last = checked.and_then(|checked| checked.last.as_ref());
        let took = last.map_or(0, |last| last.took.as_millis());
        api::TargetHealth {
            health: self.checks().of(&target),
            streak: checked.map_or(0, |checked| checked.streak),
            last_result: last.map_or_else(|| without_result(checked), |last| last.result.clone()),
            last_duration_ms: u64::try_from(took).unwrap_or(u64::MAX),
            since_seconds: checked.map_or(0, |checked| seconds(now, checked.since)),
            service: target.service,
            backend: target.backend,
            address: target.address,
        }
    }

    /// Changes of health, oldest first; `unix` tells the date of an instant, in seconds since 1970-01-01 UTC.
    pub fn history(&self, unix: impl Fn(Instant) -> u64) -> Vec<api::HealthChange> {
        let changes = self.checks().history();
        changes
            .map(|change| api::HealthChange {
                at_unix: unix(change.at),
                service: change.target.service.clone(),
                backend: change.target.backend.clone(),
                address: change.target.address,
                from: change.from,
                to: change.to,
                reason: change.reason.clone(),
            })
            .collect()
    }

    /// Whose the installed backend ids are, those included that only old flows remember.
    pub fn owners(&self) -> BTreeMap<u32, Owner> {
        let services = self.config().services.iter();
        let services: HashMap<ListenerKey, &Service> =
            services.flat_map(|service| service.keys().map(move |key| (key, service))).collect();
        let mut names: HashMap<(&str, SocketAddr), &str> = HashMap::new();
        for service in &self.config().services {
            for backend in &service.backends {
                let addresses = backend.address.iter();
                names.extend(addresses.map(|at| ((&*service.name, *at), &*backend.name)));
            }
        }
        let owner = |backend: &layout::Backend| {
            let listener = ListenerKey::of_backend(backend)?;
            let address = server(backend)?;
            let service = services.get(&listener);
            let backend = service.and_then(|service| names.get(&(service.name.as_str(), address)));
            let backend = backend.map(|name| (*name).to_owned());
            Some(Owner {
                service: service.map(|service| service.name.clone()),
                backend,
                listener,
                address,
            })
        };
        let backends = self.installed().backends.iter();
        backends.filter_map(|(id, backend)| Some((*id, owner(backend)?))).collect()
    }

    /// Numbers for the status.
    pub fn summary(&self) -> Summary {
        let ids = Ids::of(self);
        let services = &self.config().services;
        let serving = |service: &Service| {
            service.backends.iter().filter(|backend| ids.is_serving(service, backend)).count()
        };
        let idle = services.iter().filter(|service| serving(service) == 0);
        Summary {
            services: services.len(),
            backends: services.iter().map(|service| service.backends.len()).sum(),
            backends_serving: services.iter().map(serving).sum(),
            warnings: idle
                .map(|service| format!("service {}: no backend takes new flows", service.name))
                .chain(self.panics())
                .chain(self.full_warning())
                .chain(self.detours())
                .collect(),
        }
    }

    fn panics(&self) -> impl Iterator<Item = String> {
        let services = self.config().services.iter();
        let services = services.filter(|service| is_in_panic(service, self.checks()));
        services.map(|service| {
            let name = &service.name;
            format!("service {name}: too few backends are healthy, so all of them serve")
        })
    }
}

/// Backend ids by listener and address, and which of them are in a rotation.
struct Ids {
    /// More than one where the way of forwarding has changed and old flows remember the other.
    by_place: BTreeMap<(ListenerKey, SocketAddr), Vec<u32>>,
    serving: BTreeSet<u32>,
}

impl Ids {
    fn of(agent: &Agent) -> Self {
        let tables = agent.installed();
        let place = |backend: &layout::Backend| {
            let address = server(backend)?;
            Some((ListenerKey::of_backend(backend)?, address))
        };
        let mut by_place: BTreeMap<_, Vec<u32>> = BTreeMap::new();
        for (id, backend) in &tables.backends {
            if let Some(place) = place(backend) {
                by_place.entry(place).or_default().push(*id);
            }
        }
        let reached = tables.pointers.values().filter_map(|id| tables.listeners.get(id));
        let serving =
            reached.flat_map(|listener| tables.slots(listener)).map(|slot| slot.backend).collect();
        Self { by_place, serving }
    }

    fn of_backend<'a>(
        &'a self,
        service: &'a Service,
        backend: &'a Backend,
    ) -> impl Iterator<Item = &'a u32> {
        service.keys().flat_map(move |key| {
            let ids = move |address| self.by_place.get(&(key, address));
            backend.address.iter().copied().filter_map(ids).flatten()
        })
    }

    fn is_serving(&self, service: &Service, backend: &Backend) -> bool {
        self.of_backend(service, backend).any(|id| self.serving.contains(id))
    }
}

fn add(sum: &mut api::Traffic, traffic: Option<&layout::Traffic>) {
    let Some(traffic) = traffic else { return };
    sum.packets += traffic.forward.packets;
    sum.bytes += traffic.forward.bytes;
    sum.reply_packets += traffic.reply.packets;
    sum.reply_bytes += traffic.reply.bytes;
    sum.flows_total += traffic.flows;
    sum.dropped += traffic.dropped;
}

fn kind(kind: &CheckKind) -> &'static str {
    match kind {
        CheckKind::Tcp => "tcp",
        CheckKind::Http { .. } => "http",
    }
}

fn without_result(checked: Option<&Checked>) -> String {
    match checked {
        None => "in maintenance".to_owned(),
        Some(Checked { check: None, .. }) => "not checked".to_owned(),
        Some(Checked { check: Some(_), .. }) => "no probe has ended yet".to_owned(),
    }
}

fn badness(health: Health) -> u8 {
    match health {
        Health::Up => 0,
        Health::Unknown => 1,
        Health::Down => 2,
    }
}

fn seconds(now: Instant, since: Instant) -> u64 {
    now.saturating_duration_since(since).as_secs()
}
