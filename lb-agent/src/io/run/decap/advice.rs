//! What keeps a backend from serving VIPs, or serves more than it should, with the remedy of each.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::io::doctor::sysctl;
use crate::model::decap::Tunnels;

/// What was found on the host.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Its addresses.
    pub(super) addresses: BTreeSet<IpAddr>,
    /// By interface, the greater of its own value and that of all interfaces, which is the one that counts.
    pub(super) interfaces: Vec<Interface>,
}

/// An interface's settings.
#[derive(Clone, Debug)]
pub(super) struct Interface {
    name: String,
    arp_ignore: u32,
    arp_announce: u32,
    rp_filter: u32,
}

impl Facts {
    pub(super) fn gather(addresses: &BTreeSet<IpAddr>, interfaces: &[String]) -> Self {
        let interfaces = interfaces.iter().map(|name| {
            let value = |key: &str| {
                let of = |whose: &str| sysctl(&format!("ipv4/conf/{whose}/{key}")).unwrap_or(0);
                of("all").max(of(name))
            };
            Interface {
                name: name.clone(),
                arp_ignore: value("arp_ignore"),
                arp_announce: value("arp_announce"),
                rp_filter: value("rp_filter"),
            }
        });
        Self { addresses: addresses.clone(), interfaces: interfaces.collect() }
    }
}

/// A line for each thing.
pub(super) fn advice(tunnels: &Tunnels, facts: &Facts) -> Vec<String> {
    let mut lines = Vec::new();
    for vip in tunnels.vips.difference(&facts.addresses) {
        lines.push(format!(
            "{vip} is not an address of this host, which will not answer for it: add --address, or \
             `ip address add {vip} dev lo`"
        ));
    }
    if tunnels.sources.is_empty() {
        let danger = "whoever can send to this host can reach the VIPs past the director";
        lines.push(format!("{danger}; name the directors with --from"));
    }
    if tunnels.vips.iter().any(IpAddr::is_ipv4) {
        lines.extend(facts.interfaces.iter().flat_map(Interface::advice));
    }
    lines
}

impl Interface {
    fn advice(&self) -> Vec<String> {
        let name = &self.name;
        let mut lines = Vec::new();
        if self.arp_ignore == 0 || self.arp_announce < 2 {
            lines.push(format!(
                "{name} may answer ARP for a VIP in the director's place: \
                 `sysctl -w net.ipv4.conf.{name}.arp_ignore=1 net.ipv4.conf.{name}.arp_announce=2`"
            ));
        }
        if self.rp_filter == 1 {
            lines.push(format!(
                "{name} takes packets of clients only if the way back to them leads through it: \
                 `sysctl -w net.ipv4.conf.{name}.rp_filter=2` if it does not"
            ));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::decap::{Segment, parse_prefix};

    fn tunnels(vip: &str) -> Tunnels {
        let vips = [vip.parse().unwrap()].into();
        let sources = vec![parse_prefix("192.0.2.1").unwrap()];
        Tunnels { vips, gue_port: 6080, sources, segment: Segment::Auto }
    }

    fn facts(vip: &str, arp_ignore: u32, arp_announce: u32, rp_filter: u32) -> Facts {
        let name = "eth0".to_owned();
        let interfaces = vec![Interface { name, arp_ignore, arp_announce, rp_filter }];
        Facts { addresses: [vip.parse().unwrap()].into(), interfaces }
    }

    #[test]
    fn a_host_that_is_set_up_needs_no_advice() {
        let vip = "203.0.113.10";
        assert!(advice(&tunnels(vip), &facts(vip, 1, 2, 2)).is_empty());
        assert!(advice(&tunnels("2001:db8::10"), &facts("2001:db8::10", 0, 0, 1)).is_empty());
    }

    #[test]
    fn each_thing_that_is_amiss_is_told_with_its_remedy() {
        let vip = "203.0.113.10";
        let of = |tunnels: &Tunnels, facts: &Facts| {
            let lines = advice(tunnels, facts);
            assert_eq!(lines.len(), 1, "{lines:?}");
            lines.concat()
        };
        for facts in [facts(vip, 0, 2, 0), facts(vip, 1, 1, 0)] {
            assert!(of(&tunnels(vip), &facts).contains("net.ipv4.conf.eth0.arp_announce=2"));
        }
        assert!(of(&tunnels(vip), &facts(vip, 1, 2, 1)).contains("eth0.rp_filter=2"));
        let elsewhere = facts("192.0.2.11", 1, 2, 0);
        assert!(of(&tunnels(vip), &elsewhere).contains("ip address add 203.0.113.10 dev lo"));
        let open = Tunnels { sources: Vec::new(), ..tunnels(vip) };
        assert!(of(&open, &facts(vip, 1, 2, 0)).contains("--from"));
    }
}
