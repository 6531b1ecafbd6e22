//! One of two directors dies, loses its link, stops, is stopped or is released; requests and connections go on.

use std::time::Duration;

use lb_tests::capture::Capture;
use lb_tests::clock::wait_until;
use lb_tests::http_client::Connection;
use lb_tests::load::{Load, failures};
use lb_tests::pair::{Director, Pair, vips};
use lb_tests::world::Host;
use nix::sys::signal::Signal;

use crate::cast::{
    WITHIN, both, holds, n_changes, restart_as_backup, serve, tables, wait_for_answers,
};

/// Announcements of the IPv4 VIP: ARP requests in which it is the sender.
const GRATUITOUS: &str = "arp and arp[14:4] = 0xc6336464";

/// The ports of a director at the switches.
const PORTS: [&str; 2] = ["lb1-front", "lb1-back"];

/// An answer that is under way when the backends' gateway moves finds a director that does not know its flow, for
/// flows are not shared. Each of the two senders may lose one; whatever is asked anew is answered.
fn assert_only_answers_under_way_are_lost(load: Load) {
    let exchanges = load.stop().unwrap();
    let failures = failures(&exchanges);
    let is_under_way = |failure: &&String| failure.starts_with("read the answer");
    assert!(failures.len() <= vips().len() && failures.iter().all(is_under_way), "{failures:?}");
}

#[test]
fn the_other_director_takes_over_when_one_is_dead_and_keeps_the_addresses() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let [mut lb1, lb2] = both(&pair, "");
    assert_eq!((holds(&lb1), holds(&lb2)), ([true; 2], [false; 2]));
    wait_for_answers(&pair);
    // The machine dies: its agent, and everything that it answers.
    lb1.process.kill().unwrap();
    for port in PORTS {
        pair.deafen(port, true).unwrap();
    }
    lb2.wait_for("active").unwrap();
    wait_for_answers(&pair);
    // It comes back with a higher priority, and does not preempt.
    for port in PORTS {
        pair.deafen(port, false).unwrap();
    }
    restart_as_backup(&pair, &mut lb1, &lb2);
}

#[test]
fn a_link_that_is_lost_on_either_side_moves_all_addresses() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let [lb1, lb2] = both(&pair, "preempt = true");
    for port in PORTS {
        pair.unplug(port).unwrap();
        lb1.wait_for("initialize").unwrap();
        lb2.wait_for("active").unwrap();
        wait_for_answers(&pair);
        pair.plug_in(port).unwrap();
        lb1.wait_for("active").unwrap();
        lb2.wait_for("backup").unwrap();
        assert_eq!((holds(&lb1), holds(&lb2)), ([true; 2], [false; 2]));
        wait_for_answers(&pair);
    }
}

#[test]
fn a_clean_stop_refuses_no_request() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let [mut lb1, lb2] = both(&pair, "");
    wait_for_answers(&pair);
    let load = Load::start(&pair.client.namespace, &vips()).unwrap();
    load.wait_for_more(100).unwrap();
    lb1.process.terminate(Duration::from_secs(10)).unwrap();
    lb2.wait_for("active").unwrap();
    load.wait_for_more(100).unwrap();
    assert_only_answers_under_way_are_lost(load);
    assert_eq!((holds(&lb1), holds(&lb2)), ([false; 2], [true; 2]));
}

#[test]
fn a_director_that_is_released_stays_back_until_it_is_needed() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let [lb1, mut lb2] = both(&pair, "preempt = true");
    let load = Load::start(&pair.client.namespace, &vips()).unwrap();
    load.wait_for_more(100).unwrap();
    let status = lb1.ctl_json(&["vrrp", "release", "pair"]).unwrap();
    assert_eq!(status["routers"][0]["state"], "backup");
    lb2.wait_for("active").unwrap();
    load.wait_for_more(100).unwrap();
    assert_only_answers_under_way_are_lost(load);
    assert_eq!((holds(&lb1), lb1.states().unwrap()), ([false; 2], vec!["backup".to_owned()]));
    let again = lb1.ctl().args(["vrrp", "release", "vip"]).output().unwrap();
    assert_eq!(again.status.code(), Some(1));
    let nobody = lb1.ctl().args(["vrrp", "release", "nobody"]).output().unwrap();
    assert_eq!(nobody.status.code(), Some(4));
    lb2.process.kill().unwrap();
    lb1.wait_for("active").unwrap();
}

