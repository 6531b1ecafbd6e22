//! What the virtual routers are told: their configuration, and which services are dead.
//!
//! They run beside the core (`model::vrrp`), for their time is counted in milliseconds.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Agent, Effect};
use crate::model::config::Vrrp;

/// What they were told last.
#[derive(Debug, Default)]
pub(super) struct Told {
    routers: Vec<Vrrp>,
    dead_services: BTreeSet<String>,
}

impl Told {
    /// The effect, if it says anything new.
    pub(super) fn news(
        &mut self,
        (routers, dead_services): (Vec<Vrrp>, BTreeSet<String>),
    ) -> Option<Effect> {
        if (&self.routers, &self.dead_services) == (&routers, &dead_services) {
            return None;
        }
        self.routers.clone_from(&routers);
        self.dead_services.clone_from(&dead_services);
        Some(Effect::Vrrp { routers, dead_services })
    }
}

impl Agent {
    pub(super) fn vrrp_effect(&self) -> (Vec<Vrrp>, BTreeSet<String>) {
        let routers = self.config().vrrp.clone();
        let tracked = routers.iter().flat_map(|router| &router.track_services);
        let tracked: BTreeSet<String> = tracked.map(|tracked| tracked.service.clone()).collect();
        (routers, self.dead(tracked))
    }

    /// Those of the services of which no backend takes new flows.
    fn dead(&self, services: BTreeSet<String>) -> BTreeSet<String> {
        let is_alive = |name: &String| {
            let mut named = self.config().services.iter().filter(|service| service.name == *name);
            named.any(|service| service.keys().any(|key| self.has_slots(&key)))
        };
        services.into_iter().filter(|name| !is_alive(name)).collect()
    }

    fn has_slots(&self, key: &crate::model::tables::ListenerKey) -> bool {
        let tables = self.installed();
        let listener = tables.pointers.get(key).and_then(|id| tables.listeners.get(id));
        listener.is_some_and(|listener| !tables.slots(listener).is_empty())
    }

    /// Addresses that are on an interface only while this director is Active.
    pub(super) fn virtual_addresses(&self) -> BTreeSet<IpAddr> {
        let routers = self.config().vrrp.iter();
        routers.flat_map(|router| &router.addresses).map(ipnet::IpNet::addr).collect()
    }
}
