//! The programs within the kernel's limits, and the flow table at the edge of its own.
#![cfg(feature = "root")]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]
#![expect(unreachable_pub, reason = "a module that several tests share")]

#[expect(dead_code, reason = "other tests use the rest")]
mod packet_path;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use lb_common::cell::State;
use lb_common::layout::{CELLS_PER_BUCKET, Forward, address};
use lb_common::verdict::Verdict;
use lb_ebpf::family::TCP;
use lb_ebpf::host::{CLOSED, HostTables, NextHop};

use packet_path::frames::{ACK, Ends, Link, SYN, ends, tcp_frame, v4};
use packet_path::{PacketPath, cells, pin_to_cpu, traffic};

const VIP: SocketAddr = v4([203, 0, 113, 10], 80);
const BACKENDS: [SocketAddr; 3] =
    [v4([10, 0, 0, 1], 8080), v4([10, 0, 0, 2], 8080), v4([10, 0, 0, 3], 8080)];
const SOURCES: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 254)), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 253))];
const LOOPBACK: u32 = 1;

/// `max_flows` of the second test.
const MAX_FLOWS: u32 = 65_536;

const CLIENTS_SIDE: Link =
    Link { destination: [2; 6], source: [2, 0, 0, 0, 0, 9], tags: Vec::new() };

#[test]
fn the_verifier_accepts_both_programs_with_room_to_spare() {
    PacketPath::load(1024).check_sizes();
}

/// A director with a flow table as the agent makes it, and one service.
fn director() -> PacketPath {
    director_by(Forward::Nat, MAX_FLOWS, &BACKENDS)
}

/// The same by any way, with two sources of full NAT that two CPUs share.
fn director_by(forward: Forward, max_flows: u32, backends: &[SocketAddr]) -> PacketPath {
    let mut tables = HostTables::new(usize::try_from(max_flows).unwrap(), [3, 4]);
    let settings = &mut tables.settings;
    for (place, source) in settings.nat_v4.iter_mut().zip(SOURCES) {
        *place = address(source).0[0];
    }
    (settings.nat_sources, settings.cpus) = ([2, 0], 2);
    (settings.nat_first_port, settings.nat_ports) = (20_000, 40_000);
    tables.add_vip(VIP.ip(), CLOSED);
    tables.add_interface(LOOPBACK, CLIENTS_SIDE.destination);
    let listener = tables.add_listener(VIP, TCP);
    let hop = NextHop { interface: LOOPBACK, neighbour: [2, 0, 0, 0, 0, 1], source: [2; 6] };
    let ids: Vec<_> = backends
        .iter()
        .map(|backend| tables.add_backend_by(forward, listener, *backend, hop))
        .collect();
    tables.set_slots(listener, &ids);
    let mut path = PacketPath::load(tables.cells().len() / CELLS_PER_BUCKET);
    path.install(&tables);
    path
}

fn client(number: u32) -> SocketAddr {
    let [_, a, b, c] = (number / 50_000).to_be_bytes();
    let port = u16::try_from(1024 + number % 50_000).unwrap();
    v4([100 + a, b, c, 7], port)
}

/// Sends a packet of a client; returns what became of the flow's ends.
fn send(path: &PacketPath, client: SocketAddr, flags: u8) -> Ends {
    let to_vip = Ends { source: client, destination: VIP };
    ends(&path.run(&tcp_frame(&CLIENTS_SIDE, to_vip, flags, &[]), LOOPBACK).frame).unwrap()
}

/// Opens a connection; returns its backend.
fn open(path: &PacketPath, client: SocketAddr) -> SocketAddr {
    let forwarded = send(path, client, SYN);
    let answer = tcp_frame(&CLIENTS_SIDE, forwarded.turned(), SYN | ACK, &[]);
    let answer = ends(&path.run(&answer, LOOPBACK).frame).unwrap();
    assert_eq!(answer, Ends { source: VIP, destination: client }, "the backend's answer");
    send(path, client, ACK).destination
}

#[test]
fn no_flow_is_refused_or_moved_at_nine_tenths_of_max_flows() {
    pin_to_cpu(1);
    let path = director();
    let n_flows = MAX_FLOWS / 10 * 9;
    let backends: Vec<_> = (0..n_flows).map(|number| open(&path, client(number))).collect();
    for (number, backend) in (0..n_flows).zip(&backends) {
        assert_eq!(send(&path, client(number), ACK).destination, *backend, "flow {number}");
    }
    let n_flows = u64::from(n_flows);
    assert_eq!(path.verdict(Verdict::ToBackend.number()).packets, 3 * n_flows);
    assert_eq!(path.verdict(Verdict::ToClient.number()).packets, n_flows);
    assert_eq!(traffic(&path.listener_traffic, 0).flows, n_flows, "none was new twice");
    let cells = cells(&path);
    let held = cells.iter().filter(|cell| cell.state() == Some(State::Established)).count();
    assert_eq!(u64::try_from(held).unwrap(), 2 * n_flows, "two cells for each");
    println!("{n_flows} flows in {} cells", cells.len());
}

/// A client asks again where its first SYN was dropped (RFC 6298); Linux does six times.
const SYNS: usize = 7;

#[test]
fn two_sources_of_full_nat_serve_more_than_a_hundred_thousand_connections_that_come_in_on_one_cpu()
{
    const FLOWS: u32 = 110_000;
    pin_to_cpu(1);
    let path = director_by(Forward::FullNat, 2 * FLOWS, &BACKENDS[..2]);
    let mut given = HashSet::new();
    for number in 0..FLOWS {
        let client = client(number);
        let to_vip = Ends { source: client, destination: VIP };
        let mut syns = (0..SYNS).map(|_| send(&path, client, SYN));
        // A frame that is dropped stays as it was.
        let forwarded = syns.find(|sent| *sent != to_vip);
        let forwarded = forwarded.unwrap_or_else(|| panic!("flow {number} was refused"));
        assert!(SOURCES.contains(&forwarded.source.ip()), "{forwarded:?}");
        assert!((20_000..60_000).contains(&forwarded.source.port()), "{forwarded:?}");
        assert!(given.insert(forwarded), "{forwarded:?} was given twice");
    }
    let answered = given.iter().step_by(97).map(|flow| {
        let answer = tcp_frame(&CLIENTS_SIDE, flow.turned(), SYN | ACK, &[]);
        ends(&path.run(&answer, LOOPBACK).frame).unwrap()
    });
    let clients: HashSet<_> = answered.map(|ends| (ends.source, ends.destination)).collect();
    assert_eq!(clients.len(), given.len().div_ceil(97), "each answer has a client of its own");
    assert!(clients.iter().all(|(source, _)| *source == VIP));
    let refused = path.verdict(Verdict::SourcesUsedUp.number()).packets;
    println!("{FLOWS} connections, {refused} SYNs refused");
}
