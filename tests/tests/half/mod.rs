//! One of up to two directors of one network namespace, with a service over three backends: its maps and programs
//! alone, without an agent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use aya::maps::{Array, Map, MapData};
use aya::programs::Xdp;
use aya_obj::programs::XdpAttachType;
use lb_agent::io::datapath::{Datapath, OBJECT};
use lb_agent::model::config::Protocol;
use lb_agent::model::tables::{ListenerKey, Write};
use lb_common::layout::{Backend, Interface, Scheduler, Settings};
use lb_common::map;
use lb_ebpf::family::TCP;
use lb_ebpf::host::{CLOSED, HostTables, NextHop};

use crate::director::Director;
use crate::packet_path::frames::{Ends, Link, ends, tcp_frame, v4};
use crate::packet_path::run;

const VIP: SocketAddr = v4([203, 0, 113, 10], 80);
const BACKENDS: [SocketAddr; 3] =
    [v4([10, 0, 0, 1], 8080), v4([10, 0, 0, 2], 8080), v4([10, 0, 0, 3], 8080)];
const LOOPBACK: u32 = 1;
const CLIENTS_SIDE: Link =
    Link { destination: [2; 6], source: [2, 0, 0, 0, 0, 9], tags: Vec::new() };

/// Ticks after which a flow is idle for too long.
pub const TIMEOUT_TICKS: u16 = 1_000;

/// See the top of this file.
pub struct Half {
    /// What an agent would own.
    pub datapath: Datapath,
    /// The backends by id.
    pub backends: BTreeMap<u32, Backend>,
    /// Where its maps are.
    pub pins: PathBuf,
}

/// A pinned map.
pub fn map_of<M: TryFrom<Map>>(pins: &Path, name: &str) -> M {
    let map = Map::from_map_data(MapData::from_pin(pins.join(name)).unwrap()).unwrap();
    M::try_from(map).ok().unwrap()
}

/// Makes the first or the second; backend ids differ from one to the other.
pub fn open(director: &Director, number: u8, max_flows: u32, scheduler: Scheduler) -> Half {
    let mut config = director.config(&[["nic", "other"][usize::from(number)]]);
    config.max_flows = max_flows;
    config.pin_path = config.pin_path.join(number.to_string());
    let pins = config.pin_path.clone();
    let mut datapath = Datapath::open(&config, OBJECT).unwrap();
    // Frames of a test run come in by the loopback interface.
    let mut interfaces: Array<_, Interface> = map_of(&pins, map::INTERFACES);
    let mac = CLIENTS_SIDE.destination;
    let loopback = Interface { mac, reserved: [0; 2], index: LOOPBACK.into() };
    interfaces.set(Interface::place(LOOPBACK.into(), 0), loopback, 0).unwrap();
    let mut tables = HostTables::new(1024, [0; 2]);
    let listener = tables.add_listener(VIP, TCP);
    let hop = NextHop { interface: LOOPBACK, neighbour: [2, 0, 0, 0, 0, 1], source: [2; 6] };
    let mut servers = BACKENDS;
    servers.rotate_left(number.into());
    let ids = servers.map(|backend| tables.add_backend(listener, backend, hop));
    tables.set_slots(listener, &ids);
    tables.set_scheduler(listener, scheduler);
    let settings = Settings { timeouts: [TIMEOUT_TICKS; 8], ..datapath.tables().unwrap().settings };
    let mut writes = vec![
        Write::Settings(Box::new(settings)),
        Write::Slots { base: 0, slots: tables.slots.clone() },
        Write::Listener { id: listener, value: tables.listeners[0] },
        Write::Point { key: ListenerKey { address: VIP, protocol: Protocol::Tcp }, id: listener },
        Write::Vip { address: VIP.ip(), value: CLOSED },
    ];
    let backends = (0..).zip(tables.backends.clone());
    writes.extend(backends.map(|(id, value)| Write::Backend { id, value }));
    datapath.apply(&writes).unwrap();
    Half { datapath, backends: (0..).zip(tables.backends).collect(), pins }
}

impl Half {
    /// The packet path.
    pub fn program(&self) -> Xdp {
        Xdp::from_pin(self.pins.join("program"), XdpAttachType::Interface).unwrap()
    }
}

/// One of as many clients as are asked for.
pub fn client(number: u32) -> SocketAddr {
    let [_, a, b, c] = (number / 50_000).to_be_bytes();
    let port = u16::try_from(10_000 + number % 50_000).unwrap();
    v4([100, 1 + a, 1 + b, c], port)
}

/// Sends a packet of a client; returns where it went.
pub fn send(program: &Xdp, client: SocketAddr, flags: u8) -> SocketAddr {
    let to_vip = Ends { source: client, destination: VIP };
    let sent = run(program, &tcp_frame(&CLIENTS_SIDE, to_vip, flags, &[]), LOOPBACK);
    ends(&sent.frame).unwrap().destination
}
