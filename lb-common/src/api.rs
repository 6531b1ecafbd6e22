//! Types of the HTTP API: JSON over the agent's Unix socket.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/status` | [`Status`] |
//! | `GET /v1/services` | list of [`Service`] |
//! | `GET /v1/health` | list of [`TargetHealth`] |
//! | `GET /v1/health/history` | list of [`HealthChange`], oldest first |
//! | `GET /v1/flows?limit=N&service=S&backend=B` | [`FlowList`] |
//! | `GET /v1/drops` | list of [`VerdictCount`] |
//! | `GET /v1/doctor` | list of [`Check`] |
//! | `GET /v1/config` | [`ConfigText`] |
//! | `GET /v1/config/diff` | [`ConfigDiff`] |
//! | `POST /v1/config/check`, body [`ConfigText`] | [`ConfigReport`] |
//! | `POST /v1/config/apply?dry_run=bool`, body [`ConfigText`] | [`Applied`] |
//! | `POST /v1/reload?discard=bool&dry_run=bool` | [`Applied`] |
//! | `POST /v1/backends?dry_run=bool`, body [`BackendChange`] | [`Applied`] |
//!
//! An answer other than 2xx carries a [`Problem`]: 404 no such object, 409 the change contradicts what
//! is there, 422 invalid configuration or value, 403 not permitted, 500 the agent could not do it, 503 it
//! is stopping.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Greatest weight of a backend.
pub const MAX_WEIGHT: u32 = 65_535;

/// What went wrong, for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// One sentence that names the thing.
    pub error: String,
    /// What to do about it, where that is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub help: Option<String>,
}

/// State of the agent as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the agent.
    pub version: String,
    /// Name of the node from the configuration.
    pub node: String,
    /// Seconds since the agent started.
    pub uptime_seconds: u64,
    /// Path of the configuration file.
    pub config_file: String,
    /// Why the file as it is now was refused, if it was; the old configuration is running.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub config_problem: Option<String>,
    /// Whether changes made at run time lie over the file.
    pub overlay: bool,
    /// The interfaces that Sluice is attached to.
    pub interfaces: Vec<Interface>,
    /// Number of services.
    pub services: usize,
    /// Number of backends over all services.
    pub backends: usize,
    /// Number of those that take new flows.
    pub backends_serving: usize,
    /// Flows in the flow table.
    pub flows: u64,
    /// Most flows that the table is made for.
    pub max_flows: u64,
    /// What an operator should look at, a sentence each; empty when all is well.
    pub warnings: Vec<String>,
}

/// An interface with our program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// `native` or `generic`.
    pub mode: String,
    /// Kernel id of the program.
    pub program_id: u32,
}

/// Packets, bytes and flows since the agent's maps were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets from clients to backends.
    pub packets: u64,
    /// Bytes from clients to backends, Ethernet header included.
    pub bytes: u64,
    /// Packets from backends to clients.
    pub reply_packets: u64,
    /// Bytes from backends to clients, Ethernet header included.
    pub reply_bytes: u64,
    /// New flows.
    pub flows_total: u64,
    /// Packets dropped although they belong here.
    pub dropped: u64,
    /// Flows in the flow table now.
    pub flows: u64,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// `nat`.
    pub forward: String,
    /// `rr`.
    pub scheduler: String,
    /// Name or type of the health check, if there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub health_check: Option<String>,
    /// Its backends, in the file's order, then those added at run time.
    pub backends: Vec<Backend>,
    /// Counters.
    pub traffic: Traffic,
}

/// One backend of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Its name, unique within the service.
    pub name: String,
    /// Its addresses, one per family.
    pub address: Vec<SocketAddr>,
    /// What the operator wants.
    pub state: BackendState,
    /// What the health checks say: the worst of its addresses.
    pub health: Health,
    /// Whether it serves only when no other does.
    pub backup: bool,
    /// Weight relative to the other backends.
    pub weight: u32,
    /// Whether new flows may go there now.
    pub serving: bool,
    /// Whether it exists only in the overlay, or differs from the file.
    pub overlay: bool,
    /// Counters.
    pub traffic: Traffic,
}

/// What the operator wants of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendState {
    /// Takes new flows.
    #[default]
    Ready,
    /// Keeps its flows, takes no new ones.
    Drain,
    /// Takes nothing; its open flows are treated as those of a dead backend.
    Maint,
}

/// What the health checks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Passed `rise` probes in a row, or is not checked.
    Up,
    /// Failed `fall` probes in a row.
    Down,
    /// Not known yet: no probe has come to an end; new flows may go there only if no backend is up.
    Unknown,
}

/// Health of one address of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetHealth {
    /// Service.
    pub service: String,
    /// Backend.
    pub backend: String,
    /// The address that is probed.
    pub address: SocketAddr,
    /// What the probes say.
    pub health: Health,
    /// Probes in a row that contradict `health`.
    pub streak: u32,
    /// How the last probe ended, for a person: `HTTP 200`, `connection refused`.
    pub last_result: String,
    /// Milliseconds that the last probe took.
    pub last_duration_ms: u64,
    /// Seconds since the last change of `health`.
    pub since_seconds: u64,
}

/// A change of health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthChange {
    /// Seconds since 1970-01-01 UTC.
    pub at_unix: u64,
    /// Service.
    pub service: String,
    /// Backend.
    pub backend: String,
    /// The address.
    pub address: SocketAddr,
    /// Before.
    pub from: Health,
    /// After.
    pub to: Health,
    /// How the deciding probe ended.
    pub reason: String,
}

/// Some of the flows in the table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowList {
    /// Flows that match, listed or not.
    pub total: u64,
    /// At most `limit` of them.
    pub flows: Vec<Flow>,
}

/// One flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The client.
    pub client: SocketAddr,
    /// Where the client connected to.
    pub vip: SocketAddr,
    /// Service, if it still exists.
    pub service: String,
    /// Backend name, if it still exists.
    pub backend: String,
    /// Address of the backend.
    pub backend_address: SocketAddr,
    /// `syn`, `established`, `closing`, `udp`.
    pub state: String,
    /// Seconds since the last packet, to within a tick of 4.3 s.
    pub idle_seconds: u64,
}

/// A counter of what happened to packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictCount {
    /// Name of the verdict.
    pub verdict: String,
    /// `forwarded`, `passed` or `dropped`.
    pub kind: String,
    /// What it means.
    pub help: String,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// One thing that `doctor` examined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was examined: `rp_filter eth0`.
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// What to do about it, where something is to be done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub remedy: Option<String>,
}

/// A configuration as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigText {
    /// Name to show in messages; the path of the file.
    pub name: String,
    /// The TOML text.
    pub text: String,
}

/// Whether a configuration is valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigReport {
    /// Whether it could be applied.
    pub valid: bool,
    /// Every problem, rendered with line and column; empty where there is none.
    pub problems: String,
    /// Number of problems.
    pub count: usize,
    /// What is allowed but may surprise, a sentence each.
    pub notes: Vec<String>,
}

/// What the running configuration differs in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigDiff {
    /// Lines of the overlay (changes at run time) against the file as it was loaded.
    pub overlay: Vec<String>,
    /// Lines of the file on disk against the file as it was loaded.
    pub file: Vec<String>,
}

/// The result of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// What changed, or would change, a line each; empty if nothing.
    pub changes: Vec<String>,
    /// Whether it was only tried.
    pub dry_run: bool,
}

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
