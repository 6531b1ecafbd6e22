//! What rules make of a packet, rule by rule: slow and plain, to tell a person before a change what it would do.
//!
//! The packet path comes to the same verdict by another way, see `compile`.

use std::net::IpAddr;

use super::{Elements, IpProtocol, Match, Rule, Sets};

/// The first packet of a connection, or a later one.
#[derive(Clone, Copy, Debug)]
pub struct TcpPacket<'a> {
    /// Where it comes from.
    pub source: (IpAddr, u16),
    /// Where it goes to.
    pub destination: (IpAddr, u16),
    /// Its flags, FIN the lowest bit.
    pub flags: u8,
    /// The interface that it comes by.
    pub interface: &'a str,
    /// The service that it is for.
    pub service: Option<&'a str>,
}

/// The first rule that matches. One with a limit does not, for it matches what is beyond, which comes and goes.
pub fn deciding<'r>(rules: &'r [Rule], sets: &Sets, packet: TcpPacket<'_>) -> Option<&'r Rule> {
    rules.iter().find(|rule| matches(rule, sets, packet))
}

fn matches(rule: &Rule, sets: &Sets, packet: TcpPacket<'_>) -> bool {
    let TcpPacket { source, destination, flags, interface, service } = packet;
    let is_port_in = |ports: &[std::ops::RangeInclusive<u16>], port: u16| {
        ports.is_empty() || ports.iter().any(|range| range.contains(&port))
    };
    rule.protocol.is_none_or(|protocol| protocol == IpProtocol::TCP)
        && rule.icmp_types.is_empty()
        && rule.over.is_none()
        && is_port_in(&rule.sports, source.1)
        && is_port_in(&rule.dports, destination.1)
        && rule.tcp_flags.is_none_or(|wanted| flags & wanted.mask == wanted.value)
        && rule.interface.as_deref().is_none_or(|name| name == interface)
        && rule.service.as_deref().is_none_or(|name| Some(name) == service)
        && (rule.sources.is_empty() || are_in(&rule.sources, sets, source.0))
        && (rule.destinations.is_empty() || are_in(&rule.destinations, sets, destination.0))
}

/// Whether one of the prefixes and sets holds the address.
pub fn are_in(matches: &[Match], sets: &Sets, address: IpAddr) -> bool {
    matches.iter().any(|one| match one {
        Match::Prefix(prefix) => prefix.contains(&address),
        Match::Set(name) => sets.get(name).is_some_and(|set| holds(set, address)),
    })
}

fn holds(set: &Elements, address: IpAddr) -> bool {
    set.iter().any(|prefix| prefix.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::firewall::{Action, TcpFlags};

    const SYN: u8 = 2;

    fn packet() -> TcpPacket<'static> {
        let (client, host) = (IpAddr::from([198, 51, 100, 7]), IpAddr::from([203, 0, 113, 2]));
        TcpPacket {
            source: (client, 50_000),
            destination: (host, 22),
            flags: SYN,
            interface: "eth0",
            service: None,
        }
    }

    fn decides(rule: Rule) -> bool {
        let office: Elements = ["198.51.100.0/24".parse().unwrap()].into_iter().collect();
        deciding(&[rule], &Sets::from([("office".to_owned(), office)]), packet()).is_some()
    }

    fn any() -> Rule {
        Rule::any(Action::Drop)
    }

    #[test]
    fn a_rule_matches_if_every_condition_does() {
        let set = |name: &str| vec![Match::Set(name.to_owned())];
        let prefix = |text: &str| vec![Match::Prefix(text.parse().unwrap())];
        let flags = |mask, value| Some(TcpFlags { mask, value });
        for rule in [
            any(),
            Rule { sources: set("office"), ..any() },
            Rule { sources: prefix("0.0.0.0/0"), destinations: prefix("203.0.113.2/32"), ..any() },
            Rule { dports: vec![80..=80, 20..=22], ..any() },
            Rule { tcp_flags: flags(0b1_0010, SYN), ..any() },
            Rule { interface: Some("eth0".into()), protocol: Some(IpProtocol::TCP), ..any() },
        ] {
            assert!(decides(rule.clone()), "{rule:?}");
        }
        for rule in [
            Rule { sources: set("gone"), ..any() },
            Rule { sources: prefix("::/0"), ..any() },
            Rule { sources: set("office"), dports: vec![23..=23], ..any() },
            Rule { tcp_flags: flags(0b1_0000, 0b1_0000), ..any() },
            Rule { protocol: Some(IpProtocol::UDP), ..any() },
            Rule { service: Some("shop".into()), ..any() },
            Rule { icmp_types: vec![8], ..any() },
        ] {
            assert!(!decides(rule.clone()), "{rule:?}");
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let named = |name: &str, port: u16| Rule {
            name: name.to_owned(),
            dports: vec![port..=port],
            ..Rule::any(Action::Accept)
        };
        let rules = [named("a", 23), named("b", 22), named("c", 22)];
        let found = deciding(&rules, &Sets::new(), packet()).unwrap();
        assert_eq!(found.name, "b");
    }
}
