//! A million flows in a table for ten million: they are found by their packets, and what ends unheard is no load any
//! more after one sweep.
#![cfg(feature = "root")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]
#![expect(unreachable_pub, reason = "modules that several tests share")]

#[expect(dead_code, reason = "other tests use the rest")]
mod director;
mod half;
#[expect(dead_code, reason = "other tests use the rest")]
mod packet_path;

use std::net::SocketAddr;

use aya::maps::Array;
use lb_agent::io::clock;
use lb_agent::io::datapath::{FlowCounts, Swept};
use lb_common::cell::State;
use lb_common::layout::{Detail, Load, Scheduler, address, socket};
use lb_common::map;
use lb_ebpf::adopt::{Adopted, Told};
use lb_ebpf::family::TCP;
use lb_tests::clock::now;
use zerocopy::FromZeros;

use director::{map_of, on_a_director};
use half::{Half, TIMEOUT_TICKS, client, open, send};
use packet_path::frames::ACK;

const MAX_FLOWS: u32 = 10_000_000;
const N_FLOWS: u32 = 1_000_000;

/// The backend of a flow.
fn backend(number: u32) -> u32 {
    number % 3
}

/// Both cells of an established flow, as another director would tell of it.
fn told(number: u32) -> [Told; 2] {
    let client = client(number);
    let ((words, family), port) = (address(client.ip()), client.port().to_be());
    let detail = Detail {
        client: words,
        source: words,
        client_port: port,
        source_port: port,
        protocol: TCP,
        family,
        hop_interface: 1,
        ..Detail::new_zeroed()
    };
    [false, true].map(|is_reply| Told {
        holder: lb_ebpf::adopt::Holder::Unknown,
        backend: backend(number),
        state: State::Established,
        is_reply,
        is_translated: false,
        idle_ticks: 0,
        detail,
    })
}

/// One sweep of the whole table, and how many goes it took.
fn sweep(half: &Half, tick: u64) -> (FlowCounts, usize) {
    let flows = half.datapath.flows();
    for n_goes in 1.. {
        match flows.sweep(tick).unwrap() {
            Swept::All(counts) => return (counts, n_goes),
            Swept::Part => {}
            Swept::Moved => panic!("there is no other table"),
        }
    }
    panic!("a sweep ends")
}

/// The load of each backend.
fn loads(half: &Half) -> Vec<u64> {
    let loads: Array<_, Load> = map_of(&half.pins, map::LOADS);
    let load = |id: &u32| loads.get(id, 0).map(|load| load.base.wrapping_add(load.change)).unwrap();
    half.backends.keys().map(load).collect()
}

#[test]
fn a_million_flows_in_a_table_for_ten_million_are_found_and_counted_by_one_sweep() {
    on_a_director(|director| {
        let half = open(director, 0, MAX_FLOWS, Scheduler::LeastLoad);
        let begun = now();
        let is_taken = |adopted| assert!(matches!(adopted, Adopted::At(..)), "{adopted:?}");
        half.datapath.flows().adopt((0..N_FLOWS).flat_map(told), clock::tick(), is_taken).unwrap();
        println!("{N_FLOWS} flows written in {:?}", now() - begun);

        let begun = now();
        let (counts, n_goes) = sweep(&half, clock::tick());
        println!("{:?} flows counted in {n_goes} goes, {:?}", counts.flows, now() - begun);
        assert_eq!((counts.total, n_goes), (u64::from(N_FLOWS), 4));
        assert_eq!(loads(&half), counts.flows.values().copied().collect::<Vec<_>>());

        let program = half.program();
        for number in (0..N_FLOWS).step_by(97) {
            let server = half.backends[&backend(number)];
            let server: SocketAddr = socket(&server.address, server.port, server.family).unwrap();
            assert_eq!(send(&program, client(number), ACK), server, "flow {number}");
        }

        let (counts, n_goes) = sweep(&half, clock::tick() + u64::from(TIMEOUT_TICKS) + 2);
        let ended = (counts.total, counts.expired, n_goes);
        assert_eq!(ended, (0, 2 * u64::from(N_FLOWS), 4), "none was new twice");
        assert_eq!(loads(&half), [0; 3], "nobody has heard that they ended");
        lb_agent::io::datapath::detach(&half.pins).unwrap();
    });
}
