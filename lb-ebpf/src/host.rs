//! The tables in plain memory, and a frame in a buffer: what the packet path needs to run on the host.
//!
//! [`HostTables`] answers as the kernel's maps do, unset entries of arrays as zeros included. What the agent
//! writes there is kept as plain layout values in public fields; what the packet path writes is behind
//! methods. One value belongs to one thread, as scratch memory belongs to one CPU.

mod filter;
mod firewall;
mod frame;
mod interfaces;
mod maps;
mod scratch;
mod slots;

use core::cell::{Cell as Memory, RefCell};
use core::net::{IpAddr, SocketAddr};
use std::collections::HashMap;

use lb_common::cell::Cell;
use lb_common::layout::guard::Guard;
use lb_common::layout::{
    self, Affinity, AffinityKey, BACKEND_UP, Backend, Bucket, CELLS_PER_BUCKET, Count, Detail,
    Forward, FragmentKey, FragmentWay, HashKey, Interface, Listener, ListenerKeyV4, ListenerKeyV6,
    Load, Scheduler, Settings, Slot, SynCookies, Traffic, Vip, run,
};
use lb_common::verdict::MAX_VERDICTS;
use lb_common::{BUCKETS_PER_MARK, LAYOUT_VERSION};
use zerocopy::FromZeros;

use crate::checksum::Sum;
use crate::family::mix;
use crate::flight::Scratch;
use crate::packet::Packet;
use crate::{Outcome, process};

pub use firewall::HostFirewall;
pub use frame::{HEADROOM, HostFrame};

/// An address that belongs to Sluice alone.
pub const CLOSED: Vip = Vip { closed: 1 };
/// An address that the host had before Sluice.
pub const SHARED: Vip = Vip { closed: 0 };

/// Idle timeouts of new tables: two minutes for what is not yet established and for UDP, two hours, half a
/// minute.
const TIMEOUTS: [u16; 8] = [0, 28, 28, 1_677, 1_677, 7, 28, 0];

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

/// The maps in plain memory.
#[derive(Clone, Debug)]
pub struct HostTables {
    /// What is the same for all packets.
    pub settings: Settings,
    /// Ids of IPv4 listeners.
    pub listener_ids_v4: HashMap<ListenerKeyV4, u32>,
    /// Ids of IPv6 listeners.
    pub listener_ids_v6: HashMap<ListenerKeyV6, u32>,
    /// IPv4 VIPs by address in network order.
    pub vips_v4: HashMap<u32, Vip>,
    /// IPv6 VIPs by address in network order.
    pub vips_v6: HashMap<[u32; 4], Vip>,
    /// Listeners by id.
    pub listeners: Vec<Listener>,
    /// Slots.
    pub slots: Vec<Slot>,
    /// Backends by id.
    pub backends: Vec<Backend>,
    /// Interfaces and virtual MAC addresses by number.
    pub interfaces: HashMap<u64, Interface>,
    /// What the firewall's maps hold.
    pub firewall: HostFirewall,
    /// Until when packets of connections that only another director may know are held.
    pub held_until: u64,
    /// The tables that hold the other flow table.
    pub other: Option<Box<Self>>,
    tick: Memory<u64>,
    nanoseconds: Memory<u64>,
    guards: Vec<Memory<Guard>>,
    random: Memory<u64>,
    loads: Vec<Memory<Load>>,
    affinities: RefCell<HashMap<AffinityKey, Affinity>>,
    cursors: Vec<Memory<u64>>,
    buckets: Vec<Memory<Bucket>>,
    details: Vec<Memory<Detail>>,
    marks: Vec<Memory<u64>>,
    scratch: Box<Memory<Scratch>>,
    verdicts: Vec<Memory<Count>>,
    listener_traffic: Vec<Memory<Traffic>>,
    backend_traffic: Vec<Memory<Traffic>>,
    fragments: RefCell<HashMap<FragmentKey, FragmentWay>>,
    sources_drawn: Memory<u64>,
    may_report: Memory<bool>,
    /// What the kernel's arrays hold where nothing was written.
    blank: (Listener, Backend),
}

impl HostTables {
    /// Empty tables with a flow table of the size that the agent gives it: a NAT flow takes two cells, and
    /// there are at least twice as many.
    pub fn new(max_flows: usize, seed: [u64; 2]) -> Self {
        let cells = (max_flows.max(CELLS_PER_BUCKET) * 4).next_power_of_two();
        Self::with_buckets(cells / CELLS_PER_BUCKET, seed)
    }

