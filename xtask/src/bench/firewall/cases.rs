//! What is measured: rules and sets, and where packets come from.

use std::collections::BTreeMap;

use ipnet::IpNet;
use lb_agent::model::firewall::{
    Action, Elements, Firewall, IpProtocol, Match, Rule, Sets, Source,
};
use lb_common::verdict::Verdict;

use super::super::Arguments;
use super::super::feed::{FIRST_SERVICE, Family};
use super::random::Random;
use super::sets::{Kind, inside, outside};

/// Addresses that packets of a case come from, in turn.
pub(super) const SOURCES: u32 = 1 << 19;

/// Numbers of prefixes and of rules.
pub(super) const PREFIXES: [u32; 4] = [0, 1_000, 100_000, 1_000_000];
const RULES: [u16; 4] = [1, 10, 100, 1_000];
/// Prefixes of the set that those rules name.
const CLIENTS: usize = 1_000;
pub(super) const SET: &str = "set";

/// What configurations have room for at least.
const FEWEST: u32 = 1_024;

/// Rules, and packets that they judge.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// As results name it.
    pub(super) name: String,
    pub(super) family: Family,
    pub(super) verdict: Verdict,
    pub(super) sources: Vec<[u64; 2]>,
    /// Destination port.
    pub(super) port: u16,
}

/// Cases of the same rules.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) firewall: Firewall,
    pub(super) sets: Sets,
    /// What a trie holds to tell the same addresses apart.
    pub(super) prefixes: Vec<IpNet>,
    pub(super) family: Family,
    pub(super) cases: Vec<Case>,
}

/// Whether any case of this name is asked for.
fn wants(arguments: &Arguments, name: &str) -> bool {
    ["hit", "miss"].iter().any(|end| arguments.wants(&format!("{name} {end}")))
}

/// The sets of each number of prefixes and each kind that are asked for.
pub(super) fn sizes(arguments: &Arguments) -> Vec<(Kind, u32)> {
    let all = Kind::ALL.into_iter().flat_map(|kind| PREFIXES.map(|count| (kind, count)));
    // Where there are none, it does not matter how long they are.
    let differs = |(kind, n): &(Kind, u32)| (*kind, *n) != (Kind::Mixed, 0);
    all.filter(differs).filter(|(kind, n)| wants(arguments, &name(*kind, *n))).collect()
}

/// As results name it, but for what its packets meet.
pub(super) fn name(kind: Kind, count: u32) -> String {
    format!("prefixes={count} {}", kind.name())
}

/// A set of so many prefixes that is dropped; made one by one, for they are large.
pub(super) fn prefixes(arguments: &Arguments, kind: Kind, count: u32) -> Group {
    let random = &mut Random::new(u64::from(count));
    let prefixes = kind.prefixes(random, usize::try_from(count).unwrap_or_default());
    let name = name(kind, count);
    let case = |end: &str, verdict, sources| Case {
        name: format!("{name} {end}"),
        family: kind.family(),
        verdict,
        sources,
        port: FIRST_SERVICE,
    };
    let misses = outside(random, kind, &prefixes, SOURCES);
    let mut cases = vec![case("miss", Verdict::NotOurs, misses)];
    if count > 0 {
        let hits = inside(random, &prefixes, SOURCES);
        cases.push(case("hit", Verdict::FirewallDrop, hits));
    }
    cases.retain(|case| arguments.wants(&case.name));
    group(kind.family(), vec![drops_listed()], prefixes, cases)
}

/// What drops the sources that are in the set.
fn drops_listed() -> Rule {
    Rule {
        name: "listed".to_owned(),
        sources: vec![Match::Set(SET.to_owned())],
        ..Rule::any(Action::Drop)
    }
}

/// The firewall that drops a set of these prefixes.
pub(super) fn dropping(elements: &Elements) -> Firewall {
    firewall(vec![drops_listed()], elements)
}

fn firewall(rules: Vec<Rule>, elements: &Elements) -> Firewall {
    Firewall {
        rules,
        sets: BTreeMap::from([(SET.to_owned(), Source::Listed(Vec::new()))]),
        max_prefixes: u32::try_from(elements.len()).unwrap_or(u32::MAX).max(FEWEST),
        ..Firewall::default()
    }
}

/// Rules that each drop another port of the same clients; packets meet the last one, or none.
pub(super) fn of_rules(arguments: &Arguments) -> Vec<Group> {
    let counts = RULES.into_iter();
    let counts = counts.filter(|count| wants(arguments, &format!("rules={count} ipv4")));
    counts.map(|count| rules(arguments, count)).collect()
}

fn rules(arguments: &Arguments, count: u16) -> Group {
    let random = &mut Random::new(u64::from(count));
    let clients = Kind::Networks.prefixes(random, CLIENTS);
    let rule = |number: u16| Rule {
        name: format!("rule{number}"),
        sources: vec![Match::Set(SET.to_owned())],
        protocol: Some(IpProtocol::TCP),
        dports: vec![FIRST_SERVICE + number..=FIRST_SERVICE + number],
        ..Rule::any(Action::Drop)
    };
    let sources = inside(random, &clients, SOURCES);
    let case = |end: &str, verdict, port| Case {
        name: format!("rules={count} ipv4 {end}"),
        family: Family::V4,
        verdict,
        sources: sources.clone(),
        port,
    };
    let mut cases = vec![
        case("miss", Verdict::NotOurs, FIRST_SERVICE + count),
        case("hit", Verdict::FirewallDrop, FIRST_SERVICE + count - 1),
    ];
    cases.retain(|case| arguments.wants(&case.name));
    group(Family::V4, (0..count).map(rule).collect(), clients, cases)
}

fn group(family: Family, rules: Vec<Rule>, prefixes: Vec<IpNet>, cases: Vec<Case>) -> Group {
    let elements: Elements = prefixes.iter().copied().collect();
    let firewall = firewall(rules, &elements);
    Group { firewall, sets: Sets::from([(SET.to_owned(), elements)]), prefixes, family, cases }
}
