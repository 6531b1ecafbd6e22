//! Flows of the flow table.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

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