    /// Empty tables with a flow table of this many buckets, a power of two.
    pub fn with_buckets(buckets: usize, seed: [u64; 2]) -> Self {
        let settings = Settings {
            hash_key: hash_key(seed),
            cookie_key: seed.map(u64::swap_bytes),
            cookie_clock: seed[0] << 5,
            bucket_mask: buckets as u32 - 1,
            layout: LAYOUT_VERSION,
            timeouts: TIMEOUTS,
            cpus: 1,
            follow_fragments: 1,
            ..Settings::new_zeroed()
        };
        Self {
            settings,
            listener_ids_v4: HashMap::new(),
            listener_ids_v6: HashMap::new(),
            vips_v4: HashMap::new(),
            vips_v6: HashMap::new(),
            listeners: Vec::new(),
            slots: Vec::new(),
            backends: Vec::new(),
            interfaces: HashMap::new(),
            firewall: HostFirewall::default(),
            other: None,
            tick: Memory::new(0),
            nanoseconds: Memory::new(0),
            held_until: 0,
            guards: Vec::new(),
            random: Memory::new(1),
            loads: Vec::new(),
            affinities: RefCell::default(),
            cursors: Vec::new(),
            buckets: zeros(buckets),
            details: zeros(buckets * CELLS_PER_BUCKET),
            marks: zeros(buckets.div_ceil(BUCKETS_PER_MARK as usize)),
            scratch: Box::new(Memory::new(scratch::filled(0))),
            verdicts: zeros(MAX_VERDICTS as usize),
            listener_traffic: Vec::new(),
            backend_traffic: Vec::new(),
            fragments: RefCell::default(),
            sources_drawn: Memory::new(0),
            may_report: Memory::new(true),
            blank: (Listener::new_zeroed(), Backend::new_zeroed()),
        }
    }

    /// Adds an address: [`CLOSED`] or [`SHARED`].
    pub fn add_vip(&mut self, address: IpAddr, vip: Vip) {
        let (words, family) = layout::address(address);
        if family == 4 {
            self.vips_v4.insert(words[0], vip);
        } else {
            self.vips_v6.insert(words, vip);
        }
    }

    /// Adds a listener without backends, with a cursor of its own; returns its id, which is the cursor's too.
    pub fn add_listener(&mut self, endpoint: SocketAddr, protocol: u8) -> u32 {
        let id = self.listeners.len() as u32;
        let (address, port, family) = layout::endpoint(endpoint);
        if family == 4 {
            let key = ListenerKeyV4 { address: address[0], port, protocol, reserved: 0 };
            self.listener_ids_v4.insert(key, id);
        } else {
            let key = ListenerKeyV6 { address, port, protocol, reserved: 0 };
            self.listener_ids_v6.insert(key, id);
        }
        self.listeners.push(Listener {
            run: run(0, 0),
            cursor: id,
            scheduler: Scheduler::RoundRobin.number(),
            protocol,
            port,
            address,
            family,
            syn_cookies: SynCookies::Off.number(),
            reserved: [0; 6],
            affinity_ticks: 0,
            affinity_prefix: 0,
            flow_cost: 0,
            flow_burst: 0,
            syn_cost: 0,
            syn_burst: 0,
        });
        self.cursors.push(Memory::new(0));
        self.guards.push(Memory::default());
        self.listener_traffic.push(Memory::default());
        id
    }

    /// Adds a backend of a listener, up, with the way to it, by NAT; returns its id. It takes no new flows
    /// before it is in a slot.
    pub fn add_backend(&mut self, listener: u32, endpoint: SocketAddr, hop: NextHop) -> u32 {
        self.add_backend_by(Forward::Nat, listener, endpoint, hop)
    }

