//! What sets hold: what their files, or the configuration, say, and the changes made at run time.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use lb_common::api::{SetAction, SetChange};

use super::change::not_found;
use super::{FirewallOverlay, SetOverlay};
use crate::model::agent::Refusal;
use crate::model::config::{Config, nearest, prefix_of};
use crate::model::firewall::{Elements, Firewall, Sets, Source};

/// Most changes of one set that are kept one by one.
const MOST_CHANGES: usize = 65_536;
/// Most lines about the elements of one set.
const MOST_LINES: usize = 10;

/// What was read from the files of sets, and what was loaded in the place of that, by the set's name.
pub type Stock = BTreeMap<String, Elements>;

/// The sets of a firewall with the changes laid over them. What the overlay says of them that is so anyway is
/// taken out of it. A set of which nothing is known is empty.
pub fn lay(firewall: &Firewall, stock: &Stock, overlay: &mut FirewallOverlay) -> Sets {
    let mut sets = Sets::new();
    for (name, source) in &firewall.sets {
        let loaded = overlay.is_loaded(name);
        let mut elements = match source {
            Source::Listed(list) if !loaded => list.iter().copied().collect(),
            Source::Listed(_) | Source::File(_) => stock.get(name).cloned().unwrap_or_default(),
        };
        if let Some(changes) = overlay.sets.get_mut(name) {
            changes.deleted.retain(|prefix| elements.delete(*prefix));
            changes.added.retain(|prefix| elements.add(*prefix));
        }
        sets.insert(name.clone(), elements);
    }
    overlay.sets.retain(|_, changes| *changes != SetOverlay::default());
    sets
}

/// The elements that a list becomes by changes.
pub fn listed(list: &mut Vec<IpNet>, SetOverlay { added, deleted, .. }: &SetOverlay) {
    list.retain(|prefix| !deleted.contains(prefix));
    let known: BTreeSet<IpNet> = list.iter().copied().collect();
    list.extend(added.difference(&known));
}

/// The same sets; those that hold what they held before share its list.
pub fn sharing(mut sets: Sets, before: &Sets) -> Sets {
    for (name, elements) in &mut sets {
        if let Some(before) = before.get(name).filter(|before| *before == elements) {
            elements.clone_from(before);
        }
    }
    sets
}

/// Puts a change of a set's elements into the overlay; `sets` are those that run.
pub(super) fn change(
    overlay: &mut FirewallOverlay,
    sets: &Sets,
    SetChange { set, action, elements }: &SetChange,
) -> Result<(), Refusal> {
    let present = existing(sets, set)?;
    let prefixes = elements.iter().map(|text| prefix_of(text)).collect::<Result<BTreeSet<_>, _>>();
    let prefixes = prefixes.map_err(|reason| Refusal::Invalid(format!("set {set}: {reason}")))?;
    if prefixes.is_empty() {
        return Err(Refusal::Invalid(format!("set {set}: no element is given")));
    }
    let changes = overlay.sets.entry(set.clone()).or_default();
    match action {
        SetAction::Add => changes.add(prefixes),
        SetAction::Delete => {
            if let Some(missing) = prefixes.iter().find(|prefix| !present.contains(**prefix)) {
                return Err(Refusal::NotFound(no_element(set, present, *missing)));
            }
            changes.delete(prefixes);
        }
    }
    if changes.added.len().max(changes.deleted.len()) > MOST_CHANGES {
        return Err(Refusal::Invalid(format!(
            "set {set}: more than {MOST_CHANGES} changes are not kept one by one; load it as a whole"
        )));
    }
    Ok(())
}

/// Notes that what was loaded holds, and nothing else.
pub(super) fn load(overlay: &mut FirewallOverlay, sets: &Sets, set: &str) -> Result<(), Refusal> {
    existing(sets, set)?;
    let loaded = SetOverlay { loaded: true, ..SetOverlay::default() };
    overlay.sets.insert(set.to_owned(), loaded);
    Ok(())
}

impl SetOverlay {
    fn add(&mut self, prefixes: BTreeSet<IpNet>) {
        for prefix in prefixes {
            if !self.deleted.remove(&prefix) {
                self.added.insert(prefix);
            }
        }
    }

    fn delete(&mut self, prefixes: BTreeSet<IpNet>) {
        for prefix in prefixes {
            if !self.added.remove(&prefix) {
                self.deleted.insert(prefix);
            }
        }
    }
}

/// What a set holds, or that there is none of this name.
pub fn existing<'a>(sets: &'a Sets, name: &str) -> Result<&'a Elements, Refusal> {
    let near = || nearest(name, sets.keys().map(String::as_str));
    sets.get(name).ok_or_else(|| not_found("set", name, "", near()))
}

/// A covered address is the usual slip: what holds it is named.
fn no_element(set: &str, present: &Elements, prefix: IpNet) -> String {
    let covers = |element: &IpNet| element.contains(&prefix) && *element != prefix;
    let covering = present.iter().find(covers);
    let covering = covering.map(|element| format!("; its element {element} holds it"));
    format!("set {set} has no element {prefix}{}", covering.unwrap_or_default())
}

/// What differs between the sets before and after, a line each; of many elements only the first.
pub fn diff(before: &Sets, after: &Sets) -> Vec<String> {
    let kept = after.iter().filter_map(|(name, now)| Some((name, before.get(name)?, now)));
    kept.flat_map(|(name, before, now)| elements_diff(name, before, now)).collect()
}

fn elements_diff(name: &str, before: &Elements, after: &Elements) -> Vec<String> {
    if before == after {
        return Vec::new();
    }
    if !before.shares_list_with(after) && before.len().max(after.len()) > MOST_LINES {
        return vec![format!("set {name}: {} elements -> {}", before.len(), after.len())];
    }
    let (gained, lost) = (after.not_in(before), before.not_in(after));
    let line = |what: &str, one: IpNet| format!("set {name}: {one} {what}");
    let mut lines: Vec<String> = gained.map(|one| line("added", one)).collect();
    lines.extend(lost.map(|one| line("deleted", one)));
    let n_more = lines.len().saturating_sub(MOST_LINES);
    if n_more > 0 {
        lines.truncate(MOST_LINES);
        lines.push(format!("set {name}: {n_more} elements more"));
    }
    lines
}

/// The file of a set whose source is one, unless something else was loaded in its place.
pub fn files<'a>(
    config: &'a Config,
    overlay: &'a FirewallOverlay,
) -> impl Iterator<Item = (&'a str, &'a std::path::Path)> {
    let sets = config.firewall.sets.iter();
    sets.filter_map(|(name, source)| match source {
        Source::File(file) if !overlay.is_loaded(name) => Some((name.as_str(), file.as_path())),
        Source::File(_) | Source::Listed(_) => None,
    })
}
