//! A million flows are told to a director that joins, cell by cell, and go on there.
#![cfg(feature = "root")]
#![expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]
#![expect(unreachable_pub, reason = "modules that several tests share")]

#[expect(dead_code, reason = "other tests use the rest")]
mod director;
#[expect(dead_code, reason = "other tests use the rest")]
mod packet_path;

use std::collections::HashMap as Memory;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aya::maps::{Array, Map, MapData};
use aya::programs::Xdp;
use aya_obj::programs::XdpAttachType;

use lb_agent::io::clock;
use lb_agent::io::datapath::{Datapath, OBJECT};
use lb_agent::io::sync::{self, Directory, Replication};
use lb_agent::model::config::{Protocol, Sync};
use lb_agent::model::tables::{ListenerKey, Write};
use lb_common::cell::Cell;
use lb_common::layout::{Bucket, Detail, Interface, Settings, socket};
use lb_common::map;
use lb_ebpf::family::TCP;
use lb_ebpf::host::{CLOSED, HostTables, NextHop};
use lb_tests::clock::{now, wait_until};
use lb_tests::load::TIMEOUT;

use director::{Director, on_a_director};
use packet_path::frames::{ACK, Ends, Link, SYN, ends, tcp_frame, v4};
use packet_path::run;

const VIP: SocketAddr = v4([203, 0, 113, 10], 80);
const BACKENDS: [SocketAddr; 3] =
    [v4([10, 0, 0, 1], 8080), v4([10, 0, 0, 2], 8080), v4([10, 0, 0, 3], 8080)];
const LOOPBACK: u32 = 1;
const CLIENTS_SIDE: Link =
    Link { destination: [2; 6], source: [2, 0, 0, 0, 0, 9], tags: Vec::new() };
const N_FLOWS: u32 = 1_000_000;

/// One of two directors of a network namespace.
struct Half {
    datapath: Datapath,
    backends: std::collections::BTreeMap<u32, lb_common::layout::Backend>,
    pins: PathBuf,
    config: Sync,
}

fn map_of<M: TryFrom<Map>>(pins: &Path, name: &str) -> M {
    let map = Map::from_map_data(MapData::from_pin(pins.join(name)).unwrap()).unwrap();
    M::try_from(map).ok().unwrap()
}

/// Backend ids and the size of the table differ from half to half.
fn open(director: &Director, number: u8) -> Half {
    let mut config = director.config(&[["nic", "other"][usize::from(number)]]);
    config.max_flows = N_FLOWS << number;
    config.pin_path = config.pin_path.join(number.to_string());
    let pins = config.pin_path.clone();
    let mut datapath = Datapath::open(&config, OBJECT).unwrap();
    // Frames of a test run come in by the loopback interface.
    let mut interfaces: Array<_, Interface> = map_of(&pins, map::INTERFACES);
    let mac = CLIENTS_SIDE.destination;
    let loopback = Interface { mac, reserved: [0; 2], index: LOOPBACK.into() };
    interfaces.set(Interface::place(LOOPBACK, 0), loopback, 0).unwrap();
    let mut tables = HostTables::new(1024, [0; 2]);
    let listener = tables.add_listener(VIP, TCP);
    let hop = NextHop { interface: LOOPBACK, neighbour: [2, 0, 0, 0, 0, 1], source: [2; 6] };
    let mut servers = BACKENDS;
    servers.rotate_left(number.into());
    let ids = servers.map(|backend| tables.add_backend(listener, backend, hop));
    tables.set_slots(listener, &ids);
    let settings = Settings { timeouts: [1_000; 8], ..datapath.tables().unwrap().settings };
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
    let at = |number: u8| v4([127, 0, 0, 1 + number], 8848);
    let key_file = pins_file(director, number);
    let config = Sync { listen: at(number), peers: vec![at(1 - number)], key_file };
    Half { datapath, backends: (0..).zip(tables.backends).collect(), pins, config }
}

