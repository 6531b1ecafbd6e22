//! Lays changes of rules over those of the file, and puts a change into the overlay.

use lb_common::api;

use super::change::{find, not_found};
use super::{AddedRule, FirewallOverlay, Merged};
use crate::model::agent::Refusal;
use crate::model::config::{Config, rule_from_text};
use crate::model::firewall::{MAX_RULES, Match, Rule};

/// Lays the rules of an overlay over a configuration whose services are merged already.
pub(super) fn lay(merged: &mut Merged, overlay: &FirewallOverlay) {
    for name in &overlay.deleted {
        let rules = &mut merged.config.firewall.rules;
        let n_before = rules.len();
        rules.retain(|rule| rule.name != *name);
        if rules.len() == n_before {
            merged.dropped.push(format!("rule {name} is not deleted: it is not in the file"));
        } else {
            merged.overlay.firewall.deleted.insert(name.clone());
        }
    }
    for added in &overlay.added {
        match add(&mut merged.config, added) {
            Ok(()) => merged.overlay.firewall.added.push(added.clone()),
            Err(reason) => {
                merged.dropped.push(format!("rule {} is not added: {reason}", added.rule.name));
            }
        }
    }
    for (name, changes) in &overlay.sets {
        if merged.config.firewall.sets.contains_key(name) {
            merged.overlay.firewall.sets.insert(name.clone(), changes.clone());
        } else {
            merged.dropped.push(format!("set {name} loses its changes: it is not in the file"));
        }
    }
}

fn add(config: &mut Config, added: &AddedRule) -> Result<(), String> {
    let rule = rule_from_text(&added.rule)?;
    fits(config, &rule)?;
    let rules = &mut config.firewall.rules;
    let place = match &added.before {
        Some(before) => (rules.iter().position(|rule| rule.name == *before))
            .ok_or_else(|| format!("there is no rule {before} that it could stand before"))?,
        None => rules.len(),
    };
    rules.insert(place, rule);
    Ok(())
}

/// Whether a rule fits to the others, and what it names is there.
fn fits(config: &Config, rule: &Rule) -> Result<(), String> {
    let Config { firewall, datapath, services, .. } = config;
    if firewall.rules.iter().any(|other| other.name == rule.name) {
        return Err("there is a rule of this name".to_owned());
    }
    if firewall.rules.len() >= MAX_RULES {
        return Err(format!("there are {MAX_RULES} rules, and no more fit"));
    }
    for addresses in rule.sources.iter().chain(&rule.destinations) {
        if let Match::Set(name) = addresses
            && !firewall.sets.contains_key(name)
        {
            return Err(format!("there is no set {name}"));
        }
    }
    if let Some(name) = &rule.service
        && services.iter().all(|service| service.name != *name)
    {
        return Err(format!("there is no service {name}"));
    }
    if let Some(name) = &rule.interface
        && !datapath.interfaces.contains(name)
    {
        return Err(format!("{name} is not one of the interfaces in [datapath]"));
    }
    Ok(())
}

/// Puts a change of the rules into the overlay.
pub(super) fn change(
    file: &Config,
    overlay: &mut FirewallOverlay,
    running: &Config,
    change: &api::RuleChange,
) -> Result<(), Refusal> {
    let rules = &running.firewall.rules;
    let existing = |name: &str| {
        find(rules, |rule| &rule.name, name).map_err(|near| not_found("rule", name, "", near))
    };
    match change {
        api::RuleChange::Add { rule, before } => {
            if existing(&rule.name).is_ok() {
                return Err(Refusal::Conflict(format!("there already is a rule {}", rule.name)));
            }
            if let Some(before) = before {
                existing(before)?;
            }
            // As it is read, so that it can be compared: a prefix without its host bits, say.
            let rule = rule_from_text(rule).map_err(|reason| {
                Refusal::Invalid(format!("rule {} is not added: {reason}", rule.name))
            })?;
            let rule = crate::model::config::rule_to_text(&rule);
            overlay.added.push(AddedRule { rule, before: before.clone() });
        }
        api::RuleChange::Delete { name } => {
            existing(name)?;
            let after = rules.iter().skip_while(|rule| rule.name != *name).nth(1);
            delete(file, overlay, name, after.map(|rule| rule.name.as_str()));
        }
    }
    Ok(())
}

/// What stood before the rule stands before the next one then.
fn delete(file: &Config, overlay: &mut FirewallOverlay, name: &str, next: Option<&str>) {
    overlay.added.retain(|added| added.rule.name != name);
    for added in &mut overlay.added {
        if added.before.as_deref() == Some(name) {
            added.before = next.map(str::to_owned);
        }
    }
    if file.firewall.rules.iter().any(|rule| rule.name == name) {
        overlay.deleted.insert(name.to_owned());
    }
}
