//! From `[[vrrp]]` to groups of routers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::group::Election;
use super::key::{Key, link_local};
use super::member::Settings;
use crate::model::config::Vrrp;

/// A group as the configuration has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) election: Election,
    /// In the order of their keys.
    pub(super) routers: Vec<Settings>,
}

/// The groups by name: that of `group`, or the router's own.
pub(super) fn plans(entries: &[Vrrp]) -> BTreeMap<String, Plan> {
    let mut plans: BTreeMap<String, Plan> = BTreeMap::new();
    for entry in entries {
        let plan = plans.entry(entry.group_name()).or_insert_with(|| Plan {
            election: Election {
                priority: entry.priority,
                interval: entry.advert_interval,
                preempt: entry.preempt,
                preempt_delay: entry.preempt_delay.unwrap_or(Duration::ZERO),
            },
            routers: Vec::new(),
        });
        plan.routers
            .extend([false, true].into_iter().filter_map(|is_ipv6| settings(entry, is_ipv6)));
    }
    for plan in plans.values_mut() {
        plan.routers.sort_by(|a, b| a.key.cmp(&b.key));
    }
    plans
}

/// The router of one family, if it has addresses of it.
fn settings(entry: &Vrrp, is_ipv6: bool) -> Option<Settings> {
    let addresses = entry.addresses.iter().copied();
    let mut addresses: Vec<_> = addresses.filter(|net| net.addr().is_ipv6() == is_ipv6).collect();
    if addresses.is_empty() {
        return None;
    }
    if is_ipv6 {
        lead_by_link_local(&mut addresses, entry.virtual_router_id);
        if entry.virtual_mac
            && let Some(first) = addresses.first_mut()
        {
            // On the router's own device nothing else tells that all such addresses are on the link (RFC 4291 2.5.6).
            *first = IpNet::new(first.addr(), 64).unwrap_or(*first);
        }
    }
    let (id, interface) = (entry.virtual_router_id, entry.interface.clone());
    Some(Settings { key: Key { id, is_ipv6, interface }, addresses, entry: entry.clone() })
}

/// RFC 9568 5.2.9: the first IPv6 address is the link-local one of the virtual router.
fn lead_by_link_local(addresses: &mut Vec<IpNet>, id: u8) {
    let is_link_local = |net: &IpNet| match net.addr() {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    match addresses.iter().position(is_link_local) {
        Some(at) => addresses.swap(0, at),
        None => addresses.insert(0, IpAddr::V6(link_local(id)).into()),
    }
}
