//! What is known of the ways to backends, and whether all that were asked for at the start were answered.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::Agent;
use crate::model::tables::{NextHop, Way};

/// How long the agent waits after its start for the ways to all backends. A neighbour that is there answers
/// within milliseconds; the kernel asks three times in three seconds before it gives one up.
const PATIENCE: Duration = Duration::from_secs(2);

/// The ways to addresses of backends.
#[derive(Debug)]
pub(super) struct Ways {
    known: BTreeMap<IpAddr, NextHop>,
    /// Interfaces, not ours, that lead to addresses.
    elsewhere: BTreeMap<IpAddr, String>,
    /// Addresses asked for at the start that were not answered yet.
    awaited: BTreeSet<IpAddr>,
    /// `None` before the first event: what the start asks for may take the kernel seconds, and meanwhile no answer
    /// is heard.
    patience_ends_at: Option<Instant>,
    /// What was said of backends that are reached by other interfaces.
    told: BTreeSet<String>,
}

impl Ways {
    /// The ways as they were: kept until the kernel's tables say otherwise.
    pub(super) fn new(known: BTreeMap<IpAddr, NextHop>) -> Self {
        Self {
            known,
            elsewhere: BTreeMap::new(),
            awaited: BTreeSet::new(),
            patience_ends_at: None,
            told: BTreeSet::new(),
        }
    }

    pub(super) fn known(&self) -> &BTreeMap<IpAddr, NextHop> {
        &self.known
    }

    /// Waits for those of `watched` that are not known.
    pub(super) fn wait_for(&mut self, watched: &BTreeSet<IpAddr>) {
        let unknown = watched.iter().filter(|address| !self.known.contains_key(address));
        self.awaited = unknown.copied().collect();
    }

    /// Gives up to wait when it is time.
    pub(super) fn tick(&mut self, now: Instant) {
        if now >= *self.patience_ends_at.get_or_insert(now + PATIENCE) {
            self.awaited.clear();
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.patience_ends_at.filter(|_| !self.awaited.is_empty())
    }

    pub(super) fn take(&mut self, address: IpAddr, way: Way) {
        self.known.remove(&address);
        self.elsewhere.remove(&address);
        match way {
            Way::Asked => return,
            Way::Known(next_hop) => drop(self.known.insert(address, next_hop)),
            Way::Elsewhere(interface) => drop(self.elsewhere.insert(address, interface)),
            Way::None => {}
        }
        self.awaited.remove(&address);
    }

    /// Forgets all other addresses.
    pub(super) fn retain(&mut self, watched: &BTreeSet<IpAddr>) {
        self.known.retain(|address, _| watched.contains(address));
        self.elsewhere.retain(|address, _| watched.contains(address));
        self.awaited.retain(|address| watched.contains(address));
    }

    /// Takes note of what is said now; returns what was not said before.
    pub(super) fn news(&mut self, said: BTreeSet<String>) -> Vec<String> {
        let news = said.difference(&self.told).cloned().collect();
        self.told = said;
        news
    }
}

impl Agent {
    /// The ways to addresses of backends that are known.
    pub fn next_hops(&self) -> &BTreeMap<IpAddr, NextHop> {
        self.ways.known()
    }

    /// Addresses of backends that are reached by interfaces which Sluice does not use, with their names.
    pub fn elsewhere(&self) -> &BTreeMap<IpAddr, String> {
        &self.ways.elsewhere
    }

    /// An address of a backend whose next hop is still waited for since the start, if there is one.
    pub fn awaited(&self) -> Option<IpAddr> {
        self.ways.awaited.first().copied()
    }

    /// That backends are reached by interfaces which Sluice does not use, a sentence each.
    pub(in crate::model) fn detours(&self) -> impl Iterator<Item = String> {
        let services = self.config().services.iter();
        let services = services.filter(|_| !self.elsewhere().is_empty());
        services.flat_map(move |service| {
            service.backends.iter().filter_map(move |backend| {
                let mut addresses = backend.address.iter().map(SocketAddr::ip);
                let interface = addresses.find_map(|address| self.elsewhere().get(&address))?;
                Some(format!(
                    "backend {} of service {} is reached by {interface}, which is not in [datapath] \
                     interfaces, and gets no packets: {}",
                    backend.name,
                    service.name,
                    detour_remedy(interface)
                ))
            })
        })
    }
}

/// What to do about interfaces of different XDP modes. What is attached keeps its mode until it is detached.
pub const SAME_MODE: &str = "stop lb-agent, run `lb-agent detach` (open flows end), set [datapath] xdp_mode = \
                             \"generic\", and start it";

/// What to do about backends that are reached by an interface which Sluice does not use.
pub fn detour_remedy(interface: &str) -> String {
    format!(
        "route to it by one that is, or add {interface} there and restart lb-agent; unless its driver has \
         native XDP, {SAME_MODE}"
    )
}
