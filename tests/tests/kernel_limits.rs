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

use lb_tests::clock::now;
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
    director_by(Forward::Nat, MAX_FLOWS, &BACKENDS, 0)
}

/// The same by any way, with two sources of full NAT, whose ports two CPUs share.
fn director_by(
    forward: Forward,
    max_flows: u32,
    backends: &[SocketAddr],
    n_ports: u16,
) -> PacketPath {
    loaded(&tables(forward, max_flows, backends, n_ports))
}

fn loaded(tables: &HostTables) -> PacketPath {
    let mut path = PacketPath::load(tables.cells().len() / CELLS_PER_BUCKET);
    path.install(tables);
    path
}

fn tables(forward: Forward, max_flows: u32, backends: &[SocketAddr], n_ports: u16) -> HostTables {
    let mut tables = HostTables::new(usize::try_from(max_flows).unwrap(), [3, 4]);
    let settings = &mut tables.settings;
    for (place, source) in settings.nat_v4.iter_mut().zip(SOURCES) {
        *place = address(source).0[0];
    }
    (settings.nat_sources, settings.cpus) = ([2, 0], 2);
    (settings.nat_first_port, settings.nat_ports) = (5_000, n_ports);
    tables.add_vip(VIP.ip(), CLOSED);
    tables.add_interface(LOOPBACK, CLIENTS_SIDE.destination);
    let listener = tables.add_listener(VIP, TCP);
    let hop = NextHop { interface: LOOPBACK, neighbour: [2, 0, 0, 0, 0, 1], source: [2; 6] };
    let ids: Vec<_> = backends
        .iter()
        .map(|backend| tables.add_backend_by(forward, listener, *backend, hop))
        .collect();
    tables.set_slots(listener, &ids);
    tables
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

/// A SYN by full NAT, and what became of it; `None`: it was refused.
fn take_source(path: &PacketPath, client: SocketAddr) -> Option<Ends> {
    let forwarded = send(path, client, SYN);
    // A frame that is dropped stays as it was.
    let is_sent = forwarded != Ends { source: client, destination: VIP };
    is_sent.then_some(forwarded)
}

#[test]
fn two_sources_of_full_nat_serve_nine_tenths_of_their_ports_to_one_backend_from_one_cpu() {
    const POOL: u32 = 2 * 60_000;
    const FLOWS: u32 = POOL / 10 * 9;
    pin_to_cpu(1);
    let path = director_by(Forward::FullNat, 2 * POOL, &BACKENDS[..1], 60_000);
    let mut given = HashSet::new();
    for number in 0..FLOWS {
        let flow = take_source(&path, client(number));
        let flow = flow.unwrap_or_else(|| panic!("flow {number} was refused"));
        assert!(SOURCES.contains(&flow.source.ip()) && flow.source.port() >= 5_000, "{flow:?}");
        assert!(given.insert(flow), "{flow:?} was given twice");
        let answer = tcp_frame(&CLIENTS_SIDE, flow.turned(), SYN | ACK, &[]);
        let heard = ends(&path.run(&answer, LOOPBACK).frame).unwrap();
        assert_eq!(heard, Ends { source: VIP, destination: client(number) });
    }
    assert_eq!(path.verdict(Verdict::SourcesUsedUp.number()).packets, 0);
    // Of 6,000 flows that come at 90 to 95%, the rates of the documentation let five be refused.
    let refused = (FLOWS..FLOWS + POOL / 20).filter(|n| take_source(&path, client(*n)).is_none());
    let refused: Vec<_> = refused.map(|number| number * 1_000 / POOL).collect();
    println!("refused at so many thousandths of the pool: {refused:?}");
    assert!(refused.len() < 30, "{refused:?}");
}

#[test]
fn of_many_packets_that_are_too_long_at_once_a_hundred_are_reported_and_one_a_millisecond_more() {
    const PACKETS: u64 = 1_000;
    pin_to_cpu(1);
    let mut tables = tables(Forward::Nat, MAX_FLOWS, &BACKENDS, 0);
    tables.backends.iter_mut().for_each(|backend| backend.mtu = 1_000);
    let path = loaded(&tables);
    let to_vip = Ends { source: client(0), destination: VIP };
    let frame = tcp_frame(&CLIENTS_SIDE, to_vip, SYN, &[0; 1_200]);
    let begun_at = now();
    (0..PACKETS).for_each(|_| drop(path.run(&frame, LOOPBACK)));
    // The coarse clock may have stood still for a tick of the kernel's before.
    let milliseconds = u64::try_from((now() - begun_at).as_millis()).unwrap() + 12;
    let [reported, silent] = [Verdict::TooBigReported, Verdict::TooBig]
        .map(|verdict| path.verdict(verdict.number()).packets);
    println!("{reported} of {PACKETS} reported in {milliseconds} ms");
    assert_eq!(reported + silent, PACKETS);
    assert!((100..=100 + milliseconds).contains(&reported), "{reported} in {milliseconds} ms");
}
