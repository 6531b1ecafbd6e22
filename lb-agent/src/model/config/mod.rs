//! The configuration as the agent uses it: checked, with every default filled in.
//!
//! [`parse`] reads a file and tells everything that is wrong with it, [`to_toml`] writes one, [`diff`]
//! compares two. The names of keys stand twice: where they are read (one file per section) and in
//! `setting`, for writing and comparing.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
pub use lb_common::api::{BackendState, MAX_WEIGHT};
use lb_common::layout;

use super::firewall::{Firewall, Match};

mod across;
mod address;
mod affinity;
mod daemon;
mod datapath;
mod diff;
mod duration;
mod edit;
mod firewall;
mod forwarding;
mod health_check;
mod limits;
mod notes;
mod parse;
mod problem;
mod reader;
mod scheduler;
mod service;
mod setting;
mod sources;
mod sync;
#[cfg(test)]
mod tests;
mod value;
mod vrrp;
mod word;
mod write;

pub(super) use address::unusable;
pub use diff::{diff, needs_restart};
pub use duration::encode_duration;
pub(super) use edit::edit;
pub(super) use firewall::rule::{from_text as rule_from_text, to_text as rule_to_text};
pub(super) use firewall::value::{
    icmp_type_of, prefix_of, protocol_of, protocol_text, tcp_flags_of,
};
pub use health_check::{CheckKind, HealthCheck};
pub use parse::{Checked, parse};
pub use problem::Problems;
pub use scheduler::{Affinity, AffinityBy, Scheduler};
pub(super) use value::{nearest, unusable_name};
pub use vrrp::{TrackedService, Vrrp, VrrpAuthentication, VrrpChecksum};
pub use word::Word;
pub use write::to_toml;

/// Weight of a backend for which none is given.
pub const DEFAULT_WEIGHT: u32 = 100;

/// A whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[agent]`
    pub agent: Agent,
    /// `[api]`
    pub api: Api,
    /// `[metrics]`
    pub metrics: Metrics,
    /// `[datapath]`
    pub datapath: Datapath,
    /// `[firewall]`
    pub firewall: Firewall,
    /// `[[service]]`, in the file's order; names are unique, and so are (address, port, protocol).
    pub services: Vec<Service>,
    /// `[[vrrp]]`, in the file's order; names are unique.
    pub vrrp: Vec<Vrrp>,
    /// `[sync]`
    pub sync: Option<Sync>,
}

/// `[sync]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    /// Where other directors are listened to.
    pub listen: SocketAddr,
    /// Where they listen.
    pub peers: Vec<SocketAddr>,
    /// The file of the key that all share.
    pub key_file: PathBuf,
}

/// `[agent]`
#[derive(Clone, Debug, PartialEq)]
pub struct Agent {
    /// Name of this director.
    pub node: String,
    /// What becomes of the packet path when the agent stops.
    pub shutdown: Shutdown,
    /// Where the overlay is kept.
    pub state_dir: PathBuf,
}

/// What becomes of the packet path when the agent stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Programs stay attached and go on forwarding.
    Keep,
    /// Programs, pins and managed addresses are removed.
    Detach,
}

/// `[api]`
#[derive(Clone, Debug, PartialEq)]
pub struct Api {
    /// The Unix socket.
    pub socket: PathBuf,
    /// Its permission bits.
    pub socket_mode: u32,
}

/// `[metrics]`
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    /// Address of `/metrics`, `/livez` and `/readyz`; `None`: not served.
    pub listen: Option<SocketAddr>,
}

/// `[datapath]`
#[derive(Clone, Debug, PartialEq)]
pub struct Datapath {
    /// Interfaces to attach to; at least one.
    pub interfaces: Vec<String>,
    /// Folder on a BPF file system for maps, program and links.
    pub pin_path: PathBuf,
    /// Whether the VIPs are put on the interface, and their other ports closed.
    pub manage_addresses: bool,
    /// How to attach.
    pub xdp_mode: XdpMode,
    /// Flows that the flow table is made for.
    pub max_flows: u32,
    /// What becomes of fragments.
    pub fragments: Fragments,
    /// Idle timeouts.
    pub timeouts: Timeouts,
    /// Where full NAT takes its sources from.
    pub full_nat: FullNat,
    /// How packets are encapsulated.
    pub tunnel: Tunnel,
}

