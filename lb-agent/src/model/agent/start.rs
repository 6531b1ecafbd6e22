//! How the agent takes over from whatever was there before it: an ordinary, usually empty, plan.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use lb_common::layout::{BACKEND_DOWN_KEEP, BACKEND_DOWN_RESET};

use super::guard::Lack;
use super::state::{Planned, Running};
use super::ways::Ways;
use super::{Agent, Effect, Target};
use crate::model::config::{Backend, Config, Service};
use crate::model::firewall::RuleNumbers;
use crate::model::health::{Checks, Health};
use crate::model::overlay::sets::{self, Stock};
use crate::model::overlay::{Overlay, merge};
use crate::model::paces::Paces;
use crate::model::plan::{Full, next_hop};
use crate::model::tables::{ListenerKey, NextHop, Tables, server};

/// What an agent knows at its start: what the last one kept on disk, and the host.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The changes made at run time.
    pub overlay: Overlay,
    /// What was read or loaded for the sets.
    pub stock: Stock,
    /// The numbers of the rules' counters.
    pub numbers: RuleNumbers,
    /// The addresses of the host.
    pub host: BTreeSet<IpAddr>,
    /// Whether the packet path cannot answer SYNs with cookies yet: [`Event::CookiesReady`](super::Event) follows.
    pub lacks_cookies: bool,
}

impl Agent {
    /// Starts from the file, what is known and what is installed; says what to do first.
    ///
    /// Until a probe says otherwise, backends that were served are healthy, and those that were down are
    /// down. `seed` varies the probes.
    pub fn new(
        now: Instant,
        seed: u64,
        file: Config,
        known: Known,
        installed: Tables,
    ) -> Result<(Self, Vec<Effect>), Full> {
        let Known { overlay, stock, numbers: kept_numbers, host, lacks_cookies } = known;
        let mut merged = merge(&file, &overlay);
        let sets = sets::lay(&merged.config.firewall, &stock, &mut merged.overlay.firewall);
        let mut numbers = kept_numbers.clone();
        numbers.follow(&merged.config.firewall);
        let before = Before::of(&installed);
        let config = merged.config;
        let services: BTreeMap<&str, &Service> =
            config.services.iter().map(|service| (service.name.as_str(), service)).collect();
        let checks = Checks::new(now, seed, &config, |target| {
            before.health(services.get(target.service.as_str()).copied(), target)
        });
        let paces = Paces::at_start(&config, &checks, |service, backend| {
            was_reset(&installed, service, backend)
        });
        let ways = Ways::new(next_hops(&installed));
        let mut running =
            Running { file, overlay: merged.overlay, config, stock, sets, numbers, checks, paces };
        running.note(now);
        let mut agent = Self::with(running, ways, installed);
        agent.host = host;
        agent.has_cookies = !lacks_cookies;
        let mut effects: Vec<_> = merged.dropped.into_iter().map(Effect::Notice).collect();
        if agent.running.overlay != overlay {
            effects.push(Effect::SaveOverlay(agent.running.overlay.clone()));
        }
        effects.extend(agent.numbers_given(&kept_numbers));
        let planned = agent.plan_at_start()?;
        effects.extend(agent.install_planned(planned));
        agent.ways.wait_for(&agent.backend_addresses());
        effects.extend(agent.probes(now));
        Ok((agent, effects))
    }
}

impl Agent {
    /// The firewall is compiled at once: nothing waits for the agent yet, and packets may be let in only by its rules.
    fn plan_at_start(&mut self) -> Result<Planned, Full> {
        loop {
            match self.plan(&self.running) {
                Ok(planned) => return Ok(planned),
                Err(Lack::Room(full)) => return Err(full),
                Err(Lack::Firewall(recipe)) => {
                    let compiled = recipe.compile();
                    self.guard.keep(*recipe, compiled);
                }
            }
        }
    }
}

/// The ways as they were: kept until the kernel's tables say otherwise.
fn next_hops(installed: &Tables) -> BTreeMap<IpAddr, NextHop> {
    let backends = installed.backends.values();
    backends.filter_map(|backend| Some((server(backend)?.ip(), next_hop(backend)?))).collect()
}

/// Whether the flows of a drained backend are reset already.
fn was_reset(installed: &Tables, service: &Service, backend: &Backend) -> bool {
    let listeners = service.keys().filter_map(|key| installed.pointers.get(&key));
    let listeners: BTreeSet<u32> = listeners.copied().collect();
    installed.backends.values().any(|entry| {
        entry.state == BACKEND_DOWN_RESET
            && listeners.contains(&entry.listener)
            && server(entry).is_some_and(|server| backend.address.contains(&server))
    })
}

/// What the installed tables say of each backend: behind each listener, and of its address behind any.
struct Before {
    by_place: BTreeMap<(ListenerKey, SocketAddr), Health>,
    by_address: BTreeMap<SocketAddr, Health>,
}

impl Before {
    fn of(installed: &Tables) -> Self {
        let listeners = installed.listeners.values();
        let served: BTreeSet<u32> = listeners
            .flat_map(|listener| installed.slots(listener))
            .map(|slot| slot.backend)
            .collect();
        let (mut by_place, mut reached) = (BTreeMap::new(), BTreeSet::new());
        for (id, backend) in &installed.backends {
            let places = ListenerKey::of_backend(backend).zip(server(backend));
            let Some((key, address)) = places else { continue };
            let health = match backend.state {
                BACKEND_DOWN_KEEP | BACKEND_DOWN_RESET => Health::Down,
                _ if served.contains(id) => Health::Up,
                _ => Health::Unknown,
            };
            // Of two entries for one server, the one that old flows remember is down.
            let best: &mut Health = by_place.entry((key, address)).or_insert(health);
            if *best == Health::Down {
                *best = health;
            }
            // An entry that only flows remember tells of its removal, not of its server.
            if installed.pointers.get(&key) == Some(&backend.listener) {
                reached.insert((key, address));
            }
        }
        let mut by_address = BTreeMap::new();
        for (key, address) in reached {
            let Some(&health) = by_place.get(&(key, address)) else { continue };
            let known = by_address.entry(address).or_insert(health);
            if health == Health::Down || *known == Health::Unknown {
                *known = health;
            }
        }
        Self { by_place, by_address }
    }

    /// Health of a target: that of the first listener of its service which knows it, or else that of its
    /// address, for the service may have moved to another VIP.
    fn health(&self, service: Option<&Service>, target: &Target) -> Health {
        let mut known = service
            .into_iter()
            .flat_map(Service::keys)
            .filter_map(|key| self.by_place.get(&(key, target.address)));
        let known = known.next().or_else(|| self.by_address.get(&target.address));
        known.copied().unwrap_or(Health::Unknown)
    }
}
