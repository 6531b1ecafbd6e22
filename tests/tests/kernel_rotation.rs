//! Round robin is exact although flows come in on two CPUs at once.
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
use std::net::SocketAddr;
use std::sync::Barrier;

use lb_common::verdict::Verdict;
use lb_ebpf::family::TCP;
use lb_ebpf::host::{CLOSED, HostTables, NextHop};

use packet_path::frames::{Ends, Link, SYN, ends, tcp_frame, v4};
use packet_path::{PacketPath, pin_to_cpu, traffic};

const VIP: SocketAddr = v4([203, 0, 113, 10], 80);
const BACKENDS: [SocketAddr; 3] =
    [v4([10, 0, 0, 1], 8080), v4([10, 0, 0, 2], 8080), v4([10, 0, 0, 3], 8080)];
const BUCKETS: usize = 32_768;
const LOOPBACK: u32 = 1;
const FLOWS_PER_CPU: u16 = 20_000;
/// Every so many flows, a SYN is sent once more.
const RETRANSMITTED: u16 = 7;

fn director() -> PacketPath {
    let hop = NextHop { interface: LOOPBACK, neighbour: [2, 0, 0, 0, 0, 1], source: [2; 6] };
    let mut tables = HostTables::with_buckets(BUCKETS, [1, 2]);
    tables.add_vip(VIP.ip(), CLOSED);
    tables.add_interface(LOOPBACK, [2; 6]);
    let listener = tables.add_listener(VIP, TCP);
    let backends = BACKENDS.map(|backend| tables.add_backend(listener, backend, hop));
    tables.set_slots(listener, &backends);
    let mut path = PacketPath::load(BUCKETS);
    path.install(&tables);
    path
}

/// Sends the SYN of a client, and returns the backend that it went to.
fn backend_of(path: &PacketPath, client: SocketAddr) -> SocketAddr {
    let link = Link { destination: [2; 6], source: [2, 0, 0, 0, 0, 9], tags: vec![] };
    let to_vip = Ends { source: client, destination: VIP };
    let ran = path.run(&tcp_frame(&link, to_vip, SYN, &[]), LOOPBACK);
    ends(&ran.frame).unwrap().destination
}

/// Sends new flows from one CPU; returns how many each backend got.
fn send(path: &PacketPath, cpu: u8, start: &Barrier) -> BTreeMap<SocketAddr, u64> {
    pin_to_cpu(cpu.into());
    start.wait();
    let mut counts = BTreeMap::new();
    for port in 1..=FLOWS_PER_CPU {
        let client = SocketAddr::from(([198, 51, 100, cpu], port));
        let backend = backend_of(path, client);
        *counts.entry(backend).or_default() += 1;
        if port % RETRANSMITTED == 0 {
            assert_eq!(backend_of(path, client), backend, "the same flow");
        }
    }
    counts
}

#[test]
fn two_cpus_at_once_give_each_backend_the_same_number_of_flows() {
    let path = director();
    let start = Barrier::new(2);
    let [mut counts, others] = std::thread::scope(|scope| {
        [0, 1]
            .map(|cpu| {
                scope.spawn({
                    let (path, start) = (&path, &start);
                    move || send(path, cpu, start)
                })
            })
            .map(|thread| thread.join().unwrap())
    });
    for (backend, count) in others {
        *counts.entry(backend).or_default() += count;
    }
    let flows = 2 * u64::from(FLOWS_PER_CPU);
    let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
    assert_eq!((counts.len(), counts.values().sum::<u64>()), (BACKENDS.len(), flows));
    assert!(most - least <= 1, "{counts:?}");
    assert_eq!(path.cursors.get(&0, 0).unwrap().drawn, flows);
    assert_eq!(traffic(&path.listener_traffic, 0).flows, flows);
    let retransmitted = 2 * u64::from(FLOWS_PER_CPU / RETRANSMITTED);
    assert_eq!(path.verdict(Verdict::ToBackend.number()).packets, flows + retransmitted);
}