    /// The same, by any way.
    pub fn add_backend_by(
        &mut self,
        forward: Forward,
        listener: u32,
        endpoint: SocketAddr,
        hop: NextHop,
    ) -> u32 {
        let id = self.backends.len() as u32;
        let front = &self.listeners[listener as usize];
        let (address, port, _) = layout::endpoint(endpoint);
        let addresses = front.address.iter().zip(address);
        let addresses = addresses.fold(Sum::default(), |sum, (old, new)| sum.change_u32(*old, new));
        let [d0, d1, d2, d3, d4, d5] = hop.neighbour;
        let [s0, s1, s2, s3, s4, s5] = hop.source;
        self.backends.push(Backend {
            address,
            vip: front.address,
            listener,
            interface: hop.interface,
            macs: [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5],
            port,
            vip_port: front.port,
            delta: addresses.change(front.port, port).fold(),
            mtu: 0,
            state: BACKEND_UP,
            protocol: front.protocol,
            family: front.family,
            forward: forward.number(),
        });
        self.backend_traffic.push(Memory::default());
        self.loads.push(Memory::new(Load::new_zeroed()));
        id
    }

    /// Sets the clock.
    pub fn set_tick(&self, tick: u64) {
        self.tick.set(tick);
    }

    /// Sets the clock of limits, which runs by itself.
    pub fn set_nanoseconds(&self, nanoseconds: u64) {
        self.nanoseconds.set(nanoseconds);
    }

    /// How much a listener is asked for.
    pub fn guard_of(&self, listener: u32) -> Guard {
        self.guards[listener as usize].get()
    }

    /// Says whether errors may be sent.
    pub fn set_may_report(&self, may: bool) {
        self.may_report.set(may);
    }

    /// Fills the memory for the packet at hand, which the kernel never clears, with this byte.
    pub fn litter(&self, byte: u8) {
        self.scratch.set(scratch::filled(byte));
    }

    /// Lets the packet path decide on a frame.
    pub fn send(&self, frame: HostFrame) -> (Outcome, HostFrame) {
        let mut packet = Packet::new(frame);
        let outcome = process(&mut packet, self);
        (outcome, packet.into_frame())
    }

    /// Number of flows drawn from a cursor.
    pub fn drawn(&self, cursor: u32) -> u64 {
        self.cursors[cursor as usize].get()
    }

    /// Sets a cursor.
    pub fn set_drawn(&self, cursor: u32, drawn: u64) {
        self.cursors[cursor as usize].set(drawn);
    }

    /// Number of sources of full NAT that were tried.
    pub fn sources_drawn(&self) -> u64 {
        self.sources_drawn.get()
    }

    /// Where the first fragments of packets went.
    pub fn fragments(&self) -> HashMap<FragmentKey, FragmentWay> {
        self.fragments.borrow().clone()
    }

    /// All cells of the flow table; a cell's position is the index of its detail.
    pub fn cells(&self) -> Vec<Cell> {
        self.buckets.iter().flat_map(|bucket| bucket.get().map(Cell)).collect()
    }

    /// Writes a cell.
    pub fn set_cell(&self, index: usize, cell: Cell) {
        let bucket = &self.buckets[index / CELLS_PER_BUCKET];
        let mut cells = bucket.get();
        cells[index % CELLS_PER_BUCKET] = cell.0;
        bucket.set(cells);
    }

    /// Takes the marks down; says which runs of buckets had one.
    pub fn take_marks(&self) -> Vec<usize> {
        let marks = self.marks.iter().enumerate();
        marks.filter(|(_, mark)| mark.replace(0) != 0).map(|(number, _)| number).collect()
    }

    /// The details of all cells.
    pub fn details(&self) -> Vec<Detail> {
        self.details.iter().map(Memory::get).collect()
    }

    /// Packets and bytes by number of the verdict.
    pub fn verdicts(&self) -> Vec<Count> {
        self.verdicts.iter().map(Memory::get).collect()
    }

    /// What passed through a listener.
    pub fn traffic_of_listener(&self, id: u32) -> Traffic {
        self.listener_traffic[id as usize].get()
    }

    /// What passed through a backend.
    pub fn traffic_of_backend(&self, id: u32) -> Traffic {
        self.backend_traffic[id as usize].get()
    }
}

/// A key of the flow hash, which this seed gives.
pub fn hash_key(seed: [u64; 2]) -> HashKey {
    let word = |number: u64| mix(mix(seed[0] ^ number) ^ seed[1]);
    [word(1), word(2), word(3), word(4), word(5)]
}

fn zeros<T: FromZeros>(count: usize) -> Vec<Memory<T>> {
    (0..count).map(|_| Memory::new(T::new_zeroed())).collect()
}
