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
use std::net::SocketAddr;

use lb_common::cell::State;
use lb_common::layout::Forward;
use lb_common::verdict::Verdict;

use packet_path::frames::{ACK, Ends, SYN, ends, tcp_frame, v4};
use packet_path::shop::{
    BACKENDS, LINK, LOOPBACK, SOURCES, VIP, loaded, send, set_sources, tables,
};
use packet_path::{PacketPath, cells, pin_to_cpu, traffic};

/// `max_flows` of the second test.
const MAX_FLOWS: u32 = 65_536;

#[test]
fn the_verifier_accepts_both_programs_with_room_to_spare() {
    PacketPath::load(1024).check_sizes();
}

fn client(number: u32) -> SocketAddr {
    let [_, a, b, c] = (number / 50_000).to_be_bytes();
    let port = u16::try_from(1024 + number % 50_000).unwrap();
    v4([100 + a, b, c, 7], port)
}

/// Opens a connection; returns its backend.
fn open(path: &PacketPath, client: SocketAddr) -> SocketAddr {
    let forwarded = send(path, client, SYN);
    let answer = tcp_frame(&LINK, forwarded.turned(), SYN | ACK, &[]);
    let answer = ends(&path.run(&answer, LOOPBACK).frame).unwrap();
    assert_eq!(answer, Ends { source: VIP, destination: client }, "the backend's answer");
    send(path, client, ACK).destination
}

#[test]
fn no_flow_is_refused_or_moved_at_nine_tenths_of_max_flows() {
    pin_to_cpu(1);
    let path = loaded(&tables(MAX_FLOWS, Forward::Nat, &BACKENDS));
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
    let mut tables = tables(2 * POOL, Forward::FullNat, &BACKENDS[..1]);
    set_sources(&mut tables, 5_000, 60_000);
    let path = loaded(&tables);
    let mut given = HashSet::new();
    for number in 0..FLOWS {
        let flow = take_source(&path, client(number));
        let flow = flow.unwrap_or_else(|| panic!("flow {number} was refused"));
        assert!(SOURCES.contains(&flow.source.ip()) && flow.source.port() >= 5_000, "{flow:?}");
        assert!(given.insert(flow), "{flow:?} was given twice");
        let answer = tcp_frame(&LINK, flow.turned(), SYN | ACK, &[]);
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
    const CPU: usize = 1;
    const SILENT: u64 = 100;
    pin_to_cpu(CPU);
    let mut tables = tables(MAX_FLOWS, Forward::Nat, &BACKENDS);
    tables.backends.iter_mut().for_each(|backend| backend.mtu = 1_000);
    let path = loaded(&tables);
    let to_vip = Ends { source: client(0), destination: VIP };
    let frame = tcp_frame(&LINK, to_vip, SYN, &[0; 1_200]);
    let counted = |verdict: Verdict| path.verdict(verdict.number()).packets;
    let kept = || path.reports.get(&0, 0).unwrap()[CPU];
    let [mut left, mut given_at] = kept();
    while counted(Verdict::TooBig) < SILENT {
        let before = counted(Verdict::TooBigReported);
        path.run(&frame, LOOPBACK);
        let [left_now, now] = kept();
        // By the clock that the program has read itself; at first it stood at zero long ago.
        let may = (left + (now - given_at)).min(100);
        let is_reported = counted(Verdict::TooBigReported) - before == 1;
        assert_eq!((is_reported, left_now), (may > 0, may.saturating_sub(1)), "{may} at {now}");
        (left, given_at) = (left_now, now);
    }
    let reported = counted(Verdict::TooBigReported);
    println!("{reported} reported before {SILENT} were not");
    assert!(reported >= 100);
}
