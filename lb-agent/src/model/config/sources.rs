//! `[datapath.full_nat]` and `[datapath.tunnel]`: what packets of ours have as their source.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use lb_common::layout::MAX_NAT_SOURCES;
use toml::de::DeValue;

use super::address::unusable;
use super::problem::Fault;
use super::reader::{Located, Table};
use super::value::{Parsed, integer, ip_address, string};
use super::{FullNat, Tunnel};

/// Below what Linux takes for its own connections unless told otherwise (`ip_local_port_range`).
const PORTS: RangeInclusive<u16> = 20_000..=32_767;

/// The registered port of GUE (IANA: gue, 6080).
const GUE_PORT: u32 = 6_080;

/// Reads `[datapath.full_nat]`.
pub(super) fn full_nat(mut table: Table<'_>) -> Option<FullNat> {
    let sources = table.list("sources", "[\"192.0.2.2\"]", source);
    let ports = table.or("ports", PORTS, ports);
    let sources = sources.map_or(Vec::new(), |sources| sources.items);
    unique(&table, &sources);
    for is_ipv4 in [true, false] {
        let mut family = sources.iter().filter(|source| source.value.is_ipv4() == is_ipv4);
        if let Some(surplus) = family.nth(MAX_NAT_SOURCES) {
            let message = format!("more than {MAX_NAT_SOURCES} sources of one family");
            table.report.add(Fault::new(message, "remove some").at(&surplus.span));
        }
    }
    table.finish(&[]);
    let sources = sources.into_iter().map(|source| source.value).collect();
    Some(FullNat { sources, ports: ports?.value })
}

/// Reads `[datapath.tunnel]`.
pub(super) fn tunnel(mut table: Table<'_>) -> Option<Tunnel> {
    let sources = table.list("sources", "[\"192.0.2.0/24\"]", prefix);
    let gue_port = table.or("gue_port", GUE_PORT, integer(1..=65_535));
    let sources = sources.map_or(Vec::new(), |sources| sources.items);
    for (index, prefix) in sources.iter().enumerate() {
        let mut earlier = sources.iter().take(index);
        let same =
            |other: &&Located<IpNet>| other.value.addr().is_ipv4() == prefix.value.addr().is_ipv4();
        if let Some(first) = earlier.find(same) {
            let fault = Fault::new("a second source of the same family", "remove one of the two");
            table.report.add(fault.at(&prefix.span).and(&first.span, "the first one"));
        }
    }
    table.finish(&[]);
    let sources = sources.into_iter().map(|source| source.value).collect();
    Some(Tunnel { sources, gue_port: u16::try_from(gue_port?.value).ok()? })
}

fn unique(table: &Table<'_>, sources: &[Located<IpAddr>]) {
    for (index, source) in sources.iter().enumerate() {
        let mut earlier = sources.iter().take(index);
        if let Some(first) = earlier.find(|other| other.value == source.value) {
            let fault = Fault::new(format!("{} is named twice", source.value), "remove one");
            table.report.add(fault.at(&source.span).and(&first.span, "first named here"));
        }
    }
}

fn source(value: &DeValue<'_>) -> Parsed<IpAddr> {
    let address = ip_address(value, "\"192.0.2.2\"")?;
    check(address)?;
    Ok(address)
}

fn prefix(value: &DeValue<'_>) -> Parsed<IpNet> {
    let text = string(value, "\"192.0.2.0/24\"")?;
    let address = text.parse::<IpAddr>().map(IpNet::from);
    let prefix = address.or_else(|_| text.parse::<IpNet>()).map_err(|_| {
        let message = format!("{text:?} is neither an IP address nor a prefix");
        Fault::new(message, "write it as in \"192.0.2.2\" or \"192.0.2.0/24\"")
    })?;
    check(prefix.addr())?;
    Ok(prefix.trunc())
}

fn check(address: IpAddr) -> Parsed<()> {
    let Some(kind) = unusable(address) else { return Ok(()) };
    Err(Fault::new(format!("{address} is {kind}"), "give a unicast address of this host"))
}

/// Two ports with a hyphen in between, or one.
fn ports(value: &DeValue<'_>) -> Parsed<RangeInclusive<u16>> {
    let text = string(value, "\"20000-32767\"")?;
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = first.trim().parse().ok().zip(last.trim().parse().ok());
    let range = range.filter(|(first, last)| (1..=*last).contains(first));
    range.map(|(first, last)| first..=last).ok_or_else(|| {
        let message = format!("{text:?} is not a range of ports");
        Fault::new(message, "write the first and the last one, as in \"20000-32767\"")
    })
}
