//! The packet path's program, links and maps on a real kernel.
#![cfg(feature = "root")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(unreachable_pub, reason = "a module that several tests share")]

#[expect(dead_code, reason = "the tests of netlink use the rest")]
mod director;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use aya::maps::{Array, PerCpuArray, PerCpuValues};
use aya::programs::links::{FdLink, PinnedLink};
use lb_agent::io::datapath::{Datapath, DatapathError, OBJECT, detach};
use lb_agent::model::config::{Protocol, XdpMode};
use lb_agent::model::tables::{ListenerKey, Write};
use lb_common::cell::{Cell, State};
use lb_common::layout::{self, Backend, Bucket, Count, Detail, Listener, Slot, Traffic, Vip, run};
use lb_common::map;
use lb_common::verdict::Verdict;
use lb_tests::clock::wait_until;
use zerocopy::FromZeros;

use director::{add_wire, address, ip, map_of, on_a_director};

fn link_id(pins: &Path, interface: &str) -> u32 {
    let link = PinnedLink::from_pin(pins.join(format!("link-{interface}"))).unwrap();
    FdLink::from(link).info().unwrap().id()
}

fn runs_a_program(interface: &str) -> bool {
    ip(&format!("-details link show {interface}")).contains("prog/xdp")
}

/// The kernel lets go of a link whose pin was removed a moment later, after an RCU grace period.
fn comes_to_run_none(interface: &str) -> bool {
    let within = Duration::from_secs(5);
    wait_until("the program to go", within, || Ok(!runs_a_program(interface))).is_ok()
}

fn listener(cursor: u32, run: u64) -> Listener {
    let (port, address) = (80_u16.to_be(), [1, 2, 3, 4]);
    Listener { run, cursor, protocol: 6, port, address, family: 6, ..Listener::new_zeroed() }
}

fn slots(backends: &[u32]) -> Vec<Slot> {
    backends.iter().map(|id| Slot { backend: *id, weight: *id }).collect()
}

fn backend(state: u8) -> Backend {
    Backend {
        address: [5, 0, 0, 0],
        vip: [6, 0, 0, 0],
        listener: 3,
        interface: 2,
        macs: [7; 12],
        port: 80_u16.to_be(),
        vip_port: 8080_u16.to_be(),
        delta: 8,
        mtu: 9,
        state,
        protocol: 6,
        family: 4,
        forward: 0,
    }
}

fn tcp(socket: &str) -> ListenerKey {
    ListenerKey { address: socket.parse().unwrap(), protocol: Protocol::Tcp }
}

#[test]
fn a_veth_interface_is_attached_in_native_mode() {
    on_a_director(|director| {
        let datapath = Datapath::open(&director.config(&["nic"]), OBJECT).unwrap();
        let interfaces = datapath.interfaces().unwrap();
        assert_eq!(interfaces.len(), 1);
        assert_eq!((interfaces[0].name.as_str(), interfaces[0].mode.as_str()), ("nic", "native"));
        assert!(runs_a_program("nic") && !runs_a_program("peer"));
    });
}

#[test]
fn generic_mode_is_had_on_request_and_not_changed_on_the_way() {
    on_a_director(|director| {
        let mut config = director.config(&["nic"]);
        config.xdp_mode = XdpMode::Generic;
        let datapath = Datapath::open(&config, OBJECT).unwrap();
        assert_eq!(datapath.interfaces().unwrap()[0].mode, "generic");
        config.xdp_mode = XdpMode::Native;
        let error = Datapath::open(&config, OBJECT).err().unwrap();
        assert!(matches!(error, DatapathError::OtherMode { .. }), "{error}");
        config.xdp_mode = XdpMode::Auto;
        assert!(Datapath::open(&config, OBJECT).is_ok());
    });
}

#[test]
fn a_driver_without_xdp_gets_the_generic_mode() {
    on_a_director(|director| {
        ip("link add bridge type bridge");
        let datapath = Datapath::open(&director.config(&["bridge"]), OBJECT).unwrap();
        assert_eq!(datapath.interfaces().unwrap()[0].mode, "generic");
    });
}

