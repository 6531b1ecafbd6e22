//! Random rules and sets, about few addresses and ports, so that they overlap and packets meet them.

use std::net::IpAddr;

use ipnet::IpNet;
use lb_agent::model::firewall::{
    Action, Elements, Firewall, IpProtocol, Match, Rule, Sets, TcpFlags,
};

use crate::limits::limit;
use crate::random::Random;

/// Prefixes that lie in and beside each other, of all lengths at which the maps do something else.
const PREFIXES: [&str; 51] = [
    "0.0.0.0/0",
    "0.0.0.0/1",
    "128.0.0.0/1",
    "10.0.0.0/8",
    "10.0.0.0/15",
    "10.1.0.0/16",
    "10.1.0.0/17",
    "10.1.2.0/23",
    "10.1.2.0/24",
    "10.1.2.0/25",
    "10.1.2.64/26",
    "10.1.2.64/31",
    "10.1.2.65/32",
    "10.1.2.255/32",
    "10.1.3.0/24",
    "10.1.255.254/31",
    "10.255.255.255/32",
    "192.0.2.0/24",
    "192.0.2.1/32",
    "192.0.2.128/30",
    "203.0.113.0/28",
    "255.255.255.255/32",
    "::/0",
    "::/1",
    "2000::/3",
    "2001:db8::/31",
    "2001:db8::/32",
    "2001:db8::/33",
    "2001:db8:8000::/34",
    "2001:db8:1::/48",
    "2001:db8:1:2::/63",
    "2001:db8:1:2::/64",
    "2001:db8:1:2::/65",
    "2001:db8:1:2:8000::/96",
    "2001:db8:1:2::4/127",
    "2001:db8:1:2::5/128",
    "2001:db8:1:2::ffff/128",
    "2001:db9::/32",
    "2001:d00::/24",
    "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff/128",
    "::ffff:0:0/96",
    "::ffff:10.1.2.65/128",
    "2001::/16",
    "2001:db8:f::/56",
    "fc00::/7",
    "fd00::/8",
    "fd12:3456:789a::/48",
    "fd12:3456:789a:1::/64",
    "fe80::/10",
    "fe80::/64",
    "fe80::1/128",
];
/// Ports at the bounds of ranges.
pub const PORTS: [u16; 12] = [0, 1, 22, 52, 53, 79, 80, 81, 443, 1023, 1024, 65535];
/// Protocols: ICMP, TCP, UDP, GRE, ICMPv6, VRRP, SCTP.
pub const PROTOCOLS: [u8; 7] = [1, 6, 17, 47, 58, 112, 132];
/// Interfaces: that of the packets, and one that is not there.
pub const INTERFACES: [&str; 2] = ["lo", "nowhere0"];
/// Services.
pub const SERVICES: [&str; 3] = ["shop", "names", "mail"];
const SETS: [&str; 4] = ["a", "b", "empty", "missing"];

pub fn prefix(random: &mut Random) -> IpNet {
    if random.chance(80) {
        return random.pick(&PREFIXES).parse().unwrap();
    }
    let near: IpNet = random.pick(&PREFIXES).parse().unwrap();
    let length = near.prefix_len() + u8::try_from(random.below(9)).unwrap();
    let address = within(random, near);
    IpNet::new(address, length.min(near.max_prefix_len())).unwrap().trunc()
}

/// An address in a prefix: its first or last, one beside these, or any.
pub fn within(random: &mut Random, prefix: IpNet) -> IpAddr {
    match (random.below(8), prefix) {
        (0, _) => prefix.network(),
        (1, _) => prefix.broadcast(),
        (2, IpNet::V4(net)) => IpAddr::V4((net.network().to_bits().wrapping_sub(1)).into()),
        (2, IpNet::V6(net)) => IpAddr::V6((net.network().to_bits().wrapping_sub(1)).into()),
        (3, IpNet::V4(net)) => IpAddr::V4((net.broadcast().to_bits().wrapping_add(1)).into()),
        (3, IpNet::V6(net)) => IpAddr::V6((net.broadcast().to_bits().wrapping_add(1)).into()),
        (_, IpNet::V4(net)) => {
            let noise = u32::try_from(random.number() >> 32).unwrap() & net.hostmask().to_bits();
            IpAddr::V4((net.network().to_bits() | noise).into())
        }
        (_, IpNet::V6(net)) => {
            let noise = (u128::from(random.number()) << 64) | u128::from(random.number());
            IpAddr::V6((net.network().to_bits() | (noise & net.hostmask().to_bits())).into())
        }
    }
}

