//! What rules mean, in the plainest words: each is looked at in turn, each condition of it by itself.

use std::net::IpAddr;

use lb_agent::model::firewall::{Action, IpProtocol, Match, Rule, Sets};
use lb_common::verdict::Verdict;

use crate::limits::Ledger;

/// A packet as a rule sees it.
#[derive(Clone, Debug)]
pub struct Packet {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub content: Content,
    /// The service that it is for.
    pub service: Option<String>,
    pub interface: String,
}

/// What its transport header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Tcp {
        ports: (u16, u16),
        flags: u8,
    },
    Udp {
        ports: (u16, u16),
    },
    /// ICMP of the packet's family.
    Icmp {
        kind: u8,
    },
    Other,
    /// There is none: the packet is a fragment, and not the first.
    Later,
}

/// What rules and lists are looked up in.
pub struct Model<'a> {
    pub rules: &'a [Rule],
    pub sets: &'a Sets,
    pub policy: Action,
    /// Who may use the packet's service, if not everyone.
    pub allow: Option<&'a [Match]>,
    /// What is left of the rules' limits.
    pub ledger: &'a mut Ledger,
}

/// What becomes of a packet, and the name of the rule that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged<'a> {
    pub verdict: Option<Verdict>,
    pub rule: Option<&'a str>,
}

impl<'a> Model<'a> {
    pub fn judge(&mut self, packet: &Packet) -> Judged<'a> {
        if let Some(allow) = self.allow
            && !self.is_one_of(packet.source, allow)
        {
            return Judged { verdict: Some(Verdict::ServiceNotAllowed), rule: None };
        }
        for rule in self.rules {
            if self.matches(rule, packet) && self.ledger.exceeds(rule, packet) {
                let verdict = (rule.action == Action::Drop).then_some(Verdict::FirewallDrop);
                return Judged { verdict, rule: Some(&rule.name) };
            }
        }
        let verdict = (self.policy == Action::Drop).then_some(Verdict::FirewallPolicy);
        Judged { verdict, rule: None }
    }

    fn matches(&self, rule: &Rule, packet: &Packet) -> bool {
        let of = |list: &[Match], address| list.is_empty() || self.is_one_of(address, list);
        of(&rule.sources, packet.source)
            && of(&rule.destinations, packet.destination)
            && rule.protocol.is_none_or(|IpProtocol(number)| number == packet.protocol)
            && rule.interface.as_ref().is_none_or(|name| *name == packet.interface)
            && rule.service.as_ref().is_none_or(|name| Some(name) == packet.service.as_ref())
            && matches_content(rule, packet)
    }

    fn is_one_of(&self, address: IpAddr, list: &[Match]) -> bool {
        list.iter().any(|place| match place {
            Match::Prefix(prefix) => prefix.contains(&address),
            Match::Set(name) => self
                .sets
                .get(name)
                .is_some_and(|set| set.iter().any(|prefix| prefix.contains(&address))),
        })
    }
}

fn matches_content(rule: &Rule, packet: &Packet) -> bool {
    let asks_ports = !rule.sports.is_empty() || !rule.dports.is_empty();
    let asks = asks_ports || rule.tcp_flags.is_some() || !rule.icmp_types.is_empty();
    let ports = match packet.content {
        Content::Tcp { ports, .. } | Content::Udp { ports } => Some(ports),
        Content::Later if asks => {
            return rule.action == Action::Accept
                && (!asks_ports || [6, 17].contains(&packet.protocol));
        }
        Content::Icmp { .. } | Content::Other | Content::Later => None,
    };
    let flags = match packet.content {
        Content::Tcp { flags, .. } => Some(flags),
        Content::Udp { .. } | Content::Icmp { .. } | Content::Other | Content::Later => None,
    };
    let kind = match packet.content {
        Content::Icmp { kind } => Some(kind),
        Content::Tcp { .. } | Content::Udp { .. } | Content::Other | Content::Later => None,
    };
    let in_ranges = |ranges: &[std::ops::RangeInclusive<u16>], port: Option<u16>| {
        ranges.is_empty()
            || port.is_some_and(|port| ranges.iter().any(|range| range.contains(&port)))
    };
    in_ranges(&rule.sports, ports.map(|ports| ports.0))
        && in_ranges(&rule.dports, ports.map(|ports| ports.1))
        && rule
            .tcp_flags
            .is_none_or(|wanted| flags.is_some_and(|flags| flags & wanted.mask == wanted.value))
        && (rule.icmp_types.is_empty() || kind.is_some_and(|kind| rule.icmp_types.contains(&kind)))
}
