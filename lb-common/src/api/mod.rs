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
//! | `GET /v1/sync` | [`SyncStatus`] |
//! | `GET /v1/drops/samples?after=N` | [`DropSamples`] |
//! | `POST /v1/explain`, body [`MadePacket`] | [`Explanation`] |
//! | `GET /v1/doctor` | list of [`Check`] |
//! | `GET /v1/config` | [`ConfigText`] |
//! | `GET /v1/config/diff` | [`ConfigDiff`] |
//! | `POST /v1/config/check?session=S`, body [`ConfigText`] | [`ConfigReport`] |
//! | `POST /v1/config/apply?dry_run=bool&session=S&confirm_seconds=N`, body [`ConfigText`] | [`Applied`] |
//! | `POST /v1/config/confirm` | nothing |
//! | `POST /v1/reload?discard=bool&save=bool&dry_run=bool` | [`Applied`] |
//! | `GET /v1/firewall` | [`Firewall`] |
//! | `POST /v1/firewall/rules?dry_run=bool`, body [`RuleChange`] | [`Applied`] |
//! | `GET /v1/sets` | list of [`Set`] |
//! | `GET /v1/sets/elements?set=S&limit=N` | [`SetElements`] |
//! | `POST /v1/sets?dry_run=bool`, body [`SetChange`] | [`Applied`] |
//! | `POST /v1/sets/load?set=S&dry_run=bool`, body the lines of a set's file | [`Applied`] |
//! | `POST /v1/backends?dry_run=bool`, body [`BackendChange`] | [`Applied`] |
//! | `GET /v1/vrrp` | [`VrrpStatus`] |
//! | `GET /v1/vrrp/history` | list of [`RouterChange`], oldest first |
//! | `POST /v1/vrrp/release`, body [`Release`] | [`VrrpStatus`] |
//!
//! Every change takes a `session` too, which is what `SSH_CONNECTION` says where the one who asks sits: if the firewall
//! would cut it, [`Applied::warnings`] tells.
//!
//! An answer other than 2xx carries a [`Problem`]: 404 no such object, 409 the change contradicts what
//! is there, 422 invalid configuration or value, 403 not permitted, 500 the agent could not do it, 503 it
//! is stopping.

mod change;
mod config;
mod firewall;
mod flow;
mod health;
mod service;
mod status;
mod sync;
mod trace;
mod vrrp;

use serde::{Deserialize, Serialize};

pub use change::{Applied, BackendAction, BackendChange};
pub use config::{ConfigDiff, ConfigReport, ConfigText};
pub use firewall::{
    Firewall, Over, Rule, RuleChange, RuleCount, RuleStatus, Set, SetAction, SetChange, SetCount,
    SetElements,
};
pub use flow::{Flow, FlowList};
pub use health::{Health, HealthChange, TargetHealth};
pub use service::{Backend, BackendState, MAX_WEIGHT, Service, Traffic};
pub use status::{Check, FlowMove, Interface, Status, VerdictCount};
pub use sync::{SyncLink, SyncPeer, SyncRefusals, SyncStatus};
pub use trace::{DropSamples, DroppedPacket, Explanation, MadePacket};
pub use vrrp::{Discarded, Release, RouterChange, RouterState, VirtualRouter, VrrpStatus};

/// What went wrong, for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// One sentence that names the thing.
    pub error: String,
    /// What to do about it, where that is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub help: Option<String>,
}