/// How much a service takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections (with UDP: flows) that may begin in a second, at each address that is listened on.
    pub new_connections_per_second: u32,
    /// How many of them may begin at once.
    pub burst: u32,
}

/// What becomes of fragments of packets for a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragments {
    /// Later ones follow the first one.
    Follow,
    /// All are dropped.
    Drop,
}

/// `[datapath.full_nat]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullNat {
    /// Addresses, of both families; may be empty.
    pub sources: Vec<IpAddr>,
    /// The ports of each of them.
    pub ports: RangeInclusive<u16>,
}

/// `[datapath.tunnel]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// At most one prefix of each family; the bits behind it vary with the flow.
    pub sources: Vec<IpNet>,
    /// Where GUE is listened for.
    pub gue_port: u16,
}

/// How to attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver if it can, else generic.
    Auto,
    /// In the driver or not at all.
    Native,
    /// In the kernel's generic hook.
    Generic,
}

/// Idle timeouts of flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP, before both sides have been heard.
    pub tcp_syn: Duration,
    /// TCP, open.
    pub tcp_established: Duration,
    /// TCP, after a FIN of both sides or a RST.
    pub tcp_fin: Duration,
    /// UDP.
    pub udp: Duration,
}

/// `[[service]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// VIPs and ports.
    pub listen: Vec<SocketAddr>,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// How packets reach the backend.
    pub forward: Forward,
    /// How a backend is chosen for a new flow.
    pub scheduler: Scheduler,
    /// How backends are checked; `None`: all are taken for healthy.
    pub health_check: Option<HealthCheck>,
    /// What becomes of the open flows of a dead backend.
    pub on_backend_down: OnBackendDown,
    /// How long a backend that comes up takes to its full weight; `None`: no time.
    pub slow_start: Option<Duration>,
    /// After which the open flows of a drained backend are reset; `None`: never.
    pub drain_timeout: Option<Duration>,
    /// Share of healthy primaries below which all of them serve; `None`: none, as for 0.
    pub panic_threshold: Option<f64>,
    /// Whether a source is sent to the backend that it was sent to before.
    pub affinity: Option<Affinity>,
    /// How much it takes.
    pub limits: Option<Limits>,
    /// The addresses that may connect; empty: all.
    pub allow: Vec<Match>,
    /// Backends in the file's order; names are unique within the service.
    pub backends: Vec<Backend>,
}

/// Transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

/// How packets reach the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// Destination rewritten, the client's address preserved, replies rewritten back.
    Nat,
    /// Source and destination rewritten, so that replies come back by any route.
    FullNat,
    /// MAC address rewritten; the backend has the VIP and answers past the director.
    Dsr,
    /// IP in IP; the backend has the VIP and answers past the director.
    Ipip,
    /// IP in UDP (GUE); the backend has the VIP and answers past the director.
    Gue,
}

impl Forward {
    /// The mode of a backend's entry, whose address is of this family.
    pub fn of_address(self, is_ipv4: bool) -> layout::Forward {
        match (self, is_ipv4) {
            (Self::Nat, _) => layout::Forward::Nat,
            (Self::FullNat, _) => layout::Forward::FullNat,
            (Self::Dsr, _) => layout::Forward::Dsr,
            (Self::Ipip, true) => layout::Forward::IpipV4,
            (Self::Ipip, false) => layout::Forward::IpipV6,
            (Self::Gue, true) => layout::Forward::GueV4,
            (Self::Gue, false) => layout::Forward::GueV6,
        }
    }

    /// Whether replies pass the director.
    pub fn replies_pass(self) -> bool {
        matches!(self, Self::Nat | Self::FullNat)
    }

    /// Whether the backend's address may be of another family than the VIP.
    pub fn crosses_families(self) -> bool {
        matches!(self, Self::Ipip | Self::Gue)
    }
}

/// What becomes of the open flows of a dead backend. UDP flows always move on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBackendDown {
    /// TCP clients are sent a reset on their next packet.
    Reset,
    /// They are left to the backend.
    Keep,
}

/// `[[service.backend]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// Its name.
    pub name: String,
    /// At most one address per family, at least one.
    pub address: Vec<SocketAddr>,
    /// 0 to 65,535; 0 takes no new flows.
    pub weight: u32,
    /// What the operator wants.
    pub state: BackendState,
    /// Whether it serves only when no other does.
    pub backup: bool,
}
