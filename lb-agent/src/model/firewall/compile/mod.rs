//! From rules and sets to what the firewall's maps hold: see `lb_common::layout::firewall`.
//!
//! The result is one half of the maps, the same whichever half it is written to.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use lb_common::layout::firewall::{
    Firewall as Wire, Front, LongBucket, MAX_CLASSES, MAX_NODES, MAX_ROWS, MAX_RULES, NO_COUNT,
    Node, PAGE, Row,
};
use lb_common::layout::limit::{Limit, MAX_LIMITS};

use super::{Action, Firewall, Match, Rule, Sets};

mod address;
mod builtin;
mod class;
mod condition;
mod kind;
mod limit;
mod long;
mod outcome;
mod place;
mod plane;
mod port;
mod property;
mod row;
mod size;

#[cfg(test)]
mod tests;

pub use builtin::builtins;
pub use size::Size;

use address::Addresses;
use property::Properties;
use row::Rules;

/// What names in rules stand for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Names {
    /// Ids of the listeners of services.
    pub services: BTreeMap<String, Vec<u32>>,
    /// Who may use a service, of those that not everyone may use.
    pub allows: BTreeMap<String, Vec<Match>>,
    /// The host's own addresses, those of VIPs not among them.
    pub host: Vec<IpAddr>,
    /// Servers that the host probes and sends flows to.
    pub servers: Vec<SocketAddr>,
    /// Numbers of the counters of rules.
    pub counters: BTreeMap<String, u32>,
}

/// What a half of the firewall's maps holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "see lb_common::map")]
pub struct Compiled {
    /// The size of the maps that it was made for.
    pub size: Size,
    /// Without the bit of the half.
    pub word: u64,
    pub bits: Vec<u64>,
    pub roots: Vec<[u32; PAGE]>,
    pub fronts: Vec<Front>,
    pub values: Vec<[u16; PAGE]>,
    pub cells: Vec<[u64; 8]>,
    pub nodes: Vec<Node>,
    pub long: Vec<LongBucket>,
    pub rows: Vec<Row>,
    pub ports: Vec<[u16; PAGE]>,
    pub kinds: Vec<[u16; PAGE]>,
    pub services: Vec<[u32; PAGE]>,
    /// Rows by name of the interface; the first is that of those that no rule names.
    pub links: Vec<(Option<String>, u32)>,
    pub rules: Vec<u32>,
    pub asked: Vec<u64>,
    pub outcomes: Vec<[u32; PAGE]>,
    pub limits: Vec<Limit>,
    pub source_masks: [u64; 3],
}

/// Rules and sets that the maps have no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// Prefixes
    #[error("the rules and sets hold more prefixes than `[firewall] max_prefixes` has room for")]
    Prefixes,
    /// Rules
    #[error(
        "more than {MAX_RULES} rules, those of `allow` lists and of the firewall's own included"
    )]
    Rules,
    /// Limits
    #[error(
        "more than {MAX_LIMITS} rules with `over`; those that count packets with TCP flags take two"
    )]
    Limits,
    /// Sources
    #[error(
        "rules with `flows` tell sources apart by different prefixes: `prefix_v4` and `prefix_v6` are the same for all"
    )]
    Sources,
    /// Classes
    #[error("the prefixes of rules and sets overlap in more than {MAX_CLASSES} ways")]
    Classes,
    /// Nodes
    #[error(
        "the IPv6 prefixes of rules and sets lie below each other in more than {MAX_NODES} ways"
    )]
    Nodes,
    /// Rows
    #[error("the rules tell more than {MAX_ROWS} kinds of packets apart")]
    Rows,
}

/// Makes what a half of the maps holds of rules and sets. A set that is not there is empty.
pub fn compile(firewall: &Firewall, sets: &Sets, names: &Names) -> Result<Compiled, CompileError> {
    let size = Size::for_prefixes(firewall.max_prefixes);
    let rules = Rules::new(firewall, names)?;
    if !rules.ask_anything(firewall.policy) {
        return Ok(Compiled::off());
    }
    let addresses = Addresses::compile(&rules, sets, size)?;
    let Properties { rows, ports, kinds, services, links } =
        Properties::compile(&rules, &addresses, names)?;
    let word = Wire::ON | asked(&rules, firewall.policy) | strangers(&rules, firewall.policy);
    let n_classes = addresses.classes.len();
    let Addresses { bits, roots, fronts, values, cells, nodes, long, .. } = addresses;
    // The rows of sources stand behind that of all rules, one of two.
    let sources = rows.iter().skip(1).step_by(2).take(n_classes);
    let outcomes = outcome::pages(&rules, firewall.policy, names, sources);
    let asked = outcome::asked_ports(&rules);
    let source_masks = limit::source_masks(&rules)?;
    let (rules, limits) = limit::words(&rules, names)?;
    Ok(Compiled {
        size,
        word,
        bits,
        roots,
        fronts,
        values,
        cells,
        nodes,
        long,
        rows,
        ports,
        kinds,
        services,
        links,
        rules,
        asked,
        outcomes,
        limits,
        source_masks,
    })
}

impl Compiled {
    /// No firewall: every packet goes on.
    #[must_use]
    pub fn off() -> Self {
        Self {
            size: Size::none(),
            word: 0,
            bits: Vec::new(),
            roots: Vec::new(),
            fronts: Vec::new(),
            values: Vec::new(),
            cells: Vec::new(),
            nodes: Vec::new(),
            long: Vec::new(),
            rows: Vec::new(),
            ports: Vec::new(),
            kinds: Vec::new(),
            services: Vec::new(),
            links: Vec::new(),
            rules: Vec::new(),
            asked: Vec::new(),
            outcomes: Vec::new(),
            limits: Vec::new(),
            source_masks: [0; 3],
        }
    }

    /// Whether there is a firewall.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.word & Wire::ON != 0
    }
}

/// The number of a rule's counter.
fn counter(rule: &Rule, names: &Names) -> u32 {
    names.counters.get(&rule.name).copied().unwrap_or(NO_COUNT)
}

/// What the rules ask about.
fn asked(rules: &Rules, policy: Action) -> u64 {
    let asks = |of: fn(&Rule) -> bool| rules.iter().any(of);
    let has_lists = !rules.lists.is_empty();
    let conditions = [
        (Wire::POLICY_DROP, policy == Action::Drop),
        (Wire::BY_SOURCE, has_lists || asks(|rule| !rule.sources.is_empty())),
        (Wire::BY_DESTINATION, asks(|rule| !rule.destinations.is_empty())),
        (Wire::BY_SOURCE_PORT, asks(|rule| !rule.sports.is_empty())),
        (Wire::BY_DESTINATION_PORT, asks(|rule| !rule.dports.is_empty())),
        (Wire::BY_KIND, asks(condition::asks_kind)),
        (Wire::BY_INTERFACE, asks(|rule| rule.interface.is_some())),
        (Wire::BY_SERVICE, has_lists || asks(|rule| rule.service.is_some())),
    ];
    conditions.into_iter().filter(|(_, holds)| *holds).fold(0, |word, (bit, _)| word | bit)
}

/// Whether a source in no prefix is enough for a packet to pass uncounted: all that may match it is the firewall's
/// own.
fn strangers(rules: &Rules, policy: Action) -> u64 {
    let mut theirs = rules.user().filter(|rule| rule.sources.is_empty());
    let passes = policy == Action::Accept && rules.lists.is_empty() && theirs.next().is_none();
    if passes { Wire::STRANGERS_PASS } else { 0 }
}
