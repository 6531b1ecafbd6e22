//! Limits, and samples of a flood of drops.

use std::net::SocketAddr;

use aya::maps::{Array, MapData, RingBuf};
use lb_common::layout::Forward;
use lb_common::map;
use lb_common::verdict::Verdict;
use lb_ebpf::host::HostTables;
use lb_tests::clock::now;

use crate::client;
use crate::packet_path::frames::{Ends, SYN, tcp_frame};
use crate::packet_path::pin_to_cpu;
use crate::packet_path::shop::{BACKENDS, LINK, LOOPBACK, VIP, loaded, on_two_cpus, send, tables};

const PER_SECOND: u32 = 2_000;
/// What comes in a second, so that a thread which waits for its CPU loses none.
const BURST: u32 = 2_000;
/// By each CPU; together far more than the limit lets.
const SYNS: u16 = 60_000;

fn limited() -> HostTables {
    let mut tables = tables(65_536, Forward::Nat, &BACKENDS[..1]);
    let entry = tables.listeners.last_mut().unwrap();
    (entry.flow_cost, entry.flow_burst) = (1_000_000_000 / PER_SECOND, BURST);
    tables
}

#[test]
fn two_cpus_at_once_begin_as_many_flows_as_the_limit_lets() {
    let path = loaded(&limited());
    let began = now();
    on_two_cpus(|cpu| {
        for port in 1..=SYNS {
            send(&path, client(cpu, port), SYN);
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
    let mut path = loaded(&limited());
    let mut told: RingBuf<MapData> = path.map(map::DROPS);
    let mut until: Array<MapData, u64> = path.map(map::SAMPLE_UNTIL);
    until.set(0, u64::MAX, 0).unwrap();
    pin_to_cpu(0);
    let closed =
        Ends { source: client(0, 5_000), destination: SocketAddr::new(VIP.ip(), VIP.port() + 1) };
    let frame = tcp_frame(&LINK, closed, SYN, &[]);
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
