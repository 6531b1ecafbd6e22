//! Limits hold over all CPUs together, and a flood of drops is told of a few at a time.
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

use std::net::SocketAddr;
use std::sync::Barrier;

use aya::maps::{Array, MapData, RingBuf};
use lb_common::map;
use lb_common::verdict::Verdict;
use lb_ebpf::family::TCP;
use lb_ebpf::host::{CLOSED, HostTables, NextHop};
use lb_tests::clock::now;

use packet_path::frames::{Ends, Link, SYN, tcp_frame, v4};
use packet_path::{PacketPath, pin_to_cpu};

const VIP: SocketAddr = v4([203, 0, 113, 10], 80);
const BACKEND: SocketAddr = v4([10, 0, 0, 1], 8080);
const BUCKETS: usize = 32_768;
const LOOPBACK: u32 = 1;
const PER_SECOND: u32 = 2_000;
/// What comes in a second, so that a thread which waits for its CPU loses none.
const BURST: u32 = 2_000;
/// By each CPU; together far more than the limit lets.
const SYNS: u16 = 60_000;

fn director() -> PacketPath {
    let hop = NextHop { interface: LOOPBACK, neighbour: [2, 0, 0, 0, 0, 1], source: [2; 6] };
    let mut tables = HostTables::with_buckets(BUCKETS, [1, 2]);
    tables.add_vip(VIP.ip(), CLOSED);
    tables.add_interface(LOOPBACK, [2; 6]);
    let listener = tables.add_listener(VIP, TCP);
    let entry = tables.listeners.last_mut().unwrap();
    (entry.flow_cost, entry.flow_burst) = (1_000_000_000 / PER_SECOND, BURST);
    let backend = tables.add_backend(listener, BACKEND, hop);
    tables.set_slots(listener, &[backend]);
    let mut path = PacketPath::load(BUCKETS);
    path.install(&tables);
    path
}

fn send(path: &PacketPath, cpu: u8, start: &Barrier) {
    pin_to_cpu(cpu.into());
    start.wait();
    let link = Link { destination: [2; 6], source: [2, 0, 0, 0, 0, 9], tags: vec![] };
    for port in 1..=SYNS {
        let source = SocketAddr::from(([198, 51, 100, cpu], port));
        path.run(&tcp_frame(&link, Ends { source, destination: VIP }, SYN, &[]), LOOPBACK);
    }
}

#[test]
fn two_cpus_at_once_begin_as_many_flows_as_the_limit_lets() {
    let path = director();
    let start = Barrier::new(2);
    let began = now();
    std::thread::scope(|scope| {
        for cpu in [0, 1] {
            let (path, start) = (&path, &start);
            scope.spawn(move || send(path, cpu, start));
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    let count = |verdict: Verdict| path.verdict(verdict.number()).packets;
    let (accepted, refused) = (count(Verdict::ToBackend), count(Verdict::NewFlowsLimited));
    assert_eq!(accepted + refused, 2 * u64::from(SYNS));
    let wanted = f64::from(BURST) + f64::from(PER_SECOND) * seconds;
    let accepted = f64::from(u32::try_from(accepted).unwrap());
    println!("{accepted} of {wanted:.0} in {seconds:.2} s");
    assert!((accepted - wanted).abs() <= wanted / 20.0, "{accepted} of {wanted}");
}

#[test]
fn a_flood_of_drops_is_told_of_a_few_at_a_time() {
    let mut path = director();
    let mut told: RingBuf<MapData> = path.map(map::DROPS);
    let mut until: Array<MapData, u64> = path.map(map::SAMPLE_UNTIL);
    until.set(0, u64::MAX, 0).unwrap();
    pin_to_cpu(0);
    let link = Link { destination: [2; 6], source: [2, 0, 0, 0, 0, 9], tags: vec![] };
    let ends = Ends {
        source: v4([198, 51, 100, 1], 5_000),
        destination: SocketAddr::new(VIP.ip(), VIP.port() + 1),
    };
    let frame = tcp_frame(&link, ends, SYN, &[]);
    let began = now();
    let mut samples = 0_u128;
    for _ in 0..u32::from(SYNS) {
        path.run(&frame, LOOPBACK);
        while told.next().is_some() {
            samples += 1;
        }
    }
    let milliseconds = began.elapsed().as_millis();
    println!("{samples} samples of {SYNS} drops in {milliseconds} ms");
    assert_eq!(path.verdict(Verdict::PortClosed.number()).packets, u64::from(SYNS));
    // A hundred at once, then one in each millisecond; those of the clock may be a few longer.
    assert!(samples > 0 && samples <= 100 + milliseconds + 20, "{samples}");
}
