//! Changes made at run time: they lie over the configuration file and survive restart and reload.
//!
//! The overlay says only what differs from the file. What it says about things that have left the file,
//! or what contradicts the file as it has become, is dropped when the two are merged, and named.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::config::{Backend, BackendState, Config, Service};
use check::Around;
pub use firewall::{AddedRule, FirewallOverlay, SetOverlay};

pub mod change;
mod check;
mod firewall;
mod rules;
pub mod sets;
#[cfg(test)]
mod tests;
pub mod write;

/// All changes made at run time, by service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// Changes by the service's name.
    #[serde(default)]
    pub services: BTreeMap<String, ServiceOverlay>,
    /// Changes to rules and sets.
    #[serde(default, skip_serializing_if = "FirewallOverlay::is_empty")]
    pub firewall: FirewallOverlay,
}

/// Changes to the backends of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceOverlay {
    /// Backends of the file that are deleted.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub deleted: BTreeSet<String>,
    /// Backends of the file that are changed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, Values>,
    /// Backends that the file does not have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<Added>,
}

/// What takes the place of the file's values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Values {
    /// Addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Vec<SocketAddr>>,
    /// Weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Whether it serves only when no other does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<bool>,
    /// What the operator wants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<BackendState>,
}

/// A backend that the file does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub address: Vec<SocketAddr>,
    /// Weight.
    pub weight: u32,
    /// Whether it serves only when no other does.
    pub backup: bool,
    /// What the operator wants.
    pub state: BackendState,
}

/// A configuration with the overlay over it.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged {
    /// The configuration to run.
    pub config: Config,
    /// What is left of the overlay.
    pub overlay: Overlay,
    /// What was dropped of it and why, a line each.
    pub dropped: Vec<String>,
}

/// Lays the overlay over the file.
pub fn merge(file: &Config, overlay: &Overlay) -> Merged {
    let around = Around::of(file);
    let mut merged =
        Merged { config: file.clone(), overlay: Overlay::default(), dropped: Vec::new() };
    for (name, changes) in &overlay.services {
        let Some(service) = merged.config.services.iter_mut().find(|service| service.name == *name)
        else {
            merged.dropped.push(format!("service {name} loses its changes: it is not in the file"));
            continue;
        };
        let file = service.clone();
        let (kept, dropped) = (ServiceOverlay::default(), Vec::new());
        let mut layer = Layer { around: &around, service, kept, dropped };
        layer.lay(changes);
        if let Err(reason) = check::service(layer.service) {
            *layer.service = file;
            layer.kept = ServiceOverlay::default();
            layer.dropped.push(format!("service {name} is not changed: {reason}"));
        }
        let Layer { kept, dropped, .. } = layer;
        merged.dropped.extend(dropped);
        if kept != ServiceOverlay::default() {
            merged.overlay.services.insert(name.clone(), kept);
        }
    }
    rules::lay(&mut merged, &overlay.firewall);
    merged
}

/// One service while changes are laid over it.
struct Layer<'a> {
    around: &'a Around,
    service: &'a mut Service,
    kept: ServiceOverlay,
    dropped: Vec<String>,
}

impl Layer<'_> {
    fn lay(&mut self, changes: &ServiceOverlay) {
        changes.deleted.iter().for_each(|backend| self.delete(backend));
        self.set_all(&changes.set);
        changes.added.iter().for_each(|added| self.add(added));
    }

    fn delete(&mut self, name: &str) {
        let n_before = self.service.backends.len();
        self.service.backends.retain(|backend| backend.name != name);
        if self.service.backends.len() == n_before {
            self.drop(name, "is not deleted: it is not in the file");
        } else {
            self.kept.deleted.insert(name.to_owned());
        }
    }

    /// Lays all values before it checks any: two backends may have swapped their addresses. One that does not
    /// fit goes back to the file's values, which may make another one not fit that fitted before.
    fn set_all(&mut self, set: &BTreeMap<String, Values>) {
        let mut laid = Vec::new();
        for (name, values) in set {
            let mut backends = self.service.backends.iter_mut();
            match backends.find(|backend| backend.name == *name) {
                Some(backend) => {
                    let after = values.over(backend);
                    laid.push((values.differing(backend), std::mem::replace(backend, after)));
                }
                None => self.drop(name, "loses its changes: it is not in the file"),
            }
        }
        while let Some((misfit, reason)) = self.misfit(&laid) {
            let (_, before) = laid.remove(misfit);
            self.drop(&before.name, &format!("is not changed: {reason}"));
            let mut backends = self.service.backends.iter_mut();
            if let Some(backend) = backends.find(|backend| backend.name == before.name) {
                *backend = before;
            }
        }
        let differing = laid.into_iter().filter(|(values, _)| *values != Values::default());
        self.kept.set.extend(differing.map(|(values, before)| (before.name, values)));
    }

    /// The first of the changed backends that does not fit beside the others, and why.
    fn misfit(&mut self, laid: &[(Values, Backend)]) -> Option<(usize, String)> {
        laid.iter().enumerate().find_map(|(index, (_, before))| {
            let mut backends = self.service.backends.iter();
            let place = backends.position(|backend| backend.name == before.name)?;
            let after = self.service.backends.remove(place);
            let fits = check::backend(self.around, self.service, &after);
            self.service.backends.insert(place, after);
            fits.err().map(|reason| (index, reason))
        })
    }

    fn add(&mut self, added: &Added) {
        if self.service.backends.iter().any(|backend| backend.name == added.name) {
            return self.drop(&added.name, "is not added: it is in the file");
        }
        let backend = Backend::from(added.clone());
        match check::backend(self.around, self.service, &backend) {
            Ok(()) => {
                self.service.backends.push(backend);
                self.kept.added.push(added.clone());
            }
            Err(reason) => self.drop(&added.name, &format!("is not added: {reason}")),
        }
    }

    fn drop(&mut self, backend: &str, what: &str) {
        self.dropped.push(format!("service {}: backend {backend} {what}", self.service.name));
    }
}

impl Values {
    fn over(&self, file: &Backend) -> Backend {
        Backend {
            name: file.name.clone(),
            address: self.address.clone().unwrap_or_else(|| file.address.clone()),
            weight: self.weight.unwrap_or(file.weight),
            backup: self.backup.unwrap_or(file.backup),
            state: self.state.unwrap_or(file.state),
        }
    }

    fn differing(&self, file: &Backend) -> Self {
        Self {
            address: self.address.clone().filter(|address| *address != file.address),
            weight: self.weight.filter(|weight| *weight != file.weight),
            backup: self.backup.filter(|backup| *backup != file.backup),
            state: self.state.filter(|state| *state != file.state),
        }
    }
}

impl From<Added> for Backend {
    fn from(added: Added) -> Self {
        let Added { name, address, weight, backup, state } = added;
        Self { name, address, weight, state, backup }
    }
}
