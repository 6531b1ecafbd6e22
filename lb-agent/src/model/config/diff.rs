//! What differs between two configurations, a line each.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::firewall::setting::rule;
use super::setting::{self, Literal, Setting};
use super::{Backend, Config, HealthCheck, Service, Vrrp, vrrp};
use crate::model::firewall::{Rule, Source};

/// One line per change, such as `service shop: backend web2 weight 100 -> 50`; empty if nothing differs.
pub fn diff(before: &Config, after: &Config) -> Vec<String> {
    let pairs = setting::sections(before).into_iter().zip(setting::sections(after));
    let mut lines: Vec<String> = pairs
        .flat_map(|((name, before), (_, after))| changes(&format!("{name}."), &before, &after))
        .collect();
    lines.extend(sets(&before.firewall.sets, &after.firewall.sets));
    lines.extend(members("", &before.firewall.rules, &after.firewall.rules));
    lines.extend(members("", &before.services, &after.services));
    lines.extend(members("", &before.vrrp, &after.vrrp));
    lines
}

/// The keys that differ and take effect only when the agent starts.
pub fn needs_restart(before: &Config, after: &Config) -> Vec<String> {
    let pairs = setting::sections(before).into_iter().zip(setting::sections(after));
    let mut keys: Vec<String> = Vec::new();
    for ((name, before), (_, after)) in pairs {
        let changed = changed_keys(&before, &after).into_iter();
        keys.extend(changed.map(|(key, ..)| format!("{name}.{key}")));
    }
    keys.retain(|key| fixed_at_start(key));
    keys
}

/// The pins and the attachment, the sockets, the overlay's place and the connections of directors are set up once.
fn fixed_at_start(key: &str) -> bool {
    let in_datapath = ["interfaces", "pin_path", "xdp_mode"].map(|name| format!("datapath.{name}"));
    key.starts_with("api.")
        || key.starts_with("metrics.")
        || key.starts_with("sync.")
        || key == "agent.state_dir"
        || in_datapath.iter().any(|fixed| fixed == key)
}

type Change<'a> = (&'static str, Option<&'a Literal>, Option<&'a Literal>);

/// The keys of two lists of settings whose values differ, and the values.
fn changed_keys<'a>(before: &'a [Setting], after: &'a [Setting]) -> Vec<Change<'a>> {
    let value = |settings: &'a [Setting], key| {
        settings.iter().find(|setting| setting.key == key).and_then(|found| found.value.as_ref())
    };
    let is_new = |setting: &&Setting| before.iter().all(|old| old.key != setting.key);
    let keys = before.iter().chain(after.iter().filter(is_new)).map(|setting| setting.key);
    keys.map(|key| (key, value(before, key), value(after, key)))
        .filter(|(_, before, after)| before != after)
        .collect()
}

fn changes(prefix: &str, before: &[Setting], after: &[Setting]) -> Vec<String> {
    let show =
        |value: Option<&Literal>| value.map_or_else(|| "none".to_owned(), Literal::to_string);
    let changed = changed_keys(before, after).into_iter();
    changed
        .map(|(key, before, after)| format!("{prefix}{key} {} -> {}", show(before), show(after)))
        .collect()
}

/// Something with a name that stands in a list.
trait Member {
    /// What it is called in a line.
    const KIND: &'static str;

    fn name(&self) -> &str;

    /// Lines about what differs in the two, each begun with `prefix`, which names them.
    fn changes(prefix: &str, before: &Self, after: &Self) -> Vec<String>;
}

impl Member for Service {
    const KIND: &'static str = "service";

    fn name(&self) -> &str {
        &self.name
    }

    fn changes(prefix: &str, before: &Self, after: &Self) -> Vec<String> {
        let prefix = format!("{prefix}: ");
        let mut lines = changes(&prefix, &setting::service(before), &setting::service(after));
        lines.extend(check_changes(
            &prefix,
            before.health_check.as_ref(),
            after.health_check.as_ref(),
        ));
        lines.extend(members(&prefix, &before.backends, &after.backends));
        lines
    }
}

