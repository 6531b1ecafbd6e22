//! What rules name must be there: sets, services, interfaces. And what they are called must be unique.

use std::collections::HashMap;

use super::Draft;
use crate::model::config::problem::{Fault, Report, Span};
use crate::model::config::reader::Located;
use crate::model::config::value::nearest;
use crate::model::firewall::{MAX_RULES, Match};

/// What a file has that rules may name.
pub(in crate::model::config) struct Known<'a> {
    /// Names of services.
    pub(in crate::model::config) services: Vec<&'a str>,
    /// Interfaces that Sluice is attached to.
    pub(in crate::model::config) interfaces: Vec<&'a str>,
    /// The lists of services that say who may connect.
    pub(in crate::model::config) allowed: Vec<&'a Located<Match>>,
}

/// Checks the firewall against itself and the rest of the file.
pub(in crate::model::config) fn check(report: &Report, firewall: &Draft, known: &Known<'_>) {
    unique_rules(report, firewall);
    same_sources(report, firewall);
    let sets: Vec<&str> = firewall.sets.keys().map(String::as_str).collect();
    let rules = firewall.rules.iter();
    let addresses = rules.flat_map(|rule| &rule.addresses).chain(known.allowed.iter().copied());
    for Located { value, span } in addresses {
        if let Match::Set(name) = value {
            let none = |name: &str| format!("add a table `[firewall.set.{name}]`");
            named(report, ("set", name, span), &sets, none);
        }
    }
    for rule in &firewall.rules {
        if let Some(Located { value, span }) = &rule.service {
            let none = |_: &str| "name a `[[service]]` of this file".to_owned();
            named(report, ("service", value, span), &known.services, none);
        }
        if let Some(Located { value, span }) = &rule.interface {
            let none = |name: &str| format!("add {name:?} to `interfaces` in [datapath]");
            named(report, ("interface", value, span), &known.interfaces, none);
        }
    }
}

fn unique_rules(report: &Report, firewall: &Draft) {
    let mut seen: HashMap<&str, &Span> = HashMap::new();
    for (index, rule) in firewall.rules.iter().enumerate() {
        let Some(Located { value, span }) = &rule.name else { continue };
        if index == MAX_RULES {
            let message = format!("more than {MAX_RULES} rules");
            let help =
                "give one rule several prefixes, ports or a set, in the place of several rules";
            report.add(Fault::new(message, help).at(span));
        }
        if let Some(first) = seen.get(value.as_str()) {
            let message = format!("the rule name {value:?} is used twice");
            let fault = Fault::new(message, "give each rule a name of its own");
            report.add(fault.at(span).and(first, "first used here"));
        } else {
            seen.insert(value, span);
        }
    }
}

/// A flow is counted once, so all rules tell sources apart by the same bits.
fn same_sources(report: &Report, firewall: &Draft) {
    let mut pers = firewall.rules.iter().filter_map(|rule| rule.per.as_ref());
    let Some(first) = pers.next() else { return };
    for Located { span, .. } in pers.filter(|per| per.value != first.value) {
        let message = "rules with `flows` tell sources apart by different prefixes";
        let fault =
            Fault::new(message, "write the same `prefix_v4` and `prefix_v6` in all of them");
        report.add(fault.at(span).and(&first.span, "the first one"));
    }
}

/// Reports a name that is none of those that are known.
fn named(
    report: &Report,
    (kind, name, span): (&str, &str, &Span),
    known: &[&str],
    none_near: fn(&str) -> String,
) {
    if known.contains(&name) {
        return;
    }
    let near = nearest(name, known.iter().copied());
    let help = near.map_or_else(|| none_near(name), |near| format!("did you mean {near:?}?"));
    report.add(Fault::new(format!("there is no {kind} {name:?} here"), help).at(span));
}
