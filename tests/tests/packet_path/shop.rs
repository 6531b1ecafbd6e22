//! One service with its backends, and packets of its clients, for tests that send many.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Barrier;

use lb_agent::model::config::Protocol;
use lb_agent::model::tables::{ListenerKey, Write};
use lb_common::layout::{CELLS_PER_BUCKET, Forward, Settings, address};
use lb_ebpf::family::TCP;
use lb_ebpf::host::{CLOSED, HostTables, NextHop};

use super::frames::{Ends, Link, ends, tcp_frame, v4};
use super::{PacketPath, pin_to_cpu};

pub const VIP: SocketAddr = v4([203, 0, 113, 10], 80);
pub const BACKENDS: [SocketAddr; 3] =
    [v4([10, 0, 0, 1], 8080), v4([10, 0, 0, 2], 8080), v4([10, 0, 0, 3], 8080)];
/// Sources of full NAT.
pub const SOURCES: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 254)), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 253))];

/// By which the frames of a test run come in.
pub const LOOPBACK: u32 = 1;
pub const LINK: Link = Link { destination: [2; 6], source: [2, 0, 0, 0, 0, 9], tags: Vec::new() };
const HOP: NextHop = NextHop { interface: LOOPBACK, neighbour: [2, 0, 0, 0, 0, 1], source: [2; 6] };

/// Tables of the service with a flow table of this size.
pub fn tables(max_flows: u32, forward: Forward, backends: &[SocketAddr]) -> HostTables {
    let mut tables = HostTables::new(usize::try_from(max_flows).unwrap(), [1, 2]);
    tables.add_vip(VIP.ip(), CLOSED);
    tables.add_interface(LOOPBACK, LINK.destination);
    let listener = tables.add_listener(VIP, TCP);
    let ids: Vec<_> = backends
        .iter()
        .map(|backend| tables.add_backend_by(forward, listener, *backend, HOP))
        .collect();
    tables.set_slots(listener, &ids);
    tables
}

/// Gives tables [`SOURCES`] with so many ports, which two CPUs share.
pub fn set_sources(tables: &mut HostTables, first_port: u16, n_ports: u16) {
    let settings = &mut tables.settings;
    for (place, source) in settings.nat_v4.iter_mut().zip(SOURCES) {
        *place = address(source).0[0];
    }
    (settings.nat_sources, settings.cpus) = ([2, 0], 2);
    (settings.nat_first_port, settings.nat_ports) = (first_port, n_ports);
}

/// The packet path with these tables.
pub fn loaded(tables: &HostTables) -> PacketPath {
    let mut path = PacketPath::load(tables.cells().len() / CELLS_PER_BUCKET);
    path.install(tables);
    path
}

/// The writes with which an agent brings about the same, with these settings.
pub fn writes(tables: &HostTables, settings: &Settings) -> Vec<Write> {
    let key = ListenerKey { address: VIP, protocol: Protocol::Tcp };
    let backends = (0..).zip(tables.backends.clone());
    [
        Write::Settings(Box::new(*settings)),
        Write::Slots { base: 0, slots: tables.slots.clone() },
        Write::Listener { id: 0, value: *tables.listeners.first().unwrap() },
        Write::Point { key, id: 0 },
        Write::Vip { address: VIP.ip(), value: CLOSED },
    ]
    .into_iter()
    .chain(backends.map(|(id, value)| Write::Backend { id, value }))
    .collect()
}

/// A segment of a client.
pub fn segment(client: SocketAddr, flags: u8) -> Vec<u8> {
    tcp_frame(&LINK, Ends { source: client, destination: VIP }, flags, &[])
}

/// Sends a segment of a client; returns what became of its ends. A frame that is dropped stays as it was.
pub fn send(path: &PacketPath, client: SocketAddr, flags: u8) -> Ends {
    ends(&path.run(&segment(client, flags), LOOPBACK).frame).unwrap()
}

/// Does the same on two CPUs at once.
pub fn on_two_cpus<T: Send>(act: impl Fn(u8) -> T + Sync) -> [T; 2] {
    let start = Barrier::new(2);
    let begin = |cpu: u8| {
        pin_to_cpu(cpu.into());
        start.wait();
        act(cpu)
    };
    std::thread::scope(|scope| {
        let begin = &begin;
        [0, 1].map(|cpu| scope.spawn(move || begin(cpu))).map(|thread| thread.join().unwrap())
    })
}
