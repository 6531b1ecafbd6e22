//! Virtual routers: which director has the VIPs (VRRP version 3, RFC 9568; RFC 5798 on the wire).
//!
//! Pure: packets, the clock and the network's state go in as [`Event`]s, packets and addresses come out as
//! [`Effect`]s. What is elected is a [`Group`](group::Group): the routers that take over and stand down together,
//! one for each address family of a `[[vrrp]]`, several where these share a `group`. The states are those of RFC
//! 9568 6.4; with several routers the group takes over when none of them hears an Active router.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use ipnet::IpNet;

use super::config;

pub mod advert;
mod configure;
mod group;
mod key;
mod member;
pub mod packet;
pub mod proof;
mod routers;
#[cfg(test)]
mod tests;
mod views;

pub use key::Key;
pub use lb_common::api::RouterState as State;
pub use routers::{NotReleased, Routers};

/// The group that IPv4 advertisements are sent to (RFC 9568 5.1.1.2).
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// The group that IPv6 advertisements are sent to (RFC 9568 5.1.2.2).
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

/// Interfaces by name.
pub type Network = BTreeMap<String, Interface>;

/// What matters of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its index.
    pub index: u32,
    /// Its MAC address; `None`: it is no Ethernet interface.
    pub mac: Option<[u8; 6]>,
    /// Whether it is up and has a carrier.
    pub is_running: bool,
    /// Its addresses, in the kernel's order.
    pub addresses: Vec<IpNet>,
}

/// An advertisement as it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The interface that it came by.
    pub interface: String,
    /// Who sent it.
    pub source: IpAddr,
    /// Where it was sent to.
    pub destination: IpAddr,
    /// Its TTL or hop limit.
    pub hop_limit: u8,
    /// The options of its IPv4 header, or the destination options before it in IPv6.
    pub options: Vec<u8>,
    /// What follows the IP header.
    pub payload: Vec<u8>,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// These routers are to run from now on, and these services have no backend that takes flows.
    Configure {
        /// The routers.
        routers: Vec<config::Vrrp>,
        /// Services that are dead.
        dead_services: BTreeSet<String>,
    },
    /// The interfaces are like this now.
    Network(Network),
    /// Whether this director knows the flows of the others. Only told where directors tell each other: one that does
    /// not know them preempts nobody, for connections that are open would break.
    InStep(bool),
    /// A packet of protocol 112 has come.
    Received(Received),
    /// The deadline has come. To be told after everything else that had happened by then, so that a director that
    /// was asleep hears what it missed before it decides.
    Timer,
    /// The agent is stopping: stand down.
    Stop,
}

/// What to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a packet.
    Send {
        /// By this interface.
        interface: String,
        /// From this MAC address, if not from the interface's own.
        virtual_mac: Option<[u8; 6]>,
        /// To this address.
        destination: IpAddr,
        /// The packet, IP header included.
        packet: Vec<u8>,
    },
    /// Hold what comes of connections that only a director may know which has fallen silent.
    Hold,
    /// Accept frames to the virtual MAC addresses of exactly these routers from now on.
    Accept(BTreeSet<Key>),
    /// Have exactly these virtual addresses on interfaces from now on.
    Addresses(BTreeSet<Place>),
    /// Send an Ethernet frame that tells the neighbours where an address is.
    Announce {
        /// By this interface.
        interface: String,
        /// The frame.
        frame: Vec<u8>,
    },
    /// A router has changed its state.
    Changed(Change),
    /// Something that an operator should look at.
    Warning(String),
}

/// An address and where it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// On what.
    pub port: Port,
    /// The address.
    pub address: IpNet,
}

/// What an address is on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Port {
    /// The interface of this name, with its own MAC address.
    Interface(String),
    /// A device of its own with the virtual MAC address of this router.
    Virtual(Key),
}

/// A change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub at: Instant,
    /// Name of the `[[vrrp]]`.
    pub router: String,
    /// Before.
    pub from: State,
    /// After.
    pub to: State,
    /// The priority that it has by now.
    pub priority: u8,
    /// The script to be told, if any.
    pub notify: Option<std::path::PathBuf>,
    /// Why, for a person.
    pub reason: String,
}