impl Member for Rule {
    const KIND: &'static str = "rule";

    fn name(&self) -> &str {
        &self.name
    }

    fn changes(prefix: &str, before: &Self, after: &Self) -> Vec<String> {
        changes(&format!("{prefix} "), &rule(before), &rule(after))
    }
}

impl Member for Vrrp {
    const KIND: &'static str = "virtual router";

    fn name(&self) -> &str {
        &self.name
    }

    fn changes(prefix: &str, before: &Self, after: &Self) -> Vec<String> {
        changes(&format!("{prefix}: "), &vrrp::settings(before), &vrrp::settings(after))
    }
}

impl Member for Backend {
    const KIND: &'static str = "backend";

    fn name(&self) -> &str {
        &self.name
    }

    fn changes(prefix: &str, before: &Self, after: &Self) -> Vec<String> {
        changes(&format!("{prefix} "), &setting::backend(before), &setting::backend(after))
    }
}

/// Lines about sets. One that is listed may be long: its elements are counted.
fn sets(before: &BTreeMap<String, Source>, after: &BTreeMap<String, Source>) -> Vec<String> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let line = |name: &String| match (before.get(name), after.get(name)) {
        (None, None) => None,
        (None, Some(_)) => Some(format!("set {name} added")),
        (Some(_), None) => Some(format!("set {name} removed")),
        (Some(before), Some(after)) if before == after => None,
        (Some(Source::Listed(before)), Some(Source::Listed(after))) => {
            let (before, after) = (BTreeSet::from_iter(before), BTreeSet::from_iter(after));
            let (lost, gained) = (before.difference(&after), after.difference(&before));
            let (lost, gained) = (lost.count(), gained.count());
            Some(format!("set {name} changed, {gained} elements added, {lost} removed"))
        }
        (Some(_), Some(Source::File(file))) => Some(format!("set {name} file {}", file.display())),
        (Some(_), Some(Source::Listed(list))) => {
            Some(format!("set {name} listed, {} elements", list.len()))
        }
    };
    names.into_iter().filter_map(line).collect()
}

fn check_changes(
    prefix: &str,
    before: Option<&HealthCheck>,
    after: Option<&HealthCheck>,
) -> Vec<String> {
    let show = |check: Option<&HealthCheck>| match check {
        Some(HealthCheck { name: Some(name), .. }) => name.clone(),
        Some(HealthCheck { name: None, .. }) => "inline".to_owned(),
        None => "none".to_owned(),
    };
    let mut lines = Vec::new();
    let name = |check: Option<&HealthCheck>| check.map(|check| check.name.clone());
    if name(before) != name(after) {
        lines.push(format!("{prefix}health_check {} -> {}", show(before), show(after)));
    }
    if let (Some(before), Some(after)) = (before, after) {
        let prefix = format!("{prefix}health_check.");
        let (before, after) = (setting::health_check(before), setting::health_check(after));
        lines.extend(changes(&prefix, &before, &after));
    }
    lines
}

/// Lines about members that went, came, changed or stand in another order.
fn members<T: Member>(prefix: &str, before: &[T], after: &[T]) -> Vec<String> {
    let places = |list: &'_ [T]| -> HashMap<String, usize> {
        list.iter().enumerate().map(|(at, member)| (member.name().to_owned(), at)).collect()
    };
    let (old_places, new_places) = (places(before), places(after));
    let mut lines = Vec::new();
    let mut kept = Vec::new();
    for old in before {
        let title = format!("{prefix}{} {}", T::KIND, old.name());
        let place = new_places.get(old.name()).copied();
        kept.extend(place);
        match place.and_then(|place| after.get(place)) {
            Some(new) => lines.extend(T::changes(&title, old, new)),
            None => lines.push(format!("{title} removed")),
        }
    }
    let added = after.iter().filter(|new| !old_places.contains_key(new.name()));
    lines.extend(added.map(|new| format!("{prefix}{} {} added", T::KIND, new.name())));
    if !kept.is_sorted() {
        lines.push(format!("{prefix}order of the {}s changed", T::KIND));
    }
    lines
}