#[test]
fn a_new_agent_takes_over_links_and_maps() {
    on_a_director(|director| {
        let config = director.config(&["nic"]);
        let mut first = Datapath::open(&config, OBJECT).unwrap();
        first.apply(&[Write::Backend { id: 9, value: backend(1) }]).unwrap();
        let (tables, program) = (first.tables().unwrap(), first.interfaces().unwrap());
        let link = link_id(director.pins(), "nic");
        drop(first);
        assert!(runs_a_program("nic"), "the program outlives the agent");
        let second = Datapath::open(&config, OBJECT).unwrap();
        assert_eq!(second.tables().unwrap(), tables);
        assert_ne!(tables.settings.hash_key, [0; 5]);
        assert_ne!(second.interfaces().unwrap(), program, "the program is the new agent's");
        assert_eq!(link_id(director.pins(), "nic"), link, "the link was never let go");
    });
}

#[test]
fn a_foreign_program_is_named_and_left_alone() {
    on_a_director(|director| {
        let mut other = director.config(&["nic"]);
        other.pin_path = director.pins().join("other");
        let owner = Datapath::open(&other, OBJECT).unwrap();
        let id = owner.interfaces().unwrap()[0].program_id;
        let error = Datapath::open(&director.config(&["nic"]), OBJECT).err().unwrap();
        let DatapathError::Foreign { interface, id: found, name } = &error else {
            panic!("{error}")
        };
        assert_eq!((interface.as_str(), *found, name.as_str()), ("nic", id, "sluice"));
        assert_eq!(owner.interfaces().unwrap()[0].program_id, id);
        assert!(!director.pins().join("SETTINGS").exists(), "nothing was left behind");
        assert!(detach(&other.pin_path).unwrap());
        assert!(comes_to_run_none("nic"));
    });
}

#[test]
fn an_interface_that_does_not_exist_is_named_and_nothing_is_attached() {
    on_a_director(|director| {
        let error = Datapath::open(&director.config(&["nic", "eth7"]), OBJECT).err().unwrap();
        assert_eq!(error.to_string(), "there is no interface eth7");
        let error = Datapath::open(&director.config(&["nic", "lo"]), OBJECT).err().unwrap();
        assert_eq!(error.to_string(), "lo is not an Ethernet interface");
        assert!(!runs_a_program("nic") && !director.pins().exists());
    });
}

#[test]
fn maps_of_another_layout_are_refused_and_kept() {
    on_a_director(|director| {
        let config = director.config(&["nic"]);
        let mut datapath = Datapath::open(&config, OBJECT).unwrap();
        let before = datapath.tables().unwrap();
        let program = datapath.interfaces().unwrap();
        let settings = layout::Settings { layout: 99, ..before.settings };
        datapath.apply(&[Write::Settings(Box::new(settings))]).unwrap();
        let error = Datapath::open(&config, OBJECT).err().unwrap().to_string();
        assert!(error.contains("it has version 99 of the layout"), "{error}");
        assert_eq!(datapath.interfaces().unwrap(), program);
    });
}

#[test]
fn a_first_start_that_was_cut_short_is_finished_by_the_next() {
    on_a_director(|director| {
        let config = director.config(&["nic"]);
        let mut datapath = Datapath::open(&config, OBJECT).unwrap();
        let settings = layout::Settings {
            hash_key: [0; 5],
            layout: 0,
            bucket_mask: 0,
            ..datapath.tables().unwrap().settings
        };
        datapath.apply(&[Write::Settings(Box::new(settings))]).unwrap();
        for pin in ["program", "link-nic", "VERDICTS"] {
            std::fs::remove_file(director.pins().join(pin)).unwrap();
        }
        assert!(comes_to_run_none("nic"), "a link ends some time after its pin");
        let again = Datapath::open(&config, OBJECT).unwrap();
        assert_eq!(again.tables().unwrap().settings.bucket_mask, 511);
    });
}

