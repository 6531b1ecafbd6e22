//! What the health checks say, and what they said.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

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
