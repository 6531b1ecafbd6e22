//! Sources of full NAT, which CPUs take without locks, are given once although flows come in on two CPUs at once.
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

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Barrier;

use lb_common::layout::{Forward, address};
use lb_common::verdict::Verdict;
use lb_ebpf::family::TCP;
use lb_ebpf::host::{CLOSED, HostTables, NextHop};

use packet_path::frames::{ACK, Ends, Link, SYN, ends, tcp_frame, v4};
use packet_path::{PacketPath, pin_to_cpu};

const VIP: SocketAddr = v4([203, 0, 113, 10], 80);
const BACKEND: SocketAddr = v4([10, 0, 0, 1], 8080);
const SOURCES: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 254)), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 253))];
const PORTS: u16 = 1_500;
/// More than a CPU's share, which is as many as there are ports: towards the end both take from both shares.
const FLOWS_PER_CPU: u16 = 1_600;
const BUCKETS: usize = 32_768;
const LOOPBACK: u32 = 1;
const LINK: Link = Link { destination: [2; 6], source: [2, 0, 0, 0, 0, 9], tags: Vec::new() };

/// By what a backend sees of a flow.
type Given = BTreeMap<Ends, SocketAddr>;

fn director() -> PacketPath {
    let hop = NextHop { interface: LOOPBACK, neighbour: [2, 0, 0, 0, 0, 1], source: [2; 6] };
    let mut tables = HostTables::with_buckets(BUCKETS, [1, 2]);
    let settings = &mut tables.settings;
    for (place, source) in settings.nat_v4.iter_mut().zip(SOURCES) {
        *place = address(source).0[0];
    }
    (settings.nat_sources, settings.cpus) = ([2, 0], 2);
    (settings.nat_first_port, settings.nat_ports) = (20_000, PORTS);
    tables.add_vip(VIP.ip(), CLOSED);
    tables.add_interface(LOOPBACK, LINK.destination);
    let listener = tables.add_listener(VIP, TCP);
    let backend = tables.add_backend_by(Forward::FullNat, listener, BACKEND, hop);
    tables.set_slots(listener, &[backend]);
    let mut path = PacketPath::load(BUCKETS);
    path.install(&tables);
    path
}

/// Sends new flows from one CPU; returns those that were not refused.
fn open(path: &PacketPath, cpu: u8, start: &Barrier) -> Vec<(Ends, SocketAddr)> {
    pin_to_cpu(cpu.into());
    start.wait();
    let flows = (1..=FLOWS_PER_CPU).map(|port| {
        let client = SocketAddr::from(([198, 51, 100, cpu], port));
        let to_vip = Ends { source: client, destination: VIP };
        let sent = ends(&path.run(&tcp_frame(&LINK, to_vip, SYN, &[]), LOOPBACK).frame).unwrap();
        // A frame that is dropped stays as it was.
        (sent != to_vip).then_some((sent, client))
    });
    flows.flatten().collect()
}

#[test]
fn two_cpus_at_once_never_give_the_same_source_and_port() {
    let path = director();
    let start = Barrier::new(2);
    let opened = std::thread::scope(|scope| {
        let cpus = [0, 1].map(|cpu| {
            let (path, start) = (&path, &start);
            scope.spawn(move || open(path, cpu, start))
        });
        cpus.map(|thread| thread.join().unwrap()).concat()
    });
    let given: Given = opened.iter().copied().collect();
    assert_eq!(given.len(), opened.len(), "one was given twice");
    let refused = path.verdict(Verdict::SourcesUsedUp.number()).packets;
    let (all, asked) = (2 * usize::from(PORTS), 2 * usize::from(FLOWS_PER_CPU));
    assert_eq!(u64::try_from(asked - given.len()).unwrap(), refused);
    assert!((all / 20 * 19..=all).contains(&given.len()), "{} of {all}", given.len());
    for (flow, client) in given {
        let answer = tcp_frame(&LINK, flow.turned(), SYN | ACK, &[]);
        let heard = ends(&path.run(&answer, LOOPBACK).frame).unwrap();
        assert_eq!(heard, Ends { source: VIP, destination: client });
    }
}