fn some<T>(
    random: &mut Random,
    percent: usize,
    most: usize,
    one: impl Fn(&mut Random) -> T,
) -> Vec<T> {
    let count = if random.chance(percent) { 1 + random.below(most) } else { 0 };
    (0..count).map(|_| one(random)).collect()
}

pub fn place(random: &mut Random) -> Match {
    if random.chance(30) {
        Match::Set(random.pick(&SETS).to_owned())
    } else {
        Match::Prefix(prefix(random))
    }
}

fn range(random: &mut Random) -> std::ops::RangeInclusive<u16> {
    let (a, b) = (random.pick(&PORTS), random.pick(&PORTS));
    if random.chance(50) { a..=a } else { a.min(b)..=a.max(b) }
}

fn rule(random: &mut Random, number: usize) -> Rule {
    let mut rule = Rule {
        name: format!("rule{number}"),
        sources: some(random, 50, 4, place),
        destinations: some(random, 30, 3, place),
        interface: random.chance(10).then(|| random.pick(&INTERFACES).to_owned()),
        service: random.chance(10).then(|| random.pick(&SERVICES).to_owned()),
        ..Rule::any(if random.chance(60) { Action::Drop } else { Action::Accept })
    };
    match random.below(6) {
        0 => rule.protocol = Some(IpProtocol(random.pick(&PROTOCOLS))),
        1 => {
            rule.protocol = [None, Some(IpProtocol::TCP), Some(IpProtocol::UDP)][random.below(3)];
            rule.sports = some(random, 40, 3, range);
            rule.dports = some(random, 90, 3, range);
        }
        2 => {
            let mask = random.byte() | 1;
            rule.tcp_flags = Some(TcpFlags { mask, value: random.byte() & mask });
            rule.protocol = Some(IpProtocol::TCP);
        }
        3 => {
            rule.icmp_types = some(random, 100, 3, |random| random.pick(&[0, 3, 8, 128, 129, 255]));
            rule.protocol = Some([IpProtocol::ICMP, IpProtocol::ICMPV6][random.below(2)]);
        }
        _ => {}
    }
    rule
}

fn asking_sources(rule: &Rule) -> Rule {
    let Rule { name, action, sources, protocol, dports, .. } = rule.clone();
    Rule { name, sources, protocol, dports, ..Rule::any(action) }
}

/// A firewall and what its sets hold.
pub fn firewall(random: &mut Random) -> (Firewall, Sets) {
    let count = [1, 3, 10, 70, 200][random.below(5)];
    let mut rules: Vec<Rule> = (0..count).map(|number| rule(random, number)).collect();
    if random.chance(60) {
        // Their sources are all that they ask about, but for a few ports.
        for rule in &mut rules {
            *rule = asking_sources(rule);
        }
        rules.iter_mut().skip(2).for_each(|rule| rule.dports.clear());
    }
    if random.chance(40) {
        limit(random, &mut rules);
    }
    let policy = if random.chance(50) { Action::Drop } else { Action::Accept };
    let set = |random: &mut Random, percent| -> Elements {
        some(random, percent, 12, prefix).into_iter().collect()
    };
    let sets = [("a", set(random, 100)), ("b", set(random, 80)), ("empty", Elements::default())];
    let sets: Sets = sets.into_iter().map(|(name, set)| (name.to_owned(), set)).collect();
    (Firewall { policy, rules, ..Firewall::default() }, sets)
}
