//! Virtual MAC addresses: neighbours keep what they know, the switch learns, and only the Active director takes part.

use std::time::Duration;

use lb_tests::capture::Capture;
use lb_tests::clock::wait_until;
use lb_tests::command::run;
use lb_tests::http_client::Connection;
use lb_tests::load::{Load, failures};
use lb_tests::namespace::Namespace;
use lb_tests::pair::{Director, Pair, VIP_V4, VIP_V6, vips};
use lb_tests::world::Host;

use crate::cast::{WITHIN, holds, n_changes, serve, tables, wait_for_answers};

/// The addresses of the clients' side and those of the backends' gateway, and where they are: ids 51 and 52.
const VIPS: [(&str, &str); 2] =
    [("198.51.100.100", "00:00:5e:00:01:33"), ("2001:db8:1::100", "00:00:5e:00:02:33")];
const GATEWAYS: [(&str, &str); 2] =
    [("192.0.2.1", "00:00:5e:00:01:34"), ("2001:db8:2::1", "00:00:5e:00:02:34")];

fn with_macs(priority: u8) -> String {
    let text = tables(priority, "virtual_mac = true");
    text.replace("192.0.2.1/24", "192.0.2.1").replace("2001:db8:2::1/64", "2001:db8:2::1")
}

/// Two directors, of which the first is Active.
fn both(pair: &Pair) -> [Director<'_>; 2] {
    let lb1 = Director::start(pair, 1, &with_macs(200)).unwrap();
    lb1.wait_for("active").unwrap();
    let lb2 = Director::start(pair, 2, &with_macs(100)).unwrap();
    lb2.wait_for("backup").unwrap();
    [lb1, lb2]
}

/// Asserts what a host knows of these neighbours.
#[track_caller]
fn assert_known(host: &Host, neighbours: [(&str, &str); 2]) {
    for (address, mac) in neighbours {
        let shown = run(host.namespace.command("ip").args(["neigh", "show", address])).unwrap();
        assert!(shown.contains(mac), "{address} should be at {mac}: {shown}");
    }
}

/// The same of the client and of a backend.
#[track_caller]
fn assert_all_known(pair: &Pair) {
    assert_known(&pair.client, VIPS);
    assert_known(&pair.backends[0], GATEWAYS);
}

/// Waits until a switch has learned that these are behind a port.
fn wait_until_learned(pair: &Pair, bridge: &str, port: &str, neighbours: [(&str, &str); 2]) {
    let switch = pair.port(port).namespace;
    let is_learned = |table: &str, mac: &str| {
        table.lines().any(|line| line.starts_with(&format!("{mac} dev {port} ")))
    };
    let mut table = String::new();
    let learned = wait_until("the switch to learn", WITHIN, || {
        table = run(switch.command("bridge").args(["fdb", "show", "br", bridge]))?;
        Ok(neighbours.iter().all(|(_, mac)| is_learned(&table, mac)))
    });
    learned.unwrap_or_else(|error| panic!("{error}: {port}\n{table}"));
}

fn connections(pair: &Pair) -> [Connection; 2] {
    let open = || vips().map(|vip| Connection::open(vip, Duration::from_secs(10)).unwrap());
    pair.client.namespace.enter(open).unwrap()
}

