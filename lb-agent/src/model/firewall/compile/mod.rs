//! From rules and sets to what the firewall's maps hold: see `lb_common::layout::firewall`.
//!
//! The result is one half of the maps, the same whichever half it is written to.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use lb_common::layout::firewall::{
    Firewall as Wire, MAX_CLASSES, MAX_NODES, MAX_ROWS, MAX_RULES, NO_COUNT,
};
use lb_common::layout::limit::MAX_LIMITS;

use super::{Action, Firewall, Match, Rule, Sets};

mod address;
mod builtin;
mod class;
mod compiled;
mod condition;
mod edit;
mod kind;
mod limit;
mod long;
mod outcome;
mod patch;
mod place;
mod plane;
mod port;
mod property;
mod row;
mod size;

#[cfg(test)]
mod tests;

pub use builtin::builtins;
pub use compiled::{Compiled, Content, Half, Head};
pub use patch::{Basis, Image, Patch};
pub use size::{MOST_OTHERS, Size};

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

/// Rules and sets that the maps have no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// Prefixes
    #[error("the rules and sets hold more prefixes than `[firewall] max_prefixes` has room for")]
    Prefixes,
    /// Networks
    #[error(
        "the IPv6 prefixes of rules and sets outside of 2000::/3 lie in more networks of 16 bits than there is room for: \
         {MOST_OTHERS}, if all others are used"
    )]
    Networks,
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

/// What a firewall is made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Rules, policy and room.
    pub firewall: Firewall,
    /// What the sets hold.
    pub sets: Sets,
    /// What names stand for.
    pub names: Names,
}

impl Recipe {
    /// Whether packets would have to be looked at. If not, it is compiled in no time.
    #[must_use]
    pub fn asks_anything(&self) -> bool {
        let Firewall { policy, rules, .. } = &self.firewall;
        *policy == Action::Drop || !rules.is_empty() || !self.names.allows.is_empty()
    }

    /// The size of the maps that it needs.
    #[must_use]
    pub fn size(&self) -> Size {
        Size::for_prefixes(self.firewall.max_prefixes)
    }

    /// See [`compile`].
    pub fn compile(&self) -> Result<Arc<Compiled>, CompileError> {
        compile(&self.firewall, &self.sets, &self.names)
    }
}

/// A firewall that is to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// From this.
    pub recipe: Recipe,
    /// What is in force, if that is known, and what it was made from.
    pub before: Option<(Recipe, Arc<Compiled>)>,
}

impl Order {
    /// What differs from what is in force, of which the maps hold what `image` tells. `None`: all is to be made anew.
    pub fn compile_difference(&self, image: &impl Image) -> Option<Arc<Compiled>> {
        let (recipe, compiled) = self.before.as_ref()?;
        let (patch, basis) = patch::patch(recipe, &self.recipe, compiled.basis()?, image)?;
        Some(Arc::new(compiled.patched(patch, basis)))
    }
}

/// Makes what a half of the maps holds of rules and sets. A set that is not there is empty.
pub fn compile(
    firewall: &Firewall,
    sets: &Sets,
    names: &Names,
) -> Result<Arc<Compiled>, CompileError> {
    let size = Size::for_prefixes(firewall.max_prefixes);
    let rules = Rules::new(firewall, names)?;
    if !rules.ask_anything(firewall.policy) {
        return Ok(Arc::new(Compiled::off()));
    }
    let addresses = Addresses::compile(&rules, sets, size)?;
    let Properties { rows, ports, kinds, services, links } =
        Properties::compile(&rules, &addresses, names)?;
    let word = Wire::ON | asked(&rules, firewall.policy) | strangers(&rules, firewall.policy);
    let Addresses { bits, roots, fronts, values, cells, nodes, long, classes, families } =
        addresses;
    let word = word | families;
    // The rows of sources stand behind that of all rules, one of two.
    let sources = rows.iter().skip(1).step_by(2).take(classes.list().len());
    let outcomes = outcome::pages(&rules, firewall.policy, names, sources);
    let asked = outcome::asked_ports(&rules);
    let source_masks = limit::source_masks(&rules)?;
    let (rules, limits) = limit::words(&rules, names)?;
    let n_chunks = u32::try_from(fronts.len()).unwrap_or(u32::MAX);
    let list = nodes.list.clone();
    let cell_buckets = u32::try_from(cells.len()).unwrap_or(u32::MAX);
    let basis = Basis { classes, nodes, n_chunks, free: Vec::new(), cell_buckets, families };
    let half = Half {
        bits,
        roots,
        fronts,
        values,
        cells,
        nodes: list,
        long,
        rows,
        ports,
        kinds,
        services,
        rules,
        asked,
        outcomes,
        limits,
    };
    Ok(Arc::new(Compiled::whole(Head { size, word, links, source_masks }, half, basis)))
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
