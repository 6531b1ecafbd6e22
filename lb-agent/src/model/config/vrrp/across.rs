//! What cannot be told of one value of a `[[vrrp]]` alone.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::super::problem::{Fault, Report};
use super::super::reader::Located;
use super::super::value::nearest;
use super::{Draft, Vrrp, VrrpAuthentication};

pub(super) fn check(report: &Report, drafts: &[Draft], services: &[&str]) {
    unique(report, drafts);
    known_services(report, drafts, services);
    one_place_per_address(report, drafts);
    alike_in_a_group(report, drafts);
    for draft in drafts {
        virtual_mac(report, draft);
    }
}

fn unique(report: &Report, drafts: &[Draft]) {
    let mut names = HashMap::new();
    let mut ids = HashMap::new();
    for draft in drafts {
        if let Some(Located { value, span }) = &draft.name
            && let Some(first) = names.insert(value, span)
        {
            let message = format!("the name {value:?} of a virtual router is used twice");
            let fault = Fault::new(message, "give each one a name of its own");
            report.add(fault.at(span).and(first, "first used here"));
        }
        let (Some(id), Some(interface)) = (&draft.id, &draft.interface) else { continue };
        if let Some(first) = ids.insert((id.value, &interface.value), &id.span) {
            let message =
                format!("the virtual router id {} is used twice on {}", id.value, interface.value);
            let help = "give it another id, or list the addresses of both in one [[vrrp]]";
            report.add(Fault::new(message, help).at(&id.span).and(first, "first used here"));
        }
    }
}

fn known_services(report: &Report, drafts: &[Draft], services: &[&str]) {
    for Located { value, span } in drafts.iter().flat_map(|draft| &draft.services) {
        if services.contains(&value.as_str()) {
            continue;
        }
        let help = match nearest(value, services.iter().copied()) {
            Some(near) => format!("did you mean {near:?}?"),
            None => "name a service of this file".to_owned(),
        };
        report.add(Fault::new(format!("there is no service {value:?}"), help).at(span));
    }
}

fn one_place_per_address(report: &Report, drafts: &[Draft]) {
    let mut seen = HashMap::new();
    for draft in drafts {
        for net in draft.whole.iter().flat_map(|entry| &entry.addresses) {
            if let Some(first) = seen.insert(net.addr(), &draft.span) {
                let message = format!("the virtual address {} is used twice", net.addr());
                let fault = Fault::new(message, "remove one of the two").at(&draft.span);
                report.add(fault.and(first, "first used here"));
            }
        }
    }
}

/// What is elected is the group: its routers have one priority, and speak at one pace.
fn alike_in_a_group(report: &Report, drafts: &[Draft]) {
    let mut groups: HashMap<String, (&Vrrp, &Draft)> = HashMap::new();
    for draft in drafts {
        let Some(entry) = &draft.whole else { continue };
        let (first, at) = *groups.entry(entry.group_name()).or_insert((entry, draft));
        let key = if first.priority != entry.priority {
            "priority"
        } else if first.advert_interval != entry.advert_interval {
            "advert_interval"
        } else if (first.preempt, first.preempt_delay) != (entry.preempt, entry.preempt_delay) {
            "preempt and preempt_delay"
        } else {
            continue;
        };
        let message = format!("{key} of {:?} and {:?} differ", first.name, entry.name);
        let help = "give all virtual routers of a group the same: they move together";
        report
            .add(Fault::new(message, help).at(&draft.span).and(&at.span, "the first of the group"));
    }
}

/// What a virtual MAC address cannot be combined with.
fn virtual_mac(report: &Report, draft: &Draft) {
    let (Some(key), Some(entry)) = (&draft.virtual_mac, &draft.whole) else { return };
    if !key.value {
        return;
    }
    let problem = |what: &str, help: &str| {
        let message = format!("virtual_mac cannot be combined with {what}");
        report.add(Fault::new(message, help).at(&key.span));
    };
    if !entry.unicast_peers.is_empty() {
        let help =
            "remove unicast_peers: what is sent to the group tells switches where the address is";
        problem("unicast_peers", help);
    }
    if entry.priority == u8::MAX {
        let help = "give less than 255: addresses that the host has anyway stay at the interface's MAC address";
        problem("priority = 255", help);
    }
    let is_host = |net: &&IpNet| net.prefix_len() == net.max_prefix_len();
    if let Some(net) = entry.addresses.iter().find(|net| !is_host(net)) {
        let help = "list the address without its length, and have its subnet on the interface";
        problem(&format!("the prefix length of {net}"), help);
    }
}

/// Each family has one source at most, and a peer is not oneself.
pub(super) fn sources(report: &Report, source: &[Located<IpAddr>], peers: &[Located<IpAddr>]) {
    for (index, Located { value, span }) in source.iter().enumerate() {
        let mut earlier = source.iter().take(index);
        if let Some(first) = earlier.find(|other| other.value.is_ipv4() == value.is_ipv4()) {
            let fault = Fault::new("a second source of the same family", "remove one of the two");
            report.add(fault.at(span).and(&first.span, "the first one"));
        }
        if let Some(peer) = peers.iter().find(|peer| peer.value == *value) {
            let fault = Fault::new(format!("{value} is its own peer"), "name the other director");
            report.add(fault.at(&peer.span).and(span, "the source here"));
        }
    }
}

/// The key of advertisements follows from that of replication.
pub(super) fn key(report: &Report, found: Option<&Located<VrrpAuthentication>>, has_key: bool) {
    let Some(Located { value, span }) = found else { return };
    if *value != VrrpAuthentication::Off && !has_key {
        let fault = Fault::new(
            "advertisements are authenticated by the key of [sync], and there is none",
            "add [sync] with its key_file",
        );
        report.add(fault.at(span));
    }
}
