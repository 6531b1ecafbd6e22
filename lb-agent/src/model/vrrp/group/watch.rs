//! What a group depends on: its own interfaces, those that it tracks, and services.

use std::collections::BTreeSet;
use std::time::Instant;

use super::{Act, Group, State};
use crate::model::config::{TrackedService, Vrrp};
use crate::model::vrrp::{Change, Network};

impl Group {
    /// Looks at addresses and services.
    pub(in crate::model::vrrp) fn look(
        &mut self,
        now: Instant,
        network: &Network,
        dead_services: &BTreeSet<String>,
    ) -> Vec<Act> {
        self.members.iter_mut().for_each(|member| member.look(network));
        let tracked = self.entries().flat_map(|entry| &entry.track_services);
        let dead: Vec<&TrackedService> =
            tracked.filter(|tracked| dead_services.contains(&tracked.service)).collect();
        let weights = dead.iter().filter_map(|tracked| tracked.weight).sum();
        let is_last_resort = dead.iter().any(|tracked| tracked.weight.is_none());
        self.weigh(now, weights, is_last_resort)
    }

    /// Why it cannot be Active; `None` if it can.
    pub(in crate::model::vrrp) fn obstacle(&self, network: &Network) -> Option<String> {
        let is_down =
            |name: &&String| !network.get(*name).is_some_and(|interface| interface.is_running);
        let tracked = self.entries().flat_map(|entry| &entry.track_interfaces).find(is_down);
        let own = self.members.iter().find_map(|member| member.obstacle(network));
        own.or_else(|| tracked.map(|name| format!("tracked interface {name} is down")))
    }

    /// A change of state as each `[[vrrp]]` of the group has it.
    pub(in crate::model::vrrp) fn changes(
        &self,
        at: Instant,
        from: State,
        to: State,
        reason: &str,
    ) -> Vec<Change> {
        let change = |entry: &Vrrp| Change {
            at,
            router: entry.name.clone(),
            from,
            to,
            priority: self.priority(),
            notify: entry.notify.clone(),
            reason: reason.to_owned(),
        };
        self.entries().map(change).collect()
    }

    /// The `[[vrrp]]`s that its routers come from, each once.
    fn entries(&self) -> impl Iterator<Item = &Vrrp> {
        let mut seen = BTreeSet::new();
        let entries = self.members.iter().map(|member| &member.settings.entry);
        entries.filter(move |entry| seen.insert(entry.name.as_str()))
    }
}