#[test]
fn an_interface_that_left_the_configuration_is_detached() {
    on_a_director(|director| {
        add_wire("nic.100", "peer2");
        Datapath::open(&director.config(&["nic", "nic.100"]), OBJECT).unwrap();
        assert!(runs_a_program("nic") && runs_a_program("nic.100"));
        let datapath = Datapath::open(&director.config(&["nic.100"]), OBJECT).unwrap();
        assert!(comes_to_run_none("nic") && runs_a_program("nic.100"));
        assert_eq!(datapath.interfaces().unwrap().len(), 1);
        let known: aya::maps::Array<_, layout::Interface> =
            map_of(director.pins(), map::INTERFACES);
        let taken = known.iter().filter(|place| place.as_ref().unwrap().index != 0);
        assert_eq!(taken.count(), 1);
    });
}

#[test]
fn an_interface_that_was_made_anew_is_attached_again() {
    on_a_director(|director| {
        let config = director.config(&["nic"]);
        Datapath::open(&config, OBJECT).unwrap();
        ip("link del nic");
        add_wire("nic", "peer");
        assert!(!runs_a_program("nic"));
        Datapath::open(&config, OBJECT).unwrap();
        assert!(runs_a_program("nic"));
    });
}

#[test]
fn detaching_removes_program_and_pins() {
    on_a_director(|director| {
        Datapath::open(&director.config(&["nic"]), OBJECT).unwrap();
        assert!(detach(director.pins()).unwrap());
        assert!(comes_to_run_none("nic") && !director.pins().exists());
        assert!(!detach(director.pins()).unwrap(), "there is nothing left");
    });
}

#[test]
fn what_is_written_is_read_back() {
    on_a_director(|director| {
        let mut datapath = Datapath::open(&director.config(&["nic"]), OBJECT).unwrap();
        let (v4, v6) = (tcp("203.0.113.10:80"), tcp("[2001:db8::10]:80"));
        let (vip4, vip6) = (address("203.0.113.10"), address("2001:db8::10"));
        datapath
            .apply(&[
                Write::Backend { id: 20, value: backend(1) },
                Write::Backend { id: 21, value: backend(2) },
                Write::Slots { base: 100, slots: slots(&[20, 21]) },
                Write::Slots { base: 102, slots: slots(&[21]) },
                Write::Listener { id: 5, value: listener(5, run(100, 2)) },
                Write::Listener { id: 6, value: listener(5, run(100, 2)) },
                Write::Point { key: v4, id: 5 },
                Write::Point { key: v6, id: 6 },
                Write::Vip { address: vip4, value: Vip { closed: 1 } },
                Write::Vip { address: vip6, value: Vip { closed: 0 } },
                Write::Run { id: 6, run: run(102, 1) },
                Write::Draw { id: 6, value: listener(7, 0) },
            ])
            .unwrap();
        let tables = datapath.tables().unwrap();
        assert_eq!(tables.backends, BTreeMap::from([(20, backend(1)), (21, backend(2))]));
        assert_eq!(tables.runs, BTreeMap::from([(100, slots(&[20, 21])), (102, slots(&[21]))]));
        let listeners = [(5, listener(5, run(100, 2))), (6, listener(7, run(102, 1)))];
        assert_eq!(tables.listeners, BTreeMap::from(listeners));
        assert_eq!(tables.pointers, BTreeMap::from([(v4, 5), (v6, 6)]));
        let expected = [(vip4, Vip { closed: 1 }), (vip6, Vip { closed: 0 })];
        assert_eq!(tables.vips, BTreeMap::from(expected));
        datapath
            .apply(&[
                Write::Unpoint { key: v4 },
                Write::Unpoint { key: v6 },
                Write::FreeListener { id: 5 },
                Write::FreeListener { id: 6 },
                Write::FreeBackend { id: 20 },
                Write::FreeBackend { id: 21 },
                Write::RemoveVip { address: vip4 },
                Write::RemoveVip { address: vip6 },
            ])
            .unwrap();
        let empty = datapath.tables().unwrap();
        assert!(empty.vips.is_empty() && empty.pointers.is_empty() && empty.backends.is_empty());
        assert!(empty.listeners.is_empty() && empty.runs.is_empty());
    });
}

