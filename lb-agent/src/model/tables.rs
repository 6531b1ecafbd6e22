//! What is in the kernel's maps, ids and all, and the writes that change it.
//!
//! The agent reads [`Tables`] from the maps once, when it starts, and keeps the copy in step by applying to
//! it each [`Write`] that it sends to the kernel.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use lb_common::layout::{Backend, Listener, Settings, Vip};

use super::config::Protocol;

/// Where a service listens: one entry of the listener maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerKey {
    /// VIP and port.
    pub address: SocketAddr,
    /// Transport protocol.
    pub protocol: Protocol,
}

/// A way to a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Index of the interface.
    pub interface: u32,
    /// MAC address of the neighbour.
    pub neighbour: [u8; 6],
    /// MAC address of the interface.
    pub source: [u8; 6],
}

/// The contents of the maps that the agent writes.
#[derive(Clone, Debug, PartialEq)]
pub struct Tables {
    /// What is the same for all packets.
    pub settings: Settings,
    /// VIPs.
    pub vips: BTreeMap<IpAddr, Vip>,
    /// Listener ids by key.
    pub pointers: BTreeMap<ListenerKey, u32>,
    /// Listeners by id.
    pub listeners: BTreeMap<u32, Listener>,
    /// The listeners' runs of slots: backend ids by the number of the first slot.
    pub runs: BTreeMap<u32, Vec<u32>>,
    /// Backends by id, those included that only old flows remember.
    pub backends: BTreeMap<u32, Backend>,
}

/// One write to the maps. A list of them is carried out in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Replace the settings; key, mask and layout never change.
    Settings(Settings),
    /// Write a backend; its counters are set to zero first if the id was free.
    Backend {
        /// Backend id.
        id: u32,
        /// The entry.
        value: Backend,
    },
    /// Free a backend id that no flow remembers.
    FreeBackend {
        /// Backend id.
        id: u32,
    },
    /// Write a run of slots that no listener points to.
    Slots {
        /// Number of the first slot.
        base: u32,
        /// Backend ids.
        backends: Vec<u32>,
    },
    /// Write a listener that no key points to; its counters and the cursor that it alone uses are set to zero.
    Listener {
        /// Listener id.
        id: u32,
        /// The entry.
        value: Listener,
    },
    /// Let a listener use another run, by one 64-bit store.
    Run {
        /// Listener id.
        id: u32,
        /// See [`lb_common::layout::run`].
        run: u64,
    },
    /// Let a listener, which may be in use, draw from another cursor.
    Cursor {
        /// Listener id.
        id: u32,
        /// Cursor id.
        cursor: u32,
    },
    /// Point a key to a listener.
    Point {
        /// The key.
        key: ListenerKey,
        /// Listener id.
        id: u32,
    },
    /// Remove a key.
    Unpoint {
        /// The key.
        key: ListenerKey,
    },
    /// Free a listener id that no key points to.
    FreeListener {
        /// Listener id.
        id: u32,
    },
    /// Write a VIP.
    Vip {
        /// The address.
        address: IpAddr,
        /// The entry.
        value: Vip,
    },
    /// Remove a VIP.
    RemoveVip {
        /// The address.
        address: IpAddr,
    },
}
