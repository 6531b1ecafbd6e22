//! Sources of full NAT are given once.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use lb_common::layout::Forward;
use lb_common::verdict::Verdict;

use crate::client;
use crate::packet_path::PacketPath;
use crate::packet_path::frames::{ACK, Ends, SYN, ends, tcp_frame};
use crate::packet_path::shop::{
    BACKENDS, LINK, LOOPBACK, VIP, loaded, on_two_cpus, send, set_sources, tables,
};

const PORTS: u16 = 1_500;
/// More than a CPU's share, which is as many as there are ports: towards the end both take from both shares.
const FLOWS_PER_CPU: u16 = 1_600;

/// By what a backend sees of a flow.
type Given = BTreeMap<Ends, SocketAddr>;

/// Sends new flows from one CPU; returns those that were not refused.
fn open(path: &PacketPath, cpu: u8) -> Vec<(Ends, SocketAddr)> {
    let flows = (1..=FLOWS_PER_CPU).map(|port| client(cpu, port));
    let sent = flows.map(|client| (send(path, client, SYN), client));
    sent.filter(|(sent, _)| sent.destination != VIP).collect()
}

#[test]
fn two_cpus_at_once_never_give_the_same_source_and_port() {
    let mut tables = tables(65_536, Forward::FullNat, &BACKENDS[..1]);
    set_sources(&mut tables, 20_000, PORTS);
    let path = loaded(&tables);
    let opened = on_two_cpus(|cpu| open(&path, cpu)).concat();
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
