//! What the API shows of the virtual routers.

use std::time::Instant;

use lb_common::api::{self, VirtualRouter, VrrpStatus};

use super::Routers;
use super::group::Group;
use super::member::Member;

/// See [`Group::waits_for_flows`].
const WAITS: &str = "does not preempt before its flow table is in step with the other directors', see lb-ctl sync status";

impl Routers {
    /// State of all routers, and what was discarded.
    pub fn status(&self, now: Instant) -> VrrpStatus {
        let groups = self.groups.values();
        let routers =
            groups.flat_map(|group| group.members.iter().map(|member| router(now, group, member)));
        let discarded = self.discarded.iter();
        VrrpStatus {
            routers: routers.collect(),
            discarded: discarded
                .map(|((interface, reason), packets)| api::Discarded {
                    interface: interface.clone(),
                    reason: reason.name().to_owned(),
                    packets: *packets,
                })
                .collect(),
        }
    }

    /// Changes of state, oldest first; `unix` tells the date of an instant, in seconds since 1970-01-01 UTC.
    pub fn changes(&self, unix: impl Fn(Instant) -> u64) -> Vec<api::RouterChange> {
        let changes = self.history.iter();
        changes
            .map(|change| api::RouterChange {
                at_unix: unix(change.at),
                router: change.router.clone(),
                from: change.from,
                to: change.to,
                priority: change.priority,
                reason: change.reason.clone(),
            })
            .collect()
    }
}

fn router(now: Instant, group: &Group, member: &Member) -> VirtualRouter {
    let settings = &member.settings;
    let millis =
        |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    VirtualRouter {
        name: settings.entry.name.clone(),
        group: group.name.clone(),
        interface: settings.key.interface.clone(),
        virtual_router_id: settings.key.id,
        virtual_mac: settings.virtual_mac().map(mac),
        family: if settings.key.is_ipv6 { "ipv6" } else { "ipv4" }.to_owned(),
        state: group.state,
        priority: group.priority(),
        configured_priority: group.election.priority,
        addresses: settings.hosts(),
        source: member.source,
        changes: group.n_changes,
        since_seconds: now.saturating_duration_since(group.since).as_secs(),
        reason: group.reason.clone(),
        active: member
            .heard
            .map(|heard| heard.from)
            .filter(|_| group.state == api::RouterState::Backup),
        advert_interval_ms: millis(group.election.interval),
        active_interval_ms: millis(member.active_interval),
        adverts_sent: member.n_sent,
        adverts_received: member.n_received,
        warnings: warnings(now, group, member),
    }
}

fn mac(octets: [u8; 6]) -> String {
    octets.map(|octet| format!("{octet:02x}")).join(":")
}

fn warnings(now: Instant, group: &Group, member: &Member) -> Vec<String> {
    let rival = group.rival.filter(|rival| rival.is_told);
    let rival = rival.map(|rival| format!("split brain: {} is Active too", rival.address));
    let differing = member.differing.as_ref().map(|addresses| {
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        format!("the Active router announces other addresses: {}", addresses.join(", "))
    });
    let waits = group.waits_for_flows().then(|| WAITS.to_owned());
    let odd = group.oddities(now, member).into_iter().map(|(_, said)| said);
    rival.into_iter().chain(differing).chain(odd).chain(waits).collect()
}
