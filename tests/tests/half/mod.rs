//! One of up to two directors of one network namespace, with a service over three backends: its maps and programs
//! alone, without an agent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use aya::maps::Array;
use aya::programs::Xdp;
use aya_obj::programs::XdpAttachType;
use lb_agent::io::datapath::{Datapath, OBJECT};
use lb_common::layout::{Backend, Forward, Interface, Scheduler, Settings};
use lb_common::map;

use crate::director::{Director, map_of};
use crate::packet_path::frames::{ends, v4};
use crate::packet_path::run;
use crate::packet_path::shop::{BACKENDS, LINK, LOOPBACK, segment, tables, writes};

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

/// Makes the first or the second; backend ids differ from one to the other.
pub fn open(director: &Director, number: u8, max_flows: u32, scheduler: Scheduler) -> Half {
    let mut config = director.config(&[["nic", "other"][usize::from(number)]]);
    config.max_flows = max_flows;
    config.pin_path = config.pin_path.join(number.to_string());
    let pins = config.pin_path.clone();
    let mut datapath = Datapath::open(&config, OBJECT).unwrap();
    // Frames of a test run come in by the loopback interface.
    let mut interfaces: Array<_, Interface> = map_of(&pins, map::INTERFACES);
    let mac = LINK.destination;
    let loopback = Interface { mac, reserved: [0; 2], index: LOOPBACK.into() };
    interfaces.set(Interface::place(LOOPBACK.into(), 0), loopback, 0).unwrap();
    let mut servers = BACKENDS;
    servers.rotate_left(number.into());
    let mut tables = tables(1024, Forward::Nat, &servers);
    tables.set_scheduler(0, scheduler);
    // The key decides which of many flows have the tag of another: it is the same in each run.
    let hash_key = tables.settings.hash_key;
    let timeouts = [TIMEOUT_TICKS; 8];
    let settings = Settings { hash_key, timeouts, ..datapath.tables().unwrap().settings };
    datapath.apply(&writes(&tables, &settings)).unwrap();
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
    let sent = run(program, &segment(client, flags), LOOPBACK);
    ends(&sent.frame).unwrap().destination
}
