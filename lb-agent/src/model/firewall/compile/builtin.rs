//! Rules of the firewall's own, before all others: so that nobody locks themselves out, and what the network and the
//! director need goes on.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Names;
use crate::model::firewall::{Action, Firewall, IpProtocol, Match, Rule, TcpFlags};

/// VRRP (RFC 9568).
const VRRP: IpProtocol = IpProtocol(112);

/// ICMP errors (RFC 792): destination unreachable, with it "fragmentation needed", time exceeded, parameter problem.
const ERRORS_V4: [u8; 3] = [3, 11, 12];

/// ICMPv6 errors (RFC 4443: 1 to 4), and neighbour discovery (RFC 4861: 133 to 137).
const NEEDED_V6: [u8; 9] = [1, 2, 3, 4, 133, 134, 135, 136, 137];

/// TCP's ACK flag.
const ACK: TcpFlags = TcpFlags { mask: 0x10, value: 0x10 };

/// The rules of the firewall's own.
#[must_use]
pub fn builtins(firewall: &Firewall, names: &Names) -> Vec<Rule> {
    let host: Vec<Match> = names.host.iter().copied().map(only).collect();
    let rule = |name: &str, protocol| Rule {
        name: format!("builtin:{name}"),
        protocol: Some(protocol),
        ..Rule::any(Action::Accept)
    };
    let mut rules = vec![
        Rule { icmp_types: ERRORS_V4.to_vec(), ..rule("icmp", IpProtocol::ICMP) },
        Rule { icmp_types: NEEDED_V6.to_vec(), ..rule("icmpv6", IpProtocol::ICMPV6) },
        rule("vrrp", VRRP),
    ];
    if !host.is_empty() && !firewall.protect_ports.is_empty() {
        let dports = firewall.protect_ports.iter().map(|port| *port..=*port).collect();
        let destinations = host.clone();
        rules.push(Rule { destinations, dports, ..rule("protect_ports", IpProtocol::TCP) });
    }
    if !host.is_empty() && !names.servers.is_empty() {
        let sources = names.servers.iter().map(|server| only(server.ip())).collect();
        let answers = rule("answers of backends to probes", IpProtocol::TCP);
        rules.push(Rule { sources, destinations: host, tcp_flags: Some(ACK), ..answers });
    }
    rules
}

fn only(address: IpAddr) -> Match {
    Match::Prefix(IpNet::from(address))
}
