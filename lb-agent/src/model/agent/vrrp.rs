//! What the virtual routers are told: their configuration, and which services are dead.
//!
//! They run beside the core (`model::vrrp`), for their time is counted in milliseconds.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Agent, Effect};
use crate::model::config::Vrrp;
use crate::model::desired::can_serve;

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
    /// The virtual routers, and those services that they track which are dead.
    pub fn virtual_routers(&self) -> (Vec<Vrrp>, BTreeSet<String>) {
        let routers = self.config().vrrp.clone();
        let tracked = routers.iter().flat_map(|router| &router.track_services);
        let tracked: BTreeSet<String> = tracked.map(|tracked| tracked.service.clone()).collect();
        (routers, self.dead(tracked))
    }

    /// Those of the services of which no backend could take new flows. In panic flows go to dead ones, which another
    /// director may reach.
    fn dead(&self, services: BTreeSet<String>) -> BTreeSet<String> {
        let is_alive = |name: &String| {
            let mut named = self.config().services.iter().filter(|service| service.name == *name);
            named.any(|service| can_serve(service, self.checks()))
        };
        services.into_iter().filter(|name| !is_alive(name)).collect()
    }

    /// Addresses that are on an interface only while this director is Active.
    pub(super) fn virtual_addresses(&self) -> BTreeSet<IpAddr> {
        let routers = self.config().vrrp.iter();
        routers.flat_map(|router| &router.addresses).map(ipnet::IpNet::addr).collect()
    }
}
