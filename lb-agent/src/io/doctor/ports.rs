//! Ports that the host may take for connections of its own, where Sluice needs them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use lb_common::api::Check;

use super::{Facts, bad, good};

/// `net.ipv4.ip_local_port_range` and `ip_local_reserved_ports`.
#[derive(Clone, Debug)]
pub struct Ephemeral {
    /// The range.
    pub range: RangeInclusive<u16>,
    /// Ports in it that are never taken.
    pub reserved: Vec<RangeInclusive<u16>>,
}

impl Ephemeral {
    fn takes(&self, port: u16) -> bool {
        self.range.contains(&port) && !self.reserved.iter().any(|range| range.contains(&port))
    }
}

/// Judges listens and full NAT.
pub(super) fn evaluate(facts: &Facts) -> Vec<Check> {
    let sources = facts.full_nat.iter().filter_map(|source| full_nat(*source, facts));
    ephemeral(facts).into_iter().chain(sources).collect()
}

/// A health check that leaves from a source and port of full NAT would get a client's replies, and the client
/// those of the check.
fn full_nat(source: IpAddr, facts: &Facts) -> Option<Check> {
    let (name, ports) = (format!("full NAT {source}"), facts.full_nat_ports.clone()?);
    if !facts.addresses.contains(&source) {
        let remedy =
            format!("ip address add {source}/{} dev INTERFACE, or route it here", bits(source));
        let detail = "is on no interface: nobody answers ARP or neighbour discovery for it";
        return Some(bad(name, detail, remedy));
    }
    let ephemeral = facts.ephemeral.as_ref()?;
    let ports = format!("ports {}-{}", ports.start(), ports.end());
    let shared = facts.full_nat_ports.clone()?.find(|port| ephemeral.takes(*port));
    let Some(port) = shared.filter(|_| facts.own_sources.contains(&source)) else {
        return Some(good(name, ports));
    };
    let range = &ephemeral.range;
    let detail = format!("the host may use {port} and others for health checks from this address");
    let remedy = format!(
        "give full NAT an address for this alone, or ports outside of {}-{} (net.ipv4.ip_local_port_range)",
        range.start(),
        range.end()
    );
    Some(bad(name, detail, remedy))
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// A connection that the host itself opens from such a port of a VIP would lose its replies to the service.
fn ephemeral(facts: &Facts) -> Option<Check> {
    let ephemeral = facts.ephemeral.as_ref()?;
    let ports: BTreeSet<_> = facts.listens.iter().map(SocketAddr::port).collect();
    let taken: Vec<_> =
        ports.iter().filter(|port| ephemeral.takes(**port)).map(u16::to_string).collect();
    let (name, range) = ("ephemeral ports", &ephemeral.range);
    if taken.is_empty() {
        return Some(good(name, format!("{}-{}", range.start(), range.end())));
    }
    let taken = taken.join(",");
    let detail = format!("the host may use {taken} for connections of its own");
    Some(bad(name, detail, format!("sysctl -w net.ipv4.ip_local_reserved_ports={taken}")))
}
