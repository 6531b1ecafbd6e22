//! The agent's core: one way in, one way out.
//!
//! [`Event`]s say what happened, [`Effect`]s what to do. The same code path serves a reload, a failed
//! probe, a drain and a restart: each changes what is desired, and the plan from the installed tables to
//! the desired ones is carried out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lb_common::api::{Applied, BackendChange};

use super::config::{Config, HealthCheck, Vrrp};
use super::tables::{Tables, Way, Write};

mod requests;
mod start;
mod state;
#[cfg(test)]
mod tests;
mod vrrp;
mod ways;

pub use state::Agent;
pub use ways::{SAME_MODE, detour_remedy};

/// What is probed: one address of one backend of one service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Name of the service.
    pub service: String,
    /// Name of the backend.
    pub backend: String,
    /// The address.
    pub address: SocketAddr,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, backend, address } = self;
        write!(f, "backend {backend} of service {service} at {address}")
    }
}

/// How a probe ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeOutcome {
    /// Whether the backend passed.
    pub passed: bool,
    /// For a person: `HTTP 200`, `connection refused`, `no answer within 1s`.
    pub result: String,
    /// How long it took.
    pub took: Duration,
}

/// Names a request that waits for its reply.
pub type RequestId = u64;

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A valid configuration is to take the place of the running one.
    Load {
        /// The configuration.
        config: Box<Config>,
        /// Whether the changes made at run time are dropped.
        discard_overlay: bool,
        /// Whether it is only tried.
        dry_run: bool,
        /// Who waits for the reply, if anybody.
        request: Option<RequestId>,
    },
    /// A change at run time.
    Change {
        /// The change.
        change: BackendChange,
        /// Whether it is only tried.
        dry_run: bool,
        /// Who waits for the reply.
        request: RequestId,
    },
    /// Probes have ended: what was probed, and how it went.
    Probes(Vec<(Target, ProbeOutcome)>),
    /// A probe could not be carried out: that is this host's trouble, and says nothing of the backend.
    NotProbed {
        /// What was to be probed.
        target: Target,
        /// Why not.
        reason: String,
    },
    /// What is known of the ways to addresses of backends has changed.
    Ways(BTreeMap<IpAddr, Way>),
    /// Cells of the flow table by backend id, both directions; ids that are missing have none.
    FlowCounts(BTreeMap<u32, u64>),
    /// A write has failed, and this is what the maps hold now.
    Installed(Box<Tables>),
    /// The deadline has come.
    Timer,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Carry out writes, in order.
    Write(Vec<Write>),
    /// Start one probe now; its end is part of an [`Event::Probes`].
    Probe {
        /// What to probe.
        target: Target,
        /// How.
        check: HealthCheck,
    },
    /// Resolve the next hops of exactly these addresses from now on.
    Watch(BTreeSet<IpAddr>),
    /// Have exactly these VIPs on the interface from now on.
    Addresses(BTreeSet<IpAddr>),
    /// Run exactly these virtual routers from now on; these services have no backend that takes flows.
    Vrrp {
        /// The routers.
        routers: Vec<Vrrp>,
        /// Services that are dead, of those that are tracked.
        dead_services: BTreeSet<String>,
    },
    /// Keep the overlay on disk.
    SaveOverlay(super::overlay::Overlay),
    /// Answer a request.
    Reply {
        /// The request.
        request: RequestId,
        /// What changed, or why not.
        result: Result<Applied, Refusal>,
    },
    /// Something that an operator may want to know; to be logged.
    Notice(String),
    /// Something that an operator should look at; to be logged as a warning.
    Warning(String),
}

/// Why a change was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such object.
    #[error("{0}")]
    NotFound(String),
    /// It contradicts what is there.
    #[error("{0}")]
    Conflict(String),
    /// A value that cannot be.
    #[error("{0}")]
    Invalid(String),
}
