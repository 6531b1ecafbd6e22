//! Replication of the flow table.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// How replication stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncStatus {
    /// Whether this director knows all flows of every peer that it hears, and hears one.
    pub is_in_step: bool,
    /// Where it listens.
    pub listen: SocketAddr,
    /// The other directors.
    pub peers: Vec<SyncPeer>,
    /// Connections that came to nothing.
    pub refused: SyncRefusals,
}

/// Another director.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncPeer {
    /// Its address.
    pub address: SocketAddr,
    /// Its name, once it has said it.
    pub node: Option<String>,
    /// What it is told.
    pub told: SyncLink,
    /// What it tells.
    pub heard: SyncLink,
    /// Backends that it has and this director does not, the first few.
    pub unknown_backends: Vec<String>,
    /// Cells of such backends, which were not taken in.
    pub unknown_flows: u64,
    /// In what its configuration differs, a sentence for each service; the first few.
    #[serde(default)]
    pub differences: Vec<String>,
    /// Services that are configured differently.
    #[serde(default)]
    pub n_differences: u64,
    /// Cells that were not taken in since this director had seen the flow later, at another backend.
    pub conflicts: u64,
    /// Cells that found no place in the flow table.
    pub without_place: u64,
}

/// One direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncLink {
    /// Whether there is a connection.
    pub connected: bool,
    /// Whether every cell has been taken in.
    pub in_step: bool,
    /// How long ago the oldest news was told that was not taken in, or the last was heard.
    pub lag_ms: u64,
    /// Cells since the agent started.
    pub cells: u64,
    /// Bytes since the agent started.
    pub bytes: u64,
    /// Cells in the last whole second.
    pub cells_per_second: u64,
    /// Bytes in the last whole second.
    pub bytes_per_second: u64,
    /// Why there is no connection.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<String>,
}

/// Connections that came to nothing, by the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncRefusals {
    /// From an address that is no peer's, or by another protocol.
    pub stranger: u64,
    /// Of another version.
    pub version: u64,
    /// With another key, replayed or forged.
    pub key: u64,
    /// With a message that was not understood.
    pub message: u64,
}