/// Packets of clients that a director has sent to backends.
fn sent_to_backends(director: &Director<'_>) -> u64 {
    let metrics = director.metrics().unwrap();
    let mut lines = metrics.lines().filter(|line| line.starts_with("lb_packets_total{"));
    let line = lines.find(|line| line.contains("verdict=\"to_backend\"")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Names of the devices with virtual MAC addresses on a machine, and whether they are up.
fn devices(machine: &Namespace) -> Vec<(String, bool)> {
    let shown = run(machine.command("ip").args(["-o", "link", "show", "type", "macvlan"])).unwrap();
    let device = |line: &str| {
        let name = line.split(": ").nth(1).unwrap().split('@').next().unwrap();
        (name.to_owned(), line.contains(",UP"))
    };
    shown.lines().map(device).collect()
}

fn arp(machine: &Namespace) -> String {
    let settings = ["front", "back"].map(|name| {
        [format!("ipv4/conf/{name}/arp_ignore"), format!("ipv4/conf/{name}/arp_announce")]
    });
    let read = |key: &String| run(machine.command("cat").arg(format!("/proc/sys/net/{key}")));
    settings.iter().flatten().map(|key| read(key).unwrap().trim().to_owned()).collect()
}

#[test]
fn neighbours_keep_the_mac_address_when_another_director_takes_over() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let [mut lb1, lb2] = both(&pair);
    assert_eq!((holds(&lb1), holds(&lb2)), ([true; 2], [false; 2]));
    wait_for_answers(&pair);
    let mut open = connections(&pair);
    assert_all_known(&pair);
    wait_until_learned(&pair, "fronts", "lb1-front", VIPS);
    wait_until_learned(&pair, "backs", "lb1-back", GATEWAYS);
    // The machine dies.
    lb1.process.kill().unwrap();
    pair.deafen_director(1, true).unwrap();
    lb2.wait_for("active").unwrap();
    for connection in &mut open {
        assert_eq!(connection.get("/").unwrap().backend, "web1");
    }
    assert_all_known(&pair);
    wait_until_learned(&pair, "fronts", "lb2-front", VIPS);
    wait_until_learned(&pair, "backs", "lb2-back", GATEWAYS);
    // It comes back while its devices are up, and leaves all to the other.
    lb1.restart().unwrap();
    pair.deafen_director(1, false).unwrap();
    lb1.wait_for("backup").unwrap();
    assert_eq!((holds(&lb1), holds(&lb2)), ([false; 2], [true; 2]));
    wait_for_answers(&pair);
    wait_until_learned(&pair, "fronts", "lb2-front", VIPS);
    for connection in &mut open {
        assert_eq!(connection.get("/").unwrap().backend, "web1");
    }
}

#[test]
fn a_director_that_is_released_leaves_the_mac_address_and_no_request_is_lost() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let before = arp(&pair.directors[0]);
    let [mut lb1, lb2] = both(&pair);
    wait_for_answers(&pair);
    let load = Load::start(&pair.client.namespace, &vips()).unwrap();
    load.wait_for_more(100).unwrap();
    lb1.ctl_json(&["vrrp", "release", "pair"]).unwrap();
    lb2.wait_for("active").unwrap();
    load.wait_for_more(100).unwrap();
    // Flows are not shared: an answer under way finds a director that does not know it.
    let exchanges = load.stop().unwrap();
    let failures = failures(&exchanges);
    let is_under_way = |failure: &&String| failure.starts_with("read the answer");
    assert!(failures.len() <= vips().len() && failures.iter().all(is_under_way), "{failures:?}");
    wait_until_learned(&pair, "fronts", "lb2-front", VIPS);
    wait_until_learned(&pair, "backs", "lb2-back", GATEWAYS);
    let are_down = || Ok(devices(lb1.namespace).iter().all(|(_, is_up)| !is_up));
    wait_until("the devices of lb1 to be down", WITHIN, are_down).unwrap();
    assert_known(&pair.client, VIPS);
    // With the agent they go, and what they needed.
    assert_ne!(arp(lb1.namespace), before);
    lb1.process.terminate(Duration::from_secs(10)).unwrap();
    assert_eq!((devices(lb1.namespace), arp(lb1.namespace)), (Vec::new(), before));
}

#[test]
fn a_backup_takes_no_frame_to_the_virtual_mac_address() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let [lb1, lb2] = both(&pair);
    wait_for_answers(&pair);
    // A switch that does not learn floods all frames.
    let switch = pair.port("client").namespace;
    for port in ["lb1-front", "lb1-back"] {
        let lines = ["learning", "off", "flood", "on"];
        run(switch.command("bridge").args(["link", "set", "dev", port]).args(lines)).unwrap();
        for (_, mac) in VIPS.iter().chain(&GATEWAYS) {
            let delete = ["fdb", "del", mac, "dev", port, "master"];
            // Those of the other side are not behind this port.
            drop(switch.command("bridge").args(delete).output().unwrap());
        }
    }
    let filter = format!("ether dst {} and ip and tcp", VIPS[0].1);
    let flooded = Capture::start_in(pair.folder(), pair.port("lb2-front"), &filter).unwrap();
    wait_for_answers(&pair);
    flooded.wait_for(&format!("{VIP_V4}.80")).unwrap();
    // Neither its packet path nor its kernel: nobody hears an answer twice.
    for vip in [VIP_V4.to_string(), VIP_V6.to_string()] {
        let heard = run(pair.client.namespace.command("ping").args(["-c", "3", "-i", "0.2", &vip]));
        let heard = heard.unwrap();
        assert!(heard.contains("3 packets transmitted, 3 received, 0%"), "{heard}");
        assert!(!heard.contains("DUP!"), "{heard}");
    }
    assert_eq!(sent_to_backends(&lb2), 0);
    assert!(sent_to_backends(&lb1) > 0);
}

#[test]
fn arp_and_neighbour_discovery_answer_with_the_virtual_mac_address_alone() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let _directors = both(&pair);
    let filter = format!("(arp[6:2] = 2 and arp src host {VIP_V4}) or (icmp6 and ip6[40] = 136)");
    let answers = Capture::start_in(pair.folder(), pair.port("client"), &filter).unwrap();
    let told = [
        (VIP_V4.to_string(), format!("Reply {VIP_V4} is-at {}", VIPS[0].1)),
        (VIP_V6.to_string(), format!("tgt is {VIP_V6}")),
    ];
    for (vip, answer) in &told {
        pair.client.namespace.ip(&format!("neigh flush to {vip}")).unwrap();
        run(pair.client.namespace.command("ping").args(["-c", "1", "-W", "5", vip])).unwrap();
        answers.wait_for(answer).unwrap();
    }
    // The director has asked for the client meanwhile, and not in the VIPs' name with another MAC address.
    assert_known(&pair.client, VIPS);
    let text = answers.text();
    assert_eq!(text.matches("is-at").count(), text.matches(&told[0].1).count(), "{text}");
}