fn pins_file(director: &Director, number: u8) -> PathBuf {
    let name = director.pins().file_name().unwrap().to_string_lossy().into_owned();
    let path = std::env::temp_dir().join(format!("{name}-{number}.key"));
    std::fs::write(&path, [b'k'; 32]).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

impl Half {
    fn replicate(&self) -> Replication {
        let opened = sync::open(&self.config).unwrap();
        std::fs::remove_file(&self.config.key_file).unwrap();
        let directory = Directory { table: self.datapath.flows(), backends: self.backends.clone() };
        Replication::start(opened, "half".to_owned(), vec!["lo".to_owned()], directory).unwrap()
    }

    fn program(&self) -> Xdp {
        Xdp::from_pin(self.pins.join("program"), XdpAttachType::Interface).unwrap()
    }

    /// What is known of each flow and direction, by client: backend and state.
    fn flows(&self) -> Memory<(SocketAddr, bool), (SocketAddr, u64)> {
        let flows: Array<_, Bucket> = map_of(&self.pins, map::FLOWS);
        let details: Array<_, Detail> = map_of(&self.pins, map::DETAILS);
        let mut all = Memory::new();
        for (bucket, words) in (0..).zip(flows.iter()) {
            for (slot, cell) in (0..).zip(words.unwrap().map(Cell)) {
                if cell.is_empty() {
                    continue;
                }
                let detail = details.get(&(bucket * 8 + slot), 0).unwrap();
                let client = socket(&detail.client, detail.client_port, detail.family).unwrap();
                let backend = self.backends[&cell.backend()];
                let backend = socket(&backend.address, backend.port, backend.family).unwrap();
                let known = (backend, cell.state_number());
                assert_eq!(all.insert((client, cell.is_reply()), known), None, "{client} twice");
            }
        }
        all
    }
}

fn client(number: u32) -> SocketAddr {
    let [_, a, b, _] = (number / 50_000).to_be_bytes();
    v4([100, 1 + a, 1 + b, (number / 50_000) as u8], (10_000 + number % 50_000) as u16)
}

fn send(program: &Xdp, client: SocketAddr, flags: u8) -> SocketAddr {
    let to_vip = Ends { source: client, destination: VIP };
    let sent = run(program, &tcp_frame(&CLIENTS_SIDE, to_vip, flags, &[]), LOOPBACK);
    ends(&sent.frame).unwrap().destination
}

#[test]
fn a_million_flows_are_told_to_a_director_that_joins() {
    on_a_director(|director| {
        director::add_wire("other", "other-peer");
        let halves = [0, 1].map(|number| open(director, number));
        let programs = [0, 1].map(|number: usize| halves[number].program());
        let begun = now();
        for number in 0..N_FLOWS {
            send(&programs[0], client(number), SYN);
        }
        println!("{N_FLOWS} flows begun in {:?}", now() - begun);
        let first = halves[0].replicate();
        let joined = now();
        let second = halves[1].replicate();
        wait_until("the one that joins to be in step", 24 * TIMEOUT, || {
            Ok(second.is_in_step(clock::now()))
        })
        .unwrap_or_else(|error| panic!("{error}: {:?}", second.status(clock::now())));
        println!("in step after {:?}: {:?}", now() - joined, second.status(clock::now()).peers);
        let (told, heard) = (halves[0].flows(), halves[1].flows());
        assert_eq!(told.len(), 2 * N_FLOWS as usize);
        assert!(told == heard, "{} cells of {}", heard.len(), told.len());
        for number in (0..N_FLOWS).step_by(1_000) {
            let client = client(number);
            assert_eq!(send(&programs[1], client, ACK), told[&(client, false)].0, "{client}");
        }
        wait_until("both to be in step", TIMEOUT, || Ok(first.is_in_step(clock::now()))).unwrap();
        let status = first.status(clock::now());
        assert_eq!((status.peers[0].conflicts, status.peers[0].without_place), (0, 0));
        for half in halves {
            lb_agent::io::datapath::detach(&half.pins).unwrap();
        }
    });
}
