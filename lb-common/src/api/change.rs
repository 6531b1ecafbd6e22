//! Changes at run time, and what came of them.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::BackendState;

/// A change to the backends of a service at run time; kept in the overlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendChange {
    /// The service.
    pub service: String,
    /// The backend.
    pub backend: String,
    /// What to do.
    #[serde(flatten)]
    pub action: BackendAction,
}

/// What to do with a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum BackendAction {
    /// Add it; an error if the name exists.
    Add {
        /// One address per family at most.
        address: Vec<SocketAddr>,
        /// Weight.
        #[serde(default)]
        weight: Option<u32>,
        /// Whether it serves only when no other does.
        #[serde(default)]
        backup: bool,
    },
    /// Change what is given.
    Set {
        /// New addresses.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<Vec<SocketAddr>>,
        /// New weight.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        weight: Option<u32>,
        /// Whether it serves only when no other does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        backup: Option<bool>,
        /// What the operator wants of it: `ready`, `drain` or `maint`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<BackendState>,
    },
    /// Remove it; its open flows are treated as those of a dead backend.
    Delete,
}

/// The result of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// What changed, or would change, a line each; empty if nothing.
    pub changes: Vec<String>,
    /// What whoever asked should look at, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Whether it was only tried.
    pub dry_run: bool,
    /// What was, or would be, written into the configuration file, as a unified diff; missing if nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_diff: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_reads_like_a_sentence() {
        let change = BackendChange {
            service: "shop".into(),
            backend: "web1".into(),
            action: BackendAction::Set {
                address: None,
                weight: None,
                backup: None,
                state: Some(BackendState::Drain),
            },
        };
        let json = serde_json::to_string(&change).unwrap();
        assert_eq!(json, r#"{"service":"shop","backend":"web1","action":"set","state":"drain"}"#);
        assert_eq!(serde_json::from_str::<BackendChange>(&json).unwrap(), change);
    }
}
