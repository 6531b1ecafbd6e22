//! Loads are exact although flows begin and end on two CPUs at once.
#![cfg(feature = "root")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]
#![expect(unreachable_pub, reason = "a module that several tests share")]

#[expect(dead_code, reason = "other tests use the rest")]
mod packet_path;

use std::net::SocketAddr;
use std::sync::Barrier;

use lb_common::cell::State;
use lb_common::layout::{Load, Scheduler};
use lb_ebpf::family::TCP;
use lb_ebpf::host::{CLOSED, HostTables, NextHop};

use packet_path::frames::{Ends, Link, RST, SYN, tcp_frame, v4};
use packet_path::{PacketPath, cells, pin_to_cpu, traffic};

const VIP: SocketAddr = v4([203, 0, 113, 10], 80);
const BACKENDS: [SocketAddr; 4] = [
    v4([10, 0, 0, 1], 8080),
    v4([10, 0, 0, 2], 8080),
    v4([10, 0, 0, 3], 8080),
    v4([10, 0, 0, 4], 8080),
];
const BUCKETS: usize = 32_768;
const LOOPBACK: u32 = 1;
const FLOWS_PER_CPU: u16 = 8_000;

fn director() -> PacketPath {
    let hop = NextHop { interface: LOOPBACK, neighbour: [2, 0, 0, 0, 0, 1], source: [2; 6] };
    let mut tables = HostTables::with_buckets(BUCKETS, [1, 2]);
    tables.add_vip(VIP.ip(), CLOSED);
    tables.add_interface(LOOPBACK, [2; 6]);
    let listener = tables.add_listener(VIP, TCP);
    let backends = BACKENDS.map(|backend| tables.add_backend(listener, backend, hop));
    tables.set_slots(listener, &backends);
    tables.set_scheduler(listener, Scheduler::LeastLoad);
    let mut path = PacketPath::load(BUCKETS);
    path.install(&tables);
    path
}

fn send(path: &PacketPath, client: SocketAddr, flags: u8) {
    let link = Link { destination: [2; 6], source: [2, 0, 0, 0, 0, 9], tags: vec![] };
    let to_vip = Ends { source: client, destination: VIP };
    path.run(&tcp_frame(&link, to_vip, flags, &[]), LOOPBACK);
}

/// Begins flows from one CPU, and ends every third of them.
fn live(path: &PacketPath, cpu: u8, start: &Barrier) {
    pin_to_cpu(cpu.into());
    start.wait();
    for port in 1..=FLOWS_PER_CPU {
        let client = SocketAddr::from(([198, 51, 100, cpu], port));
        send(path, client, SYN);
        if port % 3 == 0 {
            send(path, client, RST);
        }
    }
}

fn loads(path: &PacketPath) -> Vec<u64> {
    let flows = |load: Load| Load::flows(load.base, load.change);
    (0..4).map(|id| flows(path.loads.get(&id, 0).unwrap())).collect()
}

/// Live cells of the client's direction that are not closing, by backend.
fn live_cells(path: &PacketPath) -> Vec<u64> {
    let mut counts = vec![0; BACKENDS.len()];
    let open = cells(path).into_iter().filter(|cell| {
        !cell.is_empty() && !cell.is_reply() && cell.state() != Some(State::Closing)
    });
    for cell in open {
        counts[usize::try_from(cell.backend()).unwrap()] += 1;
    }
    counts
}

#[test]
fn two_cpus_at_once_keep_the_load_of_each_backend() {
    let path = director();
    let start = Barrier::new(2);
    std::thread::scope(|scope| {
        for cpu in [0, 1] {
            let (path, start) = (&path, &start);
            scope.spawn(move || live(path, cpu, start));
        }
    });
    let (loads, cells) = (loads(&path), live_cells(&path));
    assert_eq!(loads, cells);
    let flows: u64 = loads.iter().sum();
    let ended = u64::from(FLOWS_PER_CPU / 3) * 2;
    assert_eq!(flows, u64::from(FLOWS_PER_CPU) * 2 - ended);
    let mean = flows / 4;
    assert!(loads.iter().all(|load| load.abs_diff(mean) * 20 < mean), "{loads:?} of {flows}");
    let begun: u64 = (0..4).map(|id| traffic(&path.backend_traffic, id).flows).sum();
    assert_eq!(begun, u64::from(FLOWS_PER_CPU) * 2);
}
