//! Puts a change made at run time into the overlay.

use lb_common::api::{BackendAction, BackendChange, RuleChange, SetChange};

use super::{Added, Merged, Overlay, ServiceOverlay, Values, merge, rules, sets};
use crate::model::agent::Refusal;
use crate::model::config::{Backend, BackendState, Config, DEFAULT_WEIGHT, Service, nearest};
use crate::model::firewall::{Elements, Sets};

/// A change at run time.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Of a backend.
    Backend(BackendChange),
    /// Of the rules.
    Rule(RuleChange),
    /// Of some elements of a set.
    Elements(SetChange),
    /// Of all elements of a set.
    Contents {
        /// The set.
        set: String,
        /// What it is to hold.
        elements: Elements,
    },
}

/// What runs now.
#[derive(Clone, Copy, Debug)]
pub struct Now<'a> {
    /// The file.
    pub file: &'a Config,
    /// The changes made before.
    pub overlay: &'a Overlay,
    /// Both, merged.
    pub running: &'a Config,
    /// What the sets hold.
    pub sets: &'a Sets,
}

/// The overlay with `change` in it, laid over the file.
pub fn change(now: Now<'_>, change: &Change) -> Result<Merged, Refusal> {
    let Now { file, overlay, running, sets } = now;
    let mut overlay = overlay.clone();
    match change {
        Change::Backend(change) => backend(file, &mut overlay, running, change)?,
        Change::Rule(change) => rules::change(file, &mut overlay.firewall, running, change)?,
        Change::Elements(change) => sets::change(&mut overlay.firewall, sets, change)?,
        Change::Contents { set, .. } => sets::load(&mut overlay.firewall, sets, set)?,
    }
    let merged = merge(file, &overlay);
    // The overlay fitted the file before, so what does not fit now is the change.
    if merged.dropped.is_empty() {
        Ok(merged)
    } else {
        Err(Refusal::Invalid(merged.dropped.join("; ")))
    }
}

fn backend(
    file: &Config,
    overlay: &mut Overlay,
    running: &Config,
    change: &BackendChange,
) -> Result<(), Refusal> {
    let service = find(&running.services, |service| &service.name, &change.service)
        .map_err(|near| not_found("service", &change.service, "", near))?;
    let changes = overlay.services.entry(change.service.clone()).or_default();
    match &change.action {
        BackendAction::Add { address, weight, backup } => {
            let (name, address) = (change.backend.clone(), address.clone());
            let weight = weight.unwrap_or(DEFAULT_WEIGHT);
            let state = BackendState::default();
            add(service, changes, Added { name, address, weight, backup: *backup, state })?;
        }
        BackendAction::Set { address, weight, backup, state } => {
            let (address, weight) = (address.clone(), *weight);
            let values = Values { address, weight, backup: *backup, state: *state };
            set(service, changes, &change.backend, values)?;
        }
        BackendAction::Delete => {
            existing(service, &change.backend)?;
            delete(file, changes, change);
        }
    }
    Ok(())
}

fn add(service: &Service, changes: &mut ServiceOverlay, added: Added) -> Result<(), Refusal> {
    if existing(service, &added.name).is_ok() {
        let (name, service) = (&added.name, &service.name);
        return Err(Refusal::Conflict(format!("service {service} already has a backend {name}")));
    }
    changes.added.push(added);
    Ok(())
}

fn set(
    service: &Service,
    changes: &mut ServiceOverlay,
    name: &str,
    values: Values,
) -> Result<(), Refusal> {
    let before = existing(service, name)?;
    if values == Values::default() {
        let service = &service.name;
        let problem = format!("service {service}: no change of backend {name} is given");
        return Err(Refusal::Invalid(problem));
    }
    if let Some(added) = changes.added.iter_mut().find(|added| added.name == name) {
        let Backend { name, address, weight, state, backup } = values.over(before);
        *added = Added { name, address, weight, backup, state };
    } else {
        let set = changes.set.entry(name.to_owned()).or_default();
        set.take(values);
    }
    Ok(())
}

fn delete(file: &Config, changes: &mut ServiceOverlay, change: &BackendChange) {
    changes.set.remove(&change.backend);
    changes.added.retain(|added| added.name != change.backend);
    let service = file.services.iter().find(|service| service.name == change.service);
    if service.is_some_and(|service| existing(service, &change.backend).is_ok()) {
        changes.deleted.insert(change.backend.clone());
    }
}

impl Values {
    /// Takes what the newer values say over what these say.
    fn take(&mut self, newer: Self) {
        let older = std::mem::replace(self, newer);
        self.address = self.address.take().or(older.address);
        self.weight = self.weight.or(older.weight);
        self.backup = self.backup.or(older.backup);
        self.state = self.state.or(older.state);
    }
}

fn existing<'a>(service: &'a Service, name: &str) -> Result<&'a Backend, Refusal> {
    let within = format!("service {}: ", service.name);
    find(&service.backends, |backend| &backend.name, name)
        .map_err(|near| not_found("backend", name, &within, near))
}

pub(super) fn find<'a, T>(
    all: &'a [T],
    name_of: impl Fn(&T) -> &String,
    name: &str,
) -> Result<&'a T, Option<&'a str>> {
    let names = || all.iter().map(|item| name_of(item).as_str());
    all.iter().find(|item| name_of(item) == name).ok_or_else(|| nearest(name, names()))
}

pub(super) fn not_found(kind: &str, name: &str, within: &str, near: Option<&str>) -> Refusal {
    let near = near.map(|near| format!("; the nearest name is {near}"));
    Refusal::NotFound(format!("{within}no {kind} is named {name}{}", near.unwrap_or_default()))
}
