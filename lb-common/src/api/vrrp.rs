//! Virtual routers: which director has which addresses.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// State of a virtual router, in the words of RFC 9568.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouterState {
    /// It takes no part: something that it needs is missing.
    Initialize,
    /// Another director has the addresses.
    Backup,
    /// This director has the addresses.
    Active,
}

impl RouterState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Initialize, Self::Backup, Self::Active];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::Backup => "backup",
            Self::Active => "active",
        }
    }
}

/// All virtual routers, and what was heard and not believed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VrrpStatus {
    /// The routers: one for each `[[vrrp]]` and address family.
    pub routers: Vec<VirtualRouter>,
    /// Packets that were discarded.
    pub discarded: Vec<Discarded>,
}

/// A virtual router of one address family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualRouter {
    /// Name of its `[[vrrp]]`.
    pub name: String,
    /// The group that it takes over and stands down with; its own name if it has none.
    pub group: String,
    /// Interface.
    pub interface: String,
    /// Virtual router id.
    pub virtual_router_id: u8,
    /// Its own MAC address, if its addresses have that and not the interface's: `00:00:5e:00:01:33`.
    #[serde(default)]
    pub virtual_mac: Option<String>,
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// State.
    pub state: RouterState,
    /// Priority by now, with tracked services.
    pub priority: u8,
    /// Priority in the configuration.
    pub configured_priority: u8,
    /// The virtual addresses.
    pub addresses: Vec<IpAddr>,
    /// Where its advertisements come from, if there is such an address.
    pub source: Option<IpAddr>,
    /// Changes of state since the agent started.
    pub changes: u64,
    /// Seconds since the last change of state.
    pub since_seconds: u64,
    /// Why it is in this state.
    pub reason: String,
    /// As Backup: the Active router that was heard.
    pub active: Option<IpAddr>,
    /// Own interval, in milliseconds.
    pub advert_interval_ms: u64,
    /// The interval that the Active router announces, as far as it is believed, in milliseconds.
    pub active_interval_ms: u64,
    /// Advertisements sent.
    pub adverts_sent: u64,
    /// Advertisements believed.
    pub adverts_received: u64,
    /// What an operator should look at, a sentence each.
    pub warnings: Vec<String>,
}

/// Packets that were not believed; they change no timer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discarded {
    /// The interface that they came by.
    pub interface: String,
    /// Why: `checksum`, `hop_limit`, `not_a_peer` and the like.
    pub reason: String,
    /// How many.
    pub packets: u64,
}

/// A change of state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterChange {
    /// Seconds since 1970-01-01 UTC.
    pub at_unix: u64,
    /// Name of the `[[vrrp]]`.
    pub router: String,
    /// Before.
    pub from: RouterState,
    /// After.
    pub to: RouterState,
    /// The priority that it had.
    pub priority: u8,
    /// Why.
    pub reason: String,
}

/// Asks for a router, and those of its group, to be left to another director.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Name of a `[[vrrp]]` or of a group.
    pub router: String,
}