#[test]
fn an_id_that_is_given_anew_starts_to_count_from_zero() {
    on_a_director(|director| {
        let mut datapath = Datapath::open(&director.config(&["nic"]), OBJECT).unwrap();
        let mut traffic: PerCpuArray<_, Traffic> = map_of(director.pins(), map::BACKEND_TRAFFIC);
        let mut verdicts: PerCpuArray<_, Count> = map_of(director.pins(), map::VERDICTS);
        let cpus = aya::util::nr_cpus().unwrap();
        let flow = Traffic { flows: 3, ..Traffic::default() };
        traffic.set(20, PerCpuValues::try_from(vec![flow; cpus]).unwrap(), 0).unwrap();
        let packet = Count { packets: 1, bytes: 60 };
        let per_cpu = PerCpuValues::try_from(vec![packet; cpus]).unwrap();
        verdicts.set(Verdict::ToBackend.number(), per_cpu, 0).unwrap();
        let flows = |datapath: &Datapath| datapath.counters([], [20]).unwrap().backends[&20].flows;

        let sum = u64::try_from(cpus).unwrap();
        assert_eq!(flows(&datapath), 3 * sum);
        let counted = datapath.counters([], []).unwrap().verdicts[&Verdict::ToBackend];
        assert_eq!((counted.packets, counted.bytes), (sum, 60 * sum));
        datapath.apply(&[Write::Backend { id: 20, value: backend(1) }]).unwrap();
        assert_eq!(flows(&datapath), 0);
        traffic.set(20, PerCpuValues::try_from(vec![flow; cpus]).unwrap(), 0).unwrap();
        datapath.apply(&[Write::Backend { id: 20, value: backend(2) }]).unwrap();
        assert_eq!(flows(&datapath), 3 * sum, "the id was in use");
    });
}

#[test]
fn flows_are_listed_with_their_details_and_swept_when_idle() {
    on_a_director(|director| {
        let mut datapath = Datapath::open(&director.config(&["nic"]), OBJECT).unwrap();
        let settings =
            layout::Settings { timeouts: [10; 8], ..datapath.tables().unwrap().settings };
        datapath.apply(&[Write::Settings(Box::new(settings))]).unwrap();
        let mut cells: Array<_, Bucket> = map_of(director.pins(), map::FLOWS);
        let mut details: Array<_, Detail> = map_of(director.pins(), map::DETAILS);
        let open = Cell::new(77, 20, 1000, State::Established, false);
        let reply = Cell::new(78, 20, 1000, State::Established, true);
        cells.set(3, [0, open.0, 0, 0, 0, 0, 0, reply.0], 0).unwrap();
        let mut detail = details.get(&25, 0).unwrap();
        detail.source_port = 4711;
        details.set(25, detail, 0).unwrap();

        let flows = datapath.flows();
        let is_detail_of =
            |found: &Detail, _: &Backend, tag| found.source_port == 4711 && tag == 77;
        let (total, listed) = flows.list(1004, 10, |id| id == 20, is_detail_of).unwrap();
        assert_eq!((total, listed.len()), (1, 1));
        assert_eq!((listed[0].detail, listed[0].idle_ticks), (detail, 4));
        assert_eq!(flows.list(1004, 10, |id| id == 21, is_detail_of).unwrap().0, 0);
        assert_eq!(flows.list(1004, 10, |_| true, |_, _, _| false).unwrap(), (1, vec![]));
        let counts = flows.sweep(1010).unwrap().counts().unwrap();
        assert_eq!((counts.total, counts.cells[&20], counts.expired), (1, 2, 0));
        assert_eq!(flows.sweep(1011).unwrap().counts().unwrap().expired, 2);
        assert_eq!(cells.get(&3, 0).unwrap(), [0; 8]);
    });
}
