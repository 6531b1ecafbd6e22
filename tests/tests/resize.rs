//! Another size of the flow table on a real kernel: no flow is lost or moved, whoever is killed.
#![cfg(feature = "root")]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]
#![expect(unreachable_pub, reason = "modules that several tests share")]

#[expect(dead_code, reason = "other tests use the rest")]
mod director;
#[expect(dead_code, reason = "other tests use the rest")]
mod packet_path;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use aya::maps::Array;
use aya::programs::Xdp;
use aya_obj::programs::xdp::XdpAttachType;
use lb_agent::io::clock;
use lb_agent::io::datapath::{Datapath, DatapathError, FlowCounts, OBJECT, Prepared, Swept};
use lb_agent::model::firewall::compile::{Compiled, Names, compile};
use lb_agent::model::firewall::{Action, Firewall, Rule, Sets};
use lb_agent::model::tables::Write;
use lb_common::cell::{Cell, State, before};
use lb_common::layout::limit::{SOURCE_BUCKETS, SOURCE_MASKS};
use lb_common::layout::{Bucket, Detail, Forward, Interface, Settings};
use lb_common::map;
use lb_ebpf::detail::detail_matches;
use lb_ebpf::firewall::open::flows_of;

use director::{Director, map_of, on_a_director};
use packet_path::frames::{ACK, Ends, SYN, ends, tcp_frame, v4};
use packet_path::shop::{BACKENDS, LINK, LOOPBACK, VIP, segment, tables, writes};
use packet_path::{pin_to_cpu, run};

const SMALL: u32 = 16_384;
const LARGE: u32 = 8 * SMALL;
const N_FLOWS: u32 = 12_000;

/// The program that is attached now.
fn program(director: &Director) -> Xdp {
    Xdp::from_pin(director.pins().join("program"), XdpAttachType::Interface).unwrap()
}

/// A director with a small flow table and one service.
fn open_small(director: &Director) -> Datapath {
    let mut datapath = reopen(director);
    let tables = tables(1024, Forward::Nat, &BACKENDS);
    let settings = Settings { timeouts: [1_000; 8], ..datapath.tables().unwrap().settings };
    datapath.apply(&writes(&tables, &settings)).unwrap();
    datapath
}

fn reopen(director: &Director) -> Datapath {
    let mut config = director.config(&["nic"]);
    config.max_flows = SMALL;
    let datapath = Datapath::open(&config, OBJECT).unwrap();
    // Frames of a test run come in by the loopback interface.
    let mut interfaces: Array<_, Interface> = map_of(director.pins(), map::INTERFACES);
    let (mac, index) = (LINK.destination, LOOPBACK.into());
    let loopback = Interface { mac, reserved: [0; 2], index };
    interfaces.set(Interface::place(LOOPBACK.into(), 0), loopback, 0).unwrap();
    datapath
}

fn client(number: u32) -> SocketAddr {
    v4([100, 0, 0, 7], u16::try_from(1024 + number).unwrap())
}

fn send(program: &Xdp, client: SocketAddr, flags: u8) -> Ends {
    ends(&run(program, &segment(client, flags), LOOPBACK).frame).unwrap()
}

fn answer(program: &Xdp, client: SocketAddr, backend: SocketAddr, flags: u8) {
    let reply = Ends { source: backend, destination: client };
    let answer = run(program, &tcp_frame(&LINK, reply, flags, &[]), LOOPBACK);
    assert_eq!(ends(&answer.frame), Some(Ends { source: VIP, destination: client }));
}

/// Opens a connection; returns its backend.
fn connect(program: &Xdp, client: SocketAddr) -> SocketAddr {
    let backend = send(program, client, SYN).destination;
    answer(program, client, backend, SYN | ACK);
    send(program, client, ACK).destination
}

fn connect_all(director: &Director) -> Vec<SocketAddr> {
    let program = program(director);
    (0..N_FLOWS).map(|number| connect(&program, client(number))).collect()
}

/// Packets of both directions of some flows.
fn exchange(director: &Director, backends: &[SocketAddr], which: impl Fn(u32) -> bool) {
    let program = program(director);
    for (number, backend) in (0..).zip(backends).filter(|(number, _)| which(*number)) {
        if number % 2 == 0 {
            answer(&program, client(number), *backend, ACK);
        }
        assert_eq!(send(&program, client(number), ACK).destination, *backend, "flow {number}");
    }
}

fn prepared(datapath: &mut Datapath, max_flows: u32) -> Prepared {
    datapath.resize(max_flows, u64::from(N_FLOWS)).unwrap().unwrap().prepare().unwrap()
}

/// Sweeps until all cells have been looked at.
fn sweep(datapath: &Datapath) -> FlowCounts {
    let flows = datapath.flows();
    std::iter::repeat_with(|| flows.sweep(clock::tick()).unwrap()).find_map(Swept::counts).unwrap()
}

