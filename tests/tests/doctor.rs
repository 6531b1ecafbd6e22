//! What the doctor finds on real interfaces.
#![cfg(feature = "root")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(unreachable_pub, reason = "a module that several tests share")]

#[expect(dead_code, reason = "the tests of the packet path use the rest")]
mod director;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use lb_agent::io::datapath::{Datapath, OBJECT};
use lb_agent::io::doctor::{evaluate, gather};
use lb_agent::model::config::parse;
use lb_common::api::Check;
use lb_tests::command::run;

use director::{Director, Neighbour, on_a_director};

/// What the doctor says of `nic`, which runs the program in native mode.
fn examine(director: &Director, subject: &str) -> Option<Check> {
    let pins = director.pins().display();
    let text = format!("version = 1\n[datapath]\ninterfaces = [\"nic\"]\npin_path = \"{pins}\"\n");
    let config = parse("lb.toml", &text, "director").unwrap().config;
    let modes = BTreeMap::from([("nic".to_owned(), "native".to_owned())]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let facts = runtime.block_on(gather(&config, &modes, BTreeSet::new(), BTreeMap::new()));
    evaluate(&facts).into_iter().find(|check| check.name == format!("{subject} nic"))
}

fn turn(interface: &str, feature: &str, state: &str) {
    run(Command::new("ethtool").args(["-K", interface, feature, state])).unwrap();
}

#[test]
fn a_veth_whose_other_end_does_not_poll_is_found_until_it_does() {
    on_a_director(|director| {
        drop(Datapath::open(&director.config(&["nic"]), OBJECT).unwrap());
        let found = examine(director, "veth peer").unwrap();
        assert!(!found.ok, "{found:?}");
        assert_eq!(found.remedy.unwrap(), "ethtool -K peer gro on, while both ends are up");
        turn("peer", "gro", "on");
        assert!(examine(director, "veth peer").unwrap().ok);
        turn("peer", "gro", "off");
        assert!(!examine(director, "veth peer").unwrap().ok);
        let both = Datapath::open(&director.config(&["nic", "peer"]), OBJECT).unwrap();
        assert!(examine(director, "veth peer").unwrap().ok, "{:?}", both.interfaces());
    });
}

#[test]
fn nothing_is_said_of_a_veth_whose_other_end_is_in_another_namespace() {
    on_a_director(|director| {
        let _neighbour = Neighbour::behind_the_wire();
        assert_eq!(examine(director, "veth peer"), None);
    });
}

#[test]
fn the_offload_of_vlan_tags_is_seen() {
    on_a_director(|director| {
        turn("nic", "rxvlan", "on");
        let found = examine(director, "VLAN offload").unwrap();
        assert!(found.ok && found.detail.contains("ethtool -K nic rxvlan off"), "{found:?}");
        turn("nic", "rxvlan", "off");
        assert_eq!(examine(director, "VLAN offload").unwrap().detail, "off");
    });
}
