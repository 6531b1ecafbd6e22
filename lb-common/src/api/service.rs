//! Services and their backends, with what passed through them.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Health;

/// Greatest weight of a backend.
pub const MAX_WEIGHT: u32 = 65_535;

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
