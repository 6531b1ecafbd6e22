//! What is in the kernel's maps, ids and all, and the writes that change it.
//!
//! The agent reads [`Tables`] from the maps once, when it starts, and keeps the copy in step by applying to
//! it each [`Write`] that it sends to the kernel.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use lb_common::layout::{self, Backend, Listener, Settings, Slot, Vip};

use super::config::{Protocol, Service};
use super::firewall::compile::Compiled;

/// Where a service listens: one entry of the listener maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerKey {
    /// VIP and port.
    pub address: SocketAddr,
    /// Transport protocol.
    pub protocol: Protocol,
}

impl ListenerKey {
    /// The key with this protocol number; `None` where it is neither TCP nor UDP.
    pub fn new(address: SocketAddr, protocol_number: u8) -> Option<Self> {
        let protocols = [Protocol::Tcp, Protocol::Udp].into_iter();
        let mut keys = protocols.map(|protocol| Self { address, protocol });
        keys.find(|key| key.protocol_number() == protocol_number)
    }

    /// The key that a listener is reached by; `None` for a free entry.
    pub fn of_listener(listener: &Listener) -> Option<Self> {
        let address = layout::socket(&listener.address, listener.port, listener.family)?;
        Self::new(address, listener.protocol)
    }

    /// The key of the listener that a backend serves; `None` for a free entry.
    pub fn of_backend(backend: &Backend) -> Option<Self> {
        let address = layout::socket(&backend.vip, backend.vip_port, backend.family)?;
        Self::new(address, backend.protocol)
    }

    /// The IP protocol number.
    pub fn protocol_number(self) -> u8 {
        match self.protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        }
    }
}

impl Service {
    /// Where the service listens.
    pub fn keys(&self) -> impl Iterator<Item = ListenerKey> {
        let protocol = self.protocol;
        self.listen.iter().map(move |&address| ListenerKey { address, protocol })
    }
}

/// Address and port of a backend; `None` for a free entry.
pub fn server(backend: &Backend) -> Option<SocketAddr> {
    layout::socket(&backend.address, backend.port, backend.address_family())
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
    /// Bytes of the longest IP packet that the interface takes; 0: not known.
    pub mtu: u16,
}

/// What is known of the way to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Its neighbour was asked for, and has neither answered nor failed to.
    Asked,
    /// This is it.
    Known(NextHop),
    /// It leads through an interface of this name, which is not one of the packet path.
    Elsewhere(String),
    /// There is none: no route, or a neighbour that does not answer.
    None,
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
    /// The listeners' runs of slots by the number of the first slot.
    pub runs: BTreeMap<u32, Vec<Slot>>,
    /// Backends by id, those included that only old flows remember.
    pub backends: BTreeMap<u32, Backend>,
    /// What packets are judged by; `None` where that is not known.
    pub firewall: Option<Arc<Compiled>>,
}

impl Tables {
    /// Does to the copy what the write does to the maps.
    pub fn apply(&mut self, write: &Write) {
        match write {
            Write::Settings(settings) => self.settings = **settings,
            Write::Backend { id, value } => drop(self.backends.insert(*id, *value)),
            Write::FreeBackend { id } => drop(self.backends.remove(id)),
            Write::Slots { base, slots } => drop(self.runs.insert(*base, slots.clone())),
            Write::Listener { id, value } => {
                self.forget_run(*id);
                self.listeners.insert(*id, *value);
            }
            Write::Run { id, run } => {
                self.forget_run(*id);
                self.listeners.entry(*id).and_modify(|listener| listener.run = *run);
            }
            Write::Draw { id, value } => {
                let change = |it: &mut Listener| *it = Listener { run: it.run, ..*value };
                self.listeners.entry(*id).and_modify(change);
            }
            Write::Point { key, id } => drop(self.pointers.insert(*key, *id)),
            Write::Unpoint { key } => drop(self.pointers.remove(key)),
            Write::FreeListener { id } => {
                self.forget_run(*id);
                self.listeners.remove(id);
            }
            Write::Vip { address, value } => drop(self.vips.insert(*address, *value)),
            Write::RemoveVip { address } => drop(self.vips.remove(address)),
            Write::Firewall(compiled) => self.firewall = Some(Arc::clone(compiled)),
        }
    }

    /// The slots that a listener draws from.
    pub fn slots(&self, listener: &Listener) -> &[Slot] {
        let (base, length) = layout::run_parts(listener.run);
        let run = if length == 0 { None } else { self.runs.get(&base) };
        run.map_or(&[], Vec::as_slice)
    }

    fn forget_run(&mut self, listener: u32) {
        let run = self.listeners.get(&listener).map_or(0, |listener| listener.run);
        if let (base, 1..) = layout::run_parts(run) {
            self.runs.remove(&base);
        }
    }
}

/// One write to the maps. A list of them is carried out in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Replace the settings; key, mask and layout never change.
    Settings(Box<Settings>),
    /// Write a backend, in steps where packets may be reading it; its counters are set to zero first if the
    /// id was free.
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
        /// The slots.
        slots: Vec<Slot>,
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
    /// Let a listener, which may be in use, draw in another way or from another cursor, by 64-bit stores.
    Draw {
        /// Listener id.
        id: u32,
        /// The entry; its run does not count.
        value: Listener,
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
    /// Have packets judged by these rules, by one 64-bit store.
    Firewall(Arc<Compiled>),
}
