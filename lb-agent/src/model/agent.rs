//! The agent's core: one way in, one way out.
//!
//! [`Event`]s say what happened, [`Effect`]s what to do. The same code path serves a reload, a failed
//! probe, a drain and a restart: each changes what is desired, and the plan from the installed tables to
//! the desired ones is carried out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lb_common::api::Applied;

use super::config::{Config, HealthCheck, Vrrp};
use super::firewall::compile::{CompileError, Compiled, Order, Recipe};
use super::firewall::{Elements, RuleNumbers};
use super::overlay::Overlay;
use super::overlay::change::Change;
use super::overlay::sets::Stock;
use super::tables::{Tables, Way, Write};

mod guard;
mod requests;
mod session;
mod start;
mod state;
#[cfg(test)]
mod tests;
mod vrrp;
mod ways;

pub use session::Session;
pub use start::Known;
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

/// What is laid over a configuration that is loaded.
#[derive(Clone, Debug, Default)]
pub enum Laid {
    /// The changes made at run time so far.
    #[default]
    Keep,
    /// Nothing.
    Discard,
    /// These.
    Put(Box<Overlay>),
}

/// How a change is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Whether it is only tried.
    pub dry_run: bool,
    /// The connection by which whoever asks has come, where that is known.
    pub session: Option<Session>,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The flow table was swept: no cell is left of a generation of rules before that in use.
    GenerationsSwept,
    /// A valid configuration is to take the place of the running one.
    Load {
        /// The configuration.
        config: Box<Config>,
        /// What was read from the files of its sets.
        read: Stock,
        /// What is laid over it.
        overlay: Laid,
        /// How it is asked for.
        terms: Terms,
        /// Who waits for the reply.
        request: RequestId,
    },
    /// A change at run time.
    Change {
        /// The change.
        change: Change,
        /// How it is asked for.
        terms: Terms,
        /// Who waits for the reply.
        request: RequestId,
    },
    /// The file of a set has changed.
    SetRead {
        /// The set.
        set: String,
        /// What it holds.
        elements: Elements,
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
    /// The host has these addresses now.
    Host(BTreeSet<IpAddr>),
    /// The packet path can answer SYNs with cookies from now on.
    CookiesReady,
    /// A firewall is compiled, or there is no room for it.
    Compiled {
        /// What it was made from.
        recipe: Box<Recipe>,
        /// What was made.
        compiled: Result<Arc<Compiled>, CompileError>,
    },
    /// A firewall that was to be compiled could not be made, for a reason that says nothing of it.
    NotCompiled,
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
    /// Compile a firewall beside everything else; an [`Event::Compiled`] or [`Event::NotCompiled`] follows. Instead
    /// of the reply to a request: it is to be made again then.
    Compile(Box<Order>),
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
    SaveOverlay(Overlay),
    /// Keep on disk what was loaded or read for a set.
    SaveSet {
        /// The set.
        set: String,
        /// Without the changes made one by one.
        elements: Elements,
    },
    /// What the file of a set holds now was refused, and the set stays as it was.
    SetRefused {
        /// The set.
        set: String,
        /// Why.
        reason: String,
    },
    /// Set these counters of rules to zero.
    ClearRuleCounts(Vec<u32>),
    /// Keep the numbers of the rules' counters on disk.
    SaveRuleNumbers(RuleNumbers),
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
