//! `[firewall]`: the policy and the sets; rules are in `firewall/rule.rs`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ipnet::IpNet;

use super::problem::Fault;
use super::reader::{Located, Table};
use super::value::{check_name, choice, integer, path};
use crate::model::firewall::{Action, Firewall, Source, SynCookies};
use rule::Draft as RuleDraft;
pub(super) use value::addresses;

pub(super) mod across;
mod over;
pub(super) mod rule;
pub(super) mod setting;
pub(super) mod value;

/// `[firewall]` as far as it is valid.
pub(super) struct Draft {
    pub(super) rules: Vec<RuleDraft>,
    /// Sets by name; `None`: it has a problem.
    pub(super) sets: BTreeMap<String, Option<Source>>,
    rest: Option<Rest>,
}

/// Policy, protected ports, most prefixes, and when cookies are sent.
type Rest = (Action, Vec<u16>, u32, (SynCookies, u32));

/// Reads `[firewall]`.
pub(super) fn draft(mut table: Table<'_>) -> Draft {
    let default = Firewall::default();
    let policy = table.or("policy", default.policy, choice(&[]));
    let protect_ports = table.list_or_none("protect_ports", value::port);
    let max_prefixes = table.or("max_prefixes", default.max_prefixes, integer(1_024..=4_194_304));
    let sets = sets(&mut table);
    let rules = table.sections("rule", "[[firewall.rule]]").into_iter().map(rule::draft).collect();
    let syn_cookies = table.or("syn_cookies", default.syn_cookies, choice(&[]));
    let above = table.or("syn_cookies_above", default.syn_cookies_above, integer(1..=10_000_000));
    table.finish(&[]);
    let protected = protect_ports.map_or(Some(default.protect_ports), |ports| {
        let values = ports.items.into_iter().map(|port| port.value).collect();
        ports.whole.then_some(values)
    });
    let rest = || {
        Some((policy?.value, protected?, max_prefixes?.value, (syn_cookies?.value, above?.value)))
    };
    Draft { rules, sets, rest: rest() }
}

impl Draft {
    /// The firewall, unless a part of it has a problem.
    pub(super) fn finish(self) -> Option<Firewall> {
        let (policy, protect_ports, max_prefixes, cookies) = self.rest?;
        let (syn_cookies, syn_cookies_above) = cookies;
        let rules = self.rules.into_iter().map(|draft| draft.rule).collect::<Option<_>>()?;
        let sets = self.sets.into_iter().map(|(name, source)| Some((name, source?)));
        let sets = sets.collect::<Option<_>>()?;
        Some(Firewall {
            policy,
            rules,
            sets,
            protect_ports,
            max_prefixes,
            syn_cookies,
            syn_cookies_above,
        })
    }
}

fn sets(table: &mut Table<'_>) -> BTreeMap<String, Option<Source>> {
    let mut sets = BTreeMap::new();
    for (name, set) in table.named_sections("set", "[firewall.set.NAME]") {
        if let Err(fault) = check_name(name.value) {
            table.report.add(fault.at(&name.span));
        }
        sets.insert(name.value.to_owned(), set.and_then(source));
    }
    sets
}

fn source(mut table: Table<'_>) -> Option<Source> {
    let elements = table.list_or_none("elements", value::element);
    let file: Option<Option<Located<PathBuf>>> = table.optional("file", path);
    let (report, span) = (table.report, table.span.clone());
    table.finish(&[]);
    match (elements, file?) {
        (Some(elements), None) => {
            let items: Vec<IpNet> = elements.items.into_iter().map(|item| item.value).collect();
            elements.whole.then_some(Source::Listed(items))
        }
        (None, Some(file)) => Some(Source::File(file.value)),
        (Some(_), Some(file)) => {
            let fault = Fault::new("a set has `elements` or a `file`, not both", "remove one");
            report.add(fault.at(&file.span));
            None
        }
        (None, None) => {
            let help =
                "add `elements = [\"198.51.100.0/24\"]` or `file = \"/etc/lb/blocklist.txt\"`";
            report.add(Fault::new("a set without `elements` and without a `file`", help).at(&span));
            None
        }
    }
}
