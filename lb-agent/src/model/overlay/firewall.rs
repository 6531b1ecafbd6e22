//! What the overlay says of rules and sets.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use lb_common::api;
use serde::{Deserialize, Serialize};

/// Changes to the firewall.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallOverlay {
    /// Rules of the file that are deleted.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub deleted: BTreeSet<String>,
    /// Rules that the file does not have, in the order in which they take their places.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<AddedRule>,
    /// Changes by the set's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sets: BTreeMap<String, SetOverlay>,
}

/// A rule that the file does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedRule {
    /// The rule as it would be written into the file.
    pub rule: api::Rule,
    /// The rule that it stands before; the last place without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
}

/// Changes to the elements of one set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetOverlay {
    /// Whether what was loaded at run time holds, and not the file. It is kept apart, for it may be long.
    #[serde(default)]
    pub loaded: bool,
    /// Elements that are added to that.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub added: BTreeSet<IpNet>,
    /// Elements that are taken from it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub deleted: BTreeSet<IpNet>,
}

impl FirewallOverlay {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether what was loaded at run time holds for a set.
    pub fn is_loaded(&self, set: &str) -> bool {
        self.sets.get(set).is_some_and(|changes| changes.loaded)
    }

    /// What it does to sets, a line each.
    pub fn set_lines(&self) -> Vec<String> {
        let lines = self.sets.iter().flat_map(|(name, SetOverlay { loaded, added, deleted })| {
            let loaded = loaded.then(|| format!("set {name} loaded at run time"));
            let added = added.iter().map(move |one| format!("set {name}: {one} added"));
            let deleted = deleted.iter().map(move |one| format!("set {name}: {one} deleted"));
            loaded.into_iter().chain(added).chain(deleted)
        });
        lines.collect()
    }
}
