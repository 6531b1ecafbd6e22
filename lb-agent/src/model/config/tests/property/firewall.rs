//! Any firewall that a file may have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::IpNet;
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{name, word};
use crate::model::firewall::{
    Action, Firewall, IpProtocol, Match, Over, OverRate, Per, Rate, Rule, Source, TcpFlags,
};

/// The sets that there are.
const SETS: [&str; 2] = ["office", "block list"];

pub(super) fn prefix() -> impl Strategy<Value = IpNet> {
    let v4 =
        (any::<u32>(), 0..=32_u8).prop_map(|(bits, length)| (Ipv4Addr::from(bits).into(), length));
    let v6 = (any::<u128>(), 0..=128_u8)
        .prop_map(|(bits, length)| (Ipv6Addr::from(bits).into(), length));
    prop_oneof![v4, v6].prop_map(|(address, length)| IpNet::new(address, length).unwrap().trunc())
}

pub(super) fn addresses() -> impl Strategy<Value = Vec<Match>> {
    let set = select(&SETS).prop_map(|name| Match::Set(name.to_owned()));
    vec(prop_oneof![prefix().prop_map(Match::Prefix), set], 0..3)
}

fn ports() -> impl Strategy<Value = Vec<RangeInclusive<u16>>> {
    let range =
        (any::<u16>(), 0..9_u16).prop_map(|(first, more)| first..=first.saturating_add(more));
    vec(range, 0..3)
}

/// What of the transport header goes together.
fn transport() -> impl Strategy<Value = Rule> {
    let tcp_flags =
        (1..=u8::MAX, any::<u8>()).prop_map(|(mask, value)| TcpFlags { mask, value: value & mask });
    let tcp = (ports(), ports(), option::of(tcp_flags)).prop_map(|(sports, dports, tcp_flags)| {
        Rule { protocol: Some(IpProtocol::TCP), sports, dports, tcp_flags, ..bare() }
    });
    let either = (ports(), ports()).prop_map(|(sports, dports)| Rule { sports, dports, ..bare() });
    let icmp = (any::<bool>(), vec(any::<u8>(), 0..3)).prop_map(|(is_v4, icmp_types)| {
        let protocol = if is_v4 { IpProtocol::ICMP } else { IpProtocol::ICMPV6 };
        Rule { protocol: Some(protocol), icmp_types, ..bare() }
    });
    let other =
        any::<u8>().prop_map(|number| Rule { protocol: Some(IpProtocol(number)), ..bare() });
    prop_oneof![tcp, either, icmp, other]
}

fn bare() -> Rule {
    Rule::any(Action::Drop)
}

fn over() -> impl Strategy<Value = Over> {
    let per =
        (1..=32_u8, 1..=128_u8).prop_map(|(prefix_v4, prefix_v6)| Per { prefix_v4, prefix_v6 });
    let rate = (60..=1_000_000_u32, word(), 1..=60_u32, word(), option::of(per)).prop_map(
        |(amount, unit, burst, count, per)| {
            Over::Rate(OverRate { rate: Rate { amount, unit }, burst, count, per })
        },
    );
    // All rules tell sources apart by the same prefixes.
    let per = Per { prefix_v4: 24, prefix_v6: 56 };
    prop_oneof![rate, (1..=16_777_216_u32).prop_map(move |most| Over::Flows { most, per })]
}

fn rule() -> impl Strategy<Value = Rule> {
    let service = option::of(Just("service 0".to_owned()));
    (word(), addresses(), addresses(), transport(), (service, option::of(over()))).prop_map(
        |(action, sources, destinations, transport, (service, over))| Rule {
            action,
            sources,
            destinations,
            service,
            over,
            ..transport
        },
    )
}

/// `has_service`: rules may name the service 0.
pub(super) fn firewall(has_service: bool) -> impl Strategy<Value = Firewall> {
    let rules = (btree_set(name(), 0..5), vec(rule(), 5)).prop_map(
        move |(names, rules): (BTreeSet<String>, Vec<Rule>)| {
            let named = names.into_iter().zip(rules);
            named
                .map(|(name, rule)| {
                    let service = rule.service.clone().filter(|_| has_service);
                    Rule { name, service, ..rule }
                })
                .collect()
        },
    );
    let source = || {
        prop_oneof![
            vec(prefix(), 0..3).prop_map(Source::Listed),
            "/[a-z]{1,9}".prop_map(|path| Source::File(path.into())),
        ]
    };
    let sets = [source(), source()].prop_map(|sources| {
        SETS.iter().map(|name| (*name).to_owned()).zip(sources).collect::<BTreeMap<_, _>>()
    });
    let numbers = (vec(1..=u16::MAX, 0..3), 1_024..=4_194_304_u32);
    (word(), rules, sets, numbers, (word(), 1..=10_000_000_u32)).prop_map(
        |(policy, rules, sets, (protect_ports, max_prefixes), (syn_cookies, syn_cookies_above))| {
            Firewall {
                policy,
                rules,
                sets,
                protect_ports,
                max_prefixes,
                syn_cookies,
                syn_cookies_above,
            }
        },
    )
}