#[test]
fn the_preferred_director_takes_over_again_after_its_delay() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let preempt = "preempt = true\npreempt_delay = '3s'";
    let lb2 = Director::start(&pair, 2, &tables(100, preempt)).unwrap();
    lb2.wait_for("active").unwrap();
    wait_for_answers(&pair);
    let load = Load::start(&pair.client.namespace, &vips()).unwrap();
    let lb1 = Director::start(&pair, 1, &tables(200, preempt)).unwrap();
    lb1.wait_for("active").unwrap();
    lb2.wait_for("backup").unwrap();
    load.wait_for_more(100).unwrap();
    assert_only_answers_under_way_are_lost(load);
    let history = lb1.ctl_json(&["vrrp", "history", "--router", "vip"]).unwrap();
    let changes = history.as_array().unwrap();
    let states = changes.iter().map(|change| change["to"].as_str().unwrap());
    assert_eq!(states.collect::<Vec<_>>(), ["backup", "active"]);
    let at = |change: usize| changes[change]["at_unix"].as_u64().unwrap();
    assert!(at(1) - at(0) >= 3, "{history}");
}

#[test]
fn a_director_that_was_stopped_for_seconds_comes_back_as_backup() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let [lb1, lb2] = both(&pair, "");
    lb1.process.signal(Signal::SIGSTOP).unwrap();
    lb2.wait_for("active").unwrap();
    lb1.process.signal(Signal::SIGCONT).unwrap();
    lb1.wait_for("backup").unwrap();
    assert_eq!((holds(&lb1), holds(&lb2)), ([false; 2], [true; 2]));
    assert_eq!(lb2.states().unwrap(), ["active"], "it was not preempted");
    // A Backup that was stopped does not take over when it goes on.
    let before = n_changes(&lb1);
    lb1.process.signal(Signal::SIGSTOP).unwrap();
    let sent = |status: &serde_json::Value| status["routers"][0]["adverts_sent"].as_u64();
    let so_far = sent(&lb2.ctl_json(&["vrrp", "status"]).unwrap());
    // More than lb1 would wait for.
    lb2.wait_for_status("lb2 to send on", |status| sent(status) > so_far.map(|n| n + 10)).unwrap();
    lb1.process.signal(Signal::SIGCONT).unwrap();
    wait_for_answers(&pair);
    assert_eq!((n_changes(&lb1), lb1.states().unwrap()), (before, vec!["backup".to_owned()]));
}

#[test]
fn a_split_network_heals_without_help() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let [lb1, lb2] = both(&pair, "");
    let listening = Capture::start_in(pair.folder(), pair.port("client"), GRATUITOUS).unwrap();
    // lb2 does not hear lb1, nor does lb1 hear lb2.
    for port in ["lb2-front", "lb2-back"] {
        pair.deafen(port, true).unwrap();
    }
    lb2.wait_for("active").unwrap();
    assert_eq!(lb1.states().unwrap(), ["active"]);
    for port in ["lb2-front", "lb2-back"] {
        pair.deafen(port, false).unwrap();
    }
    lb2.wait_for("backup").unwrap();
    assert_eq!((holds(&lb1), holds(&lb2)), ([true; 2], [false; 2]));
    // The winner's announcements are the last that the clients' network has seen.
    wait_for_answers(&pair);
    let lb1_mac = mac_of(&pair, 0, "front");
    let is_last = |text: &str| {
        let mut lines = text.lines().filter(|line| line.contains("ARP"));
        lines.next_back().is_some_and(|line| line.contains(&lb1_mac))
    };
    wait_until("lb1's announcement", WITHIN, || Ok(is_last(&listening.text()))).unwrap();
}

fn mac_of(pair: &Pair, director: usize, interface: &str) -> String {
    let machine = &pair.directors[director];
    let shown = machine.command("ip").args(["-o", "link", "show", interface]).output().unwrap();
    let text = String::from_utf8(shown.stdout).unwrap();
    text.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap().to_owned()
}

#[test]
fn connections_through_a_director_that_stands_down_go_on_while_packets_still_come() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let [lb1, lb2] = both(&pair, "");
    let open = || vips().map(|vip| Connection::open(vip, Duration::from_secs(5)).unwrap());
    let mut connections = pair.client.namespace.enter(open).unwrap();
    // Neither side learns of the move.
    let pin = |host: &Host, addresses: [&str; 2], interface| {
        let mac = mac_of(&pair, 0, interface);
        for address in addresses {
            let line = format!("neigh replace {address} lladdr {mac} dev eth0 nud permanent");
            host.namespace.ip(&line).unwrap();
        }
    };
    pin(&pair.client, ["198.51.100.100", "2001:db8:1::100"], "front");
    pin(&pair.backends[0], ["192.0.2.1", "2001:db8:2::1"], "back");
    lb1.ctl_json(&["vrrp", "release", "pair"]).unwrap();
    lb2.wait_for("active").unwrap();
    for connection in &mut connections {
        assert_eq!(connection.get("/").unwrap().backend, "web1");
    }
}
