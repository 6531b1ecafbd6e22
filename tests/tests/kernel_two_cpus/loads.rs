//! Loads of backends.

use std::net::SocketAddr;

use lb_common::cell::State;
use lb_common::layout::{Forward, Load, Scheduler};

use crate::client;
use crate::packet_path::frames::{RST, SYN, v4};
use crate::packet_path::shop::{loaded, on_two_cpus, send, tables};
use crate::packet_path::{PacketPath, cells, traffic};

const BACKENDS: [SocketAddr; 4] = [
    v4([10, 0, 0, 1], 8080),
    v4([10, 0, 0, 2], 8080),
    v4([10, 0, 0, 3], 8080),
    v4([10, 0, 0, 4], 8080),
];
const FLOWS_PER_CPU: u16 = 8_000;

/// Begins flows from one CPU, and ends every third of them.
fn live(path: &PacketPath, cpu: u8) {
    for port in 1..=FLOWS_PER_CPU {
        send(path, client(cpu, port), SYN);
        if port % 3 == 0 {
            send(path, client(cpu, port), RST);
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
    let mut tables = tables(65_536, Forward::Nat, &BACKENDS);
    tables.set_scheduler(0, Scheduler::LeastLoad);
    let path = loaded(&tables);
    on_two_cpus(|cpu| live(&path, cpu));
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
