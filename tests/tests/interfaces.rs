//! Interfaces and next hops that change while the agent runs.
#![cfg(feature = "root")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(unreachable_pub, reason = "a module that several tests share")]

#[expect(dead_code, reason = "the tests of the packet path use the rest")]
mod director;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aya::maps::{Array, Map, MapData};
use lb_agent::io::causes::with_causes;
use lb_agent::io::datapath::{Datapath, DatapathError, OBJECT, detach};
use lb_agent::io::netlink::{follow_links, links};
use lb_agent::model::config::XdpMode;
use lb_agent::model::tables::Write;
use lb_common::layout::{Backend, Interface};
use lb_common::{INTERFACE_PLACES, map};
use lb_tests::agent::{Agent, shop};
use lb_tests::binaries::Binaries;
use lb_tests::clock::wait_until;
use lb_tests::load::{by_backend, failures, send_in_turn};
use lb_tests::web::{PORT, Web};
use lb_tests::world::{Arms, World, vips};
use tokio::sync::mpsc;

use director::{Director, add_wire, ip, on_a_director};

/// Has the interfaces followed until these are the problems: the kernel tells of a carrier up to a second
/// late (`net/core/link_watch.c`).
fn expect(datapath: &mut Datapath, problems: &[&str]) {
    let mut found = || -> Vec<String> {
        datapath.follow_interfaces().iter().map(|problem| with_causes(problem)).collect()
    };
    let what = format!("the problems {problems:?}");
    wait_until(&what, Duration::from_secs(5), || Ok(found() == problems)).unwrap();
}

/// What the packet path knows of its interfaces: index and MAC address.
fn known(director: &Director) -> Vec<(u32, [u8; 6])> {
    let data = MapData::from_pin(director.pins().join(map::INTERFACES)).unwrap();
    let places: Array<_, Interface> = Map::from_map_data(data).unwrap().try_into().unwrap();
    let known = places.iter().map(Result::unwrap).filter(|place| place.index != 0);
    known.map(|place| (u32::try_from(place.index).unwrap(), place.mac)).collect()
}

fn there_is(interface: &str) -> (u32, [u8; 6]) {
    let link = links().unwrap().into_iter().find(|link| link.name == interface).unwrap();
    (link.index, link.mac.unwrap())
}

#[test]
fn interfaces_that_would_have_the_same_place_have_one_each() {
    on_a_director(|director| {
        let index = there_is("nic").0 + INTERFACE_PLACES;
        ip(&format!("link add far index {index} type veth peer name farther"));
        let open = |names: &[&str]| Datapath::open(&director.config(names), OBJECT).unwrap();
        for names in [&["far", "nic"][..], &["far"], &["nic", "far"], &["nic"]] {
            drop(open(names));
            let mut expected: Vec<_> = names.iter().map(|name| there_is(name)).collect();
            let mut known = known(director);
            expected.sort_unstable();
            known.sort_unstable();
            assert_eq!(known, expected);
        }
    });
}

#[test]
fn the_packet_path_learns_another_mac_address_of_its_interface() {
    on_a_director(|director| {
        let mut datapath = Datapath::open(&director.config(&["nic"]), OBJECT).unwrap();
        ip("link set nic address 02:00:00:00:00:77");
        expect(&mut datapath, &[]);
        assert_eq!(known(director), [(there_is("nic").0, [2, 0, 0, 0, 0, 0x77])]);
    });
}

#[test]
fn an_interface_without_a_link_is_told_until_it_is_up_again() {
    on_a_director(|director| {
        let mut datapath = Datapath::open(&director.config(&["nic"]), OBJECT).unwrap();
        ip("link set peer down");
        expect(&mut datapath, &["nic has no carrier"]);
        ip("link set nic down");
        expect(&mut datapath, &["nic is down"]);
        ip("link set nic up");
        ip("link set peer up");
        expect(&mut datapath, &[]);
        assert_eq!(known(director), [there_is("nic")]);
    });
}

#[test]
fn an_interface_that_comes_back_is_attached_while_the_agent_runs() {
    on_a_director(|director| {
        add_wire("nic2", "peer2");
        let mut datapath = Datapath::open(&director.config(&["nic", "nic2"]), OBJECT).unwrap();
        ip("link del nic");
        expect(&mut datapath, &["there is no interface nic"]);
        assert_eq!(known(director), [there_is("nic2")]);
        add_wire("nic", "peer");
        for _ in 0..2 {
            expect(&mut datapath, &[]);
            assert_eq!(datapath.interfaces().unwrap().len(), 2);
            let mut both = [there_is("nic"), there_is("nic2")];
            let mut found = known(director);
            both.sort_unstable();
            found.sort_unstable();
            assert_eq!(found, both);
        }
        drop(datapath);
        let after_restart = Datapath::open(&director.config(&["nic", "nic2"]), OBJECT).unwrap();
        assert_eq!(after_restart.interfaces().unwrap().len(), 2);
    });
}

