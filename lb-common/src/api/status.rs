//! The agent as a whole, its verdicts and what its doctor found.

use serde::{Deserialize, Serialize};

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
    /// The move of flows to a table of another size, while there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub flow_move: Option<FlowMove>,
    /// What an operator should look at, a sentence each; empty when all is well.
    pub warnings: Vec<String>,
}

/// How far the flows have moved to a table of another size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowMove {
    /// Cells that the last sweep found in the old table, most of which it has moved.
    pub cells_left: u64,
    /// Cells in both tables.
    pub cells: u64,
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