/// Moves what is left, and lets go of the old table.
fn finish(datapath: &mut Datapath) {
    assert!(datapath.is_moving());
    let first = sweep(datapath);
    assert!(first.old.is_some_and(|cells| cells > 0), "{:?}", first.old);
    let last = sweep(datapath);
    assert_eq!(last.old, Some(0), "one sweep moves all");
    datapath.finish().unwrap();
    assert!(!datapath.is_moving());
}

/// Two cells for each flow and one detail that fits each, in a table of this size; nothing else is pinned.
fn check(director: &Director, datapath: &Datapath, max_flows: u32, n_flows: usize) {
    let cells: Array<_, Bucket> = map_of(director.pins(), map::FLOWS);
    assert_eq!(cells.len(), max_flows / 2);
    let held = cells.iter().flat_map(|bucket| bucket.unwrap().map(Cell));
    let held: Vec<_> = held.filter(|cell| cell.state().is_some()).collect();
    assert_eq!(held.len(), 2 * n_flows, "two cells for each flow");
    let established = held.iter().filter(|cell| cell.state() == Some(State::Established));
    assert_eq!(established.count(), 2 * n_flows);
    let key = datapath.tables().unwrap().settings.hash_key;
    let fits =
        |detail: &Detail, backend: &_, tag| detail_matches(&key, detail, backend, false, tag);
    let (total, listed) = datapath.flows().list(clock::tick(), usize::MAX, |_| true, fits).unwrap();
    assert_eq!((usize::try_from(total).unwrap(), listed.len()), (n_flows, n_flows));
    assert!(!director.pins().join("NEXT_FLOWS").exists());
}

#[test]
fn twelve_thousand_flows_keep_their_backends_while_the_table_grows_and_shrinks() {
    on_a_director(|director| {
        pin_to_cpu(1);
        let mut datapath = open_small(director);
        let mut backends = connect_all(director);
        for size in [LARGE, SMALL] {
            let ready = prepared(&mut datapath, size);
            datapath.switch(ready).unwrap();
            exchange(director, &backends, |number| number % 3 == 0);
            let number = u32::try_from(backends.len()).unwrap();
            backends.push(connect(&program(director), client(number)));
            finish(&mut datapath);
            check(director, &datapath, size, backends.len());
            exchange(director, &backends, |_| true);
            check(director, &datapath, size, backends.len());
        }
    });
}

#[test]
fn an_agent_that_dies_while_flows_move_is_followed_by_one_that_goes_on() {
    on_a_director(|director| {
        pin_to_cpu(1);
        let mut datapath = open_small(director);
        let backends = connect_all(director);
        drop(prepared(&mut datapath, LARGE));
        assert!(director.pins().join("NEXT_FLOWS").exists());
        drop(datapath);

        let mut datapath = reopen(director);
        assert!(!datapath.is_moving() && !director.pins().join("NEXT_FLOWS").exists());
        let ready = prepared(&mut datapath, LARGE);
        datapath.switch(ready).unwrap();
        exchange(director, &backends, |number| number % 2 == 0);
        drop(datapath);

        let mut datapath = reopen(director);
        exchange(director, &backends, |number| number % 3 == 0);
        finish(&mut datapath);
        check(director, &datapath, LARGE, backends.len());
        exchange(director, &backends, |_| true);
    });
}

#[test]
fn an_agent_that_dies_while_maps_take_their_names_is_followed_by_one_that_completes_that() {
    on_a_director(|director| {
        pin_to_cpu(1);
        let mut datapath = open_small(director);
        let backends = connect_all(director);
        let ready = prepared(&mut datapath, LARGE);
        datapath.switch(ready).unwrap();
        sweep(&datapath);
        assert_eq!(sweep(&datapath).old, Some(0));
        drop(datapath);
        let pins = director.pins();
        let mut next: Array<_, Settings> = map_of(pins, "NEXT_SETTINGS");
        let settings = Settings { other_mask: 0, ..next.get(&0, 0).unwrap() };
        next.set(0, settings, 0).unwrap();
        std::fs::rename(pins.join("NEXT_DETAILS"), pins.join("DETAILS")).unwrap();

        let datapath = reopen(director);
        assert!(!datapath.is_moving());
        check(director, &datapath, LARGE, backends.len());
        exchange(director, &backends, |_| true);
    });
}

#[test]
fn flows_half_way_to_another_table_of_another_layout_are_left_to_the_version_that_knows_it() {
    on_a_director(|director| {
        let mut datapath = open_small(director);
        let ready = prepared(&mut datapath, LARGE);
        datapath.switch(ready).unwrap();
        drop(datapath);
        // As an agent of the version before would have left it.
        let names = ["SETTINGS", "NEXT_SETTINGS"];
        for name in names {
            let mut settings: Array<_, Settings> = map_of(director.pins(), name);
            let read = settings.get(&0, 0).unwrap();
            settings.set(0, Settings { layout: before::VERSION, ..read }, 0).unwrap();
        }
        let state = || {
            let pins = std::fs::read_dir(director.pins()).unwrap();
            let pins: BTreeSet<_> = pins.map(|pin| pin.unwrap().file_name()).collect();
            (pins, program(director).info().unwrap().id())
        };
        let found = state();
        let refused = Datapath::open(&director.config(&["nic"]), OBJECT);
        let error = refused.err().expect("it cannot go on");
        assert!(matches!(error, DatapathError::Unfinished), "{error}");
        assert_eq!(state(), found);
    });
}