#[test]
fn an_interface_that_comes_back_with_a_foreign_program_is_left_alone() {
    on_a_director(|director| {
        let mut datapath = Datapath::open(&director.config(&["nic"]), OBJECT).unwrap();
        ip("link del nic");
        add_wire("nic", "peer");
        let mut other = director.config(&["nic"]);
        other.pin_path = director.pins().join("other");
        let owner = Datapath::open(&other, OBJECT).unwrap();
        let problems = datapath.follow_interfaces();
        assert!(matches!(problems[..], [DatapathError::Foreign { .. }]), "{problems:?}");
        assert_ne!(owner.interfaces().unwrap()[0].program_id, 0);
        assert!(lb_agent::io::datapath::detach(&other.pin_path).unwrap());
    });
}

#[test]
fn every_change_of_an_interface_is_told() {
    on_a_director(|_| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (sender, mut changes) = mpsc::channel(1);
            follow_links(sender, || ()).unwrap();
            for change in ["link set nic down", "link set nic up", "link del nic"] {
                ip(change);
                let told = tokio::time::timeout(Duration::from_secs(5), changes.recv()).await;
                assert_eq!(told, Ok(Some(())), "{change}");
            }
        });
    });
}

/// A backend that is up, by a next hop whose MAC addresses are all of one byte.
fn behind(interface: u32, mac: u8) -> Backend {
    Backend {
        address: [5, 0, 0, 0],
        vip: [6, 0, 0, 0],
        listener: 3,
        interface,
        macs: [mac; 12],
        port: 80,
        vip_port: 80,
        delta: 0,
        mtu: 0,
        state: 1,
        protocol: 6,
        family: 4,
        forward: 0,
    }
}

#[test]
fn no_packet_finds_a_new_next_hop_by_half() {
    on_a_director(|director| {
        let mut datapath = Datapath::open(&director.config(&["nic"]), OBJECT).unwrap();
        let (old, new) = (behind(2, 7), behind(3, 8));
        let write = |value| Write::Backend { id: 9, value };
        datapath.apply(&[write(old)]).unwrap();
        let data = MapData::from_pin(director.pins().join(map::BACKENDS)).unwrap();
        let entries: Array<_, Backend> = Map::from_map_data(data).unwrap().try_into().unwrap();
        let is_over = AtomicBool::new(false);
        let seen = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen: Vec<Backend> = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    let entry = entries.get(&9, 0).unwrap();
                    if seen.last() != Some(&entry) {
                        seen.push(entry);
                    }
                }
                seen
            });
            for _ in 0..20 {
                datapath.apply(&[write(new)]).unwrap();
                datapath.apply(&[write(old)]).unwrap();
            }
            is_over.store(true, Ordering::Relaxed);
            reader.join().unwrap()
        });
        let open = seen.iter().filter(|entry| entry.interface != 0);
        assert!(open.clone().all(|entry| *entry == old || *entry == new), "{seen:?}");
        for closed in [behind(0, 7), behind(0, 8)] {
            assert!(seen.contains(&closed), "{seen:?}");
        }
    });
}

#[test]
fn jumbo_frames_are_refused_in_native_mode_with_their_mtu_and_the_remedy() {
    on_a_director(|director| {
        for end in ["nic", "peer"] {
            ip(&format!("link set {end} mtu 9000"));
        }
        let mut config = director.config(&["nic"]);
        config.xdp_mode = XdpMode::Native;
        let error = Datapath::open(&config, OBJECT).err().unwrap();
        let message = with_causes(&error);
        for part in ["nic", "its MTU is 9000", "`ip link set dev nic mtu 3400`", "os error 34"] {
            assert!(message.contains(part), "{part} is not in {message}");
        }
        assert!(links().unwrap().iter().all(|link| link.xdp.is_none()));
        config.xdp_mode = XdpMode::Auto;
        let datapath = Datapath::open(&config, OBJECT).unwrap();
        assert_eq!(datapath.interfaces().unwrap()[0].mode, "generic");
        drop(datapath);
        detach(director.pins()).unwrap();
        for end in ["nic", "peer"] {
            ip(&format!("link set {end} mtu 3400"));
        }
        let datapath = Datapath::open(&config, OBJECT).unwrap();
        assert_eq!(datapath.interfaces().unwrap()[0].mode, "native");
    });
}

#[test]
fn clients_are_served_again_after_their_interface_was_made_anew() {
    let world = World::new(Arms::Two, 2).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    let _webs = Web::start_all(&world, &binaries).unwrap();
    let agent = Agent::start(&world, &binaries, &shop(&world)).unwrap();
    agent.wait_until_all_up().unwrap();
    let warnings = || agent.ctl_json(&["status"]).map(|status| status["warnings"].to_string());
    assert_eq!(warnings().unwrap(), "[]");
    world.director.ip("link del front").unwrap();
    let missing = "use all interfaces: there is no interface front";
    let within = Duration::from_secs(5);
    wait_until("a warning", within, || Ok(warnings()?.contains(missing))).unwrap();
    world.rewire_client().unwrap();
    wait_until("no warning", within, || Ok(warnings()? == "[]")).unwrap();
    let exchanges = send_in_turn(&world.client.namespace, &vips(PORT), 40).unwrap();
    assert_eq!(failures(&exchanges), Vec::<&String>::new());
    assert_eq!(by_backend(&exchanges).len(), 2);
}