/// Each hears frames from a MAC address that a device of its own has.
#[test]
fn two_active_directors_hear_each_other_and_the_switch_learns_of_the_winner() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let [lb1, lb2] = both(&pair);
    pair.deafen_director(2, true).unwrap();
    lb2.wait_for("active").unwrap();
    assert_eq!((holds(&lb1), holds(&lb2)), ([true; 2], [true; 2]));
    pair.deafen_director(2, false).unwrap();
    lb2.wait_for("backup").unwrap();
    assert_eq!((holds(&lb1), lb1.states().unwrap()), ([true; 2], vec!["active".to_owned()]));
    wait_until_learned(&pair, "fronts", "lb1-front", VIPS);
    wait_until_learned(&pair, "backs", "lb1-back", GATEWAYS);
    wait_for_answers(&pair);
}

#[test]
fn a_link_that_is_lost_moves_the_mac_address_and_its_return_does_not() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let [lb1, lb2] = both(&pair);
    let mut open = connections(&pair);
    pair.unplug("lb1-front").unwrap();
    lb1.wait_for("initialize").unwrap();
    lb2.wait_for("active").unwrap();
    wait_until_learned(&pair, "backs", "lb2-back", GATEWAYS);
    pair.plug_in("lb1-front").unwrap();
    lb1.wait_for("backup").unwrap();
    assert_eq!((holds(&lb1), holds(&lb2)), ([false; 2], [true; 2]));
    for connection in &mut open {
        assert_eq!(connection.get("/").unwrap().backend, "web1");
    }
    wait_until_learned(&pair, "fronts", "lb2-front", VIPS);
    assert_all_known(&pair);
}

#[test]
fn a_device_takes_no_route_from_the_link_and_a_filter_that_makes_it_deaf_is_told() {
    let pair = Pair::new(0).unwrap();
    let machine = &pair.directors[0];
    machine.sysctl("ipv6/conf/all/forwarding", "0").unwrap();
    machine.sysctl("ipv4/conf/all/rp_filter", "1").unwrap();
    let lb1 = Director::start(&pair, 1, &with_macs(200)).unwrap();
    lb1.wait_for("active").unwrap();
    let made = devices(machine);
    assert_eq!(made.len(), 4);
    for (name, _) in made {
        let path = format!("/proc/sys/net/ipv6/conf/{name}/accept_ra");
        assert_eq!(run(machine.command("cat").arg(path)).unwrap().trim(), "0", "{name}");
    }
    let told = || Ok(lb1.process.log().contains("rp_filter is 1: vr4-"));
    wait_until("the warning", WITHIN, told).unwrap();
}

#[test]
fn devices_outlive_a_crash_and_go_with_the_agent() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let machine = &pair.directors[0];
    let before = arp(machine);
    let rare = |priority| with_macs(priority).replace("100ms", "10s");
    let mut lb1 = Director::start(&pair, 1, &with_macs(254)).unwrap();
    lb1.wait_for("active").unwrap();
    // Adverts so rare that the agent is back before another director would have taken over.
    lb1.write_config(&rare(254)).unwrap();
    lb1.ctl_json(&["reload"]).unwrap();
    wait_for_answers(&pair);
    let up = devices(machine);
    assert_eq!(up.len(), 4);
    assert!(up.iter().all(|(_, is_up)| *is_up), "{up:?}");
    let load = Load::start(&pair.client.namespace, &vips()).unwrap();
    load.wait_for_more(50).unwrap();
    lb1.process.kill().unwrap();
    load.wait_for_more(50).unwrap();
    lb1.restart().unwrap();
    assert_eq!(lb1.states().unwrap(), ["active"]);
    load.wait_for_more(50).unwrap();
    assert_eq!(failures(&load.stop().unwrap()), Vec::<&String>::new());
    assert_eq!((devices(machine), n_changes(&lb1)), (up, 2));
    // One router without it: its devices go, and all is answered as before.
    lb1.write_config(&rare(254).replacen("virtual_mac = true", "", 1)).unwrap();
    lb1.ctl_json(&["reload"]).unwrap();
    wait_until("two devices", WITHIN, || Ok(devices(machine).len() == 2)).unwrap();
    wait_for_answers(&pair);
    // What an agent has left that was killed goes too.
    lb1.process.kill().unwrap();
    assert_eq!((devices(machine).len(), holds(&lb1)), (2, [true; 2]));
    lb1.detach().unwrap();
    assert_eq!((devices(machine), arp(machine)), (Vec::new(), before));
    assert_eq!(holds(&lb1), [false; 2]);
}
