//! Round robin.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use lb_common::layout::Forward;
use lb_common::verdict::Verdict;

use crate::client;
use crate::packet_path::frames::SYN;
use crate::packet_path::shop::{BACKENDS, loaded, on_two_cpus, send, tables};
use crate::packet_path::{PacketPath, traffic};

const FLOWS_PER_CPU: u16 = 20_000;
/// Every so many flows, a SYN is sent once more.
const RETRANSMITTED: u16 = 7;

/// Sends new flows from one CPU; returns how many each backend got.
fn open(path: &PacketPath, cpu: u8) -> BTreeMap<SocketAddr, u64> {
    let mut counts = BTreeMap::new();
    for port in 1..=FLOWS_PER_CPU {
        let backend_of = || send(path, client(cpu, port), SYN).destination;
        let backend = backend_of();
        *counts.entry(backend).or_default() += 1;
        if port % RETRANSMITTED == 0 {
            assert_eq!(backend_of(), backend, "the same flow");
        }
    }
    counts
}

#[test]
fn two_cpus_at_once_give_each_backend_the_same_number_of_flows() {
    let path = loaded(&tables(65_536, Forward::Nat, &BACKENDS));
    let [mut counts, others] = on_two_cpus(|cpu| open(&path, cpu));
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