#[test]
fn a_move_that_was_cut_short_between_its_steps_is_completed() {
    on_a_director(|director| {
        pin_to_cpu(1);
        let mut datapath = open_small(director);
        let backends = connect_all(director);
        let ready = prepared(&mut datapath, LARGE);
        datapath.switch(ready).unwrap();
        sweep(&datapath);
        // As after the third step: the old place points to the new one, whose cell is not to be found yet.
        let mut cells: Array<_, Bucket> = map_of(director.pins(), "NEXT_FLOWS");
        for index in 0..cells.len() {
            let arriving = |word| if word == 0 { 0 } else { Cell(word).arriving().0 };
            let bucket = cells.get(&index, 0).unwrap();
            cells.set(index, bucket.map(arriving), 0).unwrap();
        }
        exchange(director, &backends, |number| number % 2 == 0);
        assert!(sweep(&datapath).old.unwrap() > 0);
        assert_eq!(sweep(&datapath).old, Some(0));
        datapath.finish().unwrap();
        check(director, &datapath, LARGE, backends.len());
        exchange(director, &backends, |_| true);
    });
}

#[test]
fn a_table_does_not_become_too_small_for_the_flows_that_are_open() {
    on_a_director(|director| {
        let mut datapath = open_small(director);
        let error = datapath.resize(1024, 1025).unwrap_err();
        assert!(matches!(error, DatapathError::TooManyOpen { .. }), "{error}");
        assert!(error.to_string().contains("max_flows = 1024 is less than the 1025 flows"));
        assert!(datapath.resize(SMALL, 1025).unwrap().is_none());
    });
}

/// Rules that drop all that is of no known flow.
fn closed() -> Arc<Compiled> {
    let rules = vec![Rule::any(Action::Drop)];
    let firewall = Firewall { rules, max_prefixes: 1_024, ..Firewall::default() };
    compile(&firewall, &Sets::new(), &Names::default()).unwrap()
}

/// Whether somebody new is let in.
fn admits(director: &Director, number: u32) -> bool {
    send(&program(director), client(number), SYN).destination != VIP
}

#[test]
fn rules_that_need_other_maps_wait_for_the_flow_table_to_have_its_size() {
    on_a_director(|director| {
        pin_to_cpu(1);
        let mut datapath = open_small(director);
        connect(&program(director), client(0));
        let rules = closed();
        let refuse = |datapath: &mut Datapath, number| {
            let asked = datapath.next_rules(rules.head.size).err();
            let written = datapath.apply(&[Write::Firewall(Arc::clone(&rules))]).err();
            for error in [asked, written] {
                assert!(matches!(error, Some(DatapathError::Resizing)), "{error:?}");
            }
            assert!(admits(director, number), "nothing has changed");
        };
        let resize = datapath.resize(LARGE, 1).unwrap().unwrap();
        assert!(datapath.is_preparing());
        refuse(&mut datapath, 1);
        let ready = resize.prepare().unwrap();
        datapath.switch(ready).unwrap();
        refuse(&mut datapath, 2);
        finish(&mut datapath);
        let next = datapath.next_rules(rules.head.size).unwrap();
        assert!(datapath.resize(SMALL, 1).unwrap().is_none(), "one after the other");
        datapath.rules_ready(next.prepare(&rules).unwrap());
        datapath.room_ended();
        datapath.apply(&[Write::Firewall(rules)]).unwrap();
        assert!(!admits(director, 3));
    });
}

#[test]
fn open_flows_of_sources_are_counted_while_they_move_too() {
    on_a_director(|director| {
        pin_to_cpu(1);
        let mut datapath = open_small(director);
        let mut sources: Array<_, Bucket> = map_of(director.pins(), map::SOURCE_FLOWS);
        sources.set(SOURCE_MASKS, [u32::MAX.into(), 0, 0, 0, 0, 0, 0, 0], 0).unwrap();
        connect_all(director);
        // All flows are of one client.
        let n_open = |sources: &Array<_, Bucket>| {
            let buckets = (0..SOURCE_BUCKETS).map(|number| sources.get(&number, 0).unwrap());
            buckets.flatten().map(flows_of).sum::<u64>()
        };
        assert_eq!(n_open(&sources), u64::from(N_FLOWS));
        let ready = prepared(&mut datapath, LARGE);
        datapath.switch(ready).unwrap();
        (0..SOURCE_BUCKETS).for_each(|number| sources.set(number, [0; 8], 0).unwrap());
        assert!(sweep(&datapath).old.is_some_and(|cells| cells > 0));
        assert_eq!(n_open(&sources), u64::from(N_FLOWS));
        assert_eq!(sweep(&datapath).old, Some(0));
        assert_eq!(n_open(&sources), u64::from(N_FLOWS));
    });
}
