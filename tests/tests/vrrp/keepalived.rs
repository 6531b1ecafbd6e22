//! keepalived 2.2.7 as the other director, in both roles.

use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use lb_tests::clock::wait_until;
use lb_tests::command::run;
use lb_tests::pair::{Director, Pair, VIP_V4, VIP_V6, has};
use lb_tests::process::Process;

use crate::cast::{WITHIN, shop};
use crate::flows::sync;

/// How the two speak to each other.
#[derive(Clone, Copy)]
struct Speech {
    is_ipv6: bool,
    is_unicast: bool,
    /// Both have the addresses at the virtual MAC address.
    has_virtual_mac: bool,
}

impl Speech {
    fn vip(self) -> IpAddr {
        if self.is_ipv6 { VIP_V6.into() } else { VIP_V4.into() }
    }

    /// The address of a director in the clients' network.
    fn end(self, number: u8) -> String {
        if self.is_ipv6 {
            format!("2001:db8:1::{}", number + 1)
        } else {
            format!("198.51.100.{}", number + 1)
        }
    }

    /// Our side.
    fn tables(self, pair: &Pair) -> String {
        let (shop, vip) = (shop(), self.vip());
        // Proofs of our key, which it skips.
        let (authentication, sync) =
            if self.is_unicast { ("off", String::new()) } else { ("send", sync(pair, 1)) };
        let unicast = if self.is_unicast {
            // Its IPv6 unicast has the host's ordinary hop limit.
            let hops = if self.is_ipv6 { 64 } else { 255 };
            format!(
                "unicast_source = '{}'\nunicast_peers = '{}'\nunicast_min_hop_limit = {hops}",
                self.end(1),
                self.end(2)
            )
        } else {
            String::new()
        };
        format!(
            "{shop}\n[[vrrp]]\nname = 'vip'\ninterface = 'front'\nvirtual_router_id = 51\npriority = 100\n\
             advert_interval = '100ms'\naddresses = '{vip}'\n{unicast}\nvirtual_mac = {}\n\
             authentication = '{authentication}'\n{sync}",
            self.has_virtual_mac
        )
    }

    /// keepalived's side.
    fn file(self, priority: u8) -> String {
        let addresses = if self.is_ipv6 {
            format!("fe80::200:5eff:fe00:233/128\n{VIP_V6}/128")
        } else {
            format!("{VIP_V4}/32")
        };
        let unicast = if self.is_unicast {
            format!("unicast_src_ip {}\nunicast_peer {{\n{}\n}}", self.end(2), self.end(1))
        } else {
            String::new()
        };
        let virtual_mac = if self.has_virtual_mac { "use_vmac" } else { "" };
        format!(
            "global_defs {{\nvrrp_version 3\n}}\nvrrp_instance vip {{\nstate BACKUP\ninterface front\n\
             virtual_router_id 51\npriority {priority}\nadvert_int 0.1\n{unicast}\n{virtual_mac}\n\
             virtual_ipaddress {{\n{addresses}\n}}\n}}\n"
        )
    }
}

/// A running keepalived on the second machine.
struct Keepalived<'p> {
    process: Process,
    pair: &'p Pair,
    vip: IpAddr,
}

impl<'p> Keepalived<'p> {
    fn start(pair: &'p Pair, speech: Speech, priority: u8) -> Self {
        let path = |name: &str| pair.folder().join(format!("keepalived.{name}"));
        std::fs::write(path("conf"), speech.file(priority)).unwrap();
        let mut command: Command = pair.directors[1].command("keepalived");
        command.args(["--dont-fork", "--log-console", "--log-detail", "--vrrp"]);
        command.arg("--use-file").arg(path("conf"));
        command.arg("--pid").arg(path("pid")).arg("--vrrp_pid").arg(path("vrrp.pid"));
        let process = Process::start("keepalived", &mut command, pair.folder()).unwrap();
        Self { process, pair, vip: speech.vip() }
    }

    fn is_active(&self) -> bool {
        has(&self.pair.directors[1], self.vip).unwrap()
    }

    fn wait_until_active(&self) {
        let waited = wait_until("keepalived to have the VIP", WITHIN, || Ok(self.is_active()));
        waited.unwrap_or_else(|error| panic!("{error}\n{}", self.process.log()));
    }

    /// It says that it leaves.
    fn stop(mut self) {
        self.process.terminate(Duration::from_secs(10)).unwrap();
    }
}

fn n_sent(director: &Director<'_>) -> u64 {
    let status = director.ctl_json(&["vrrp", "status"]).unwrap();
    status["routers"][0]["adverts_sent"].as_u64().unwrap()
}

/// Waits until a director has sent some more advertisements.
fn wait_for_adverts(director: &Director<'_>) {
    let goal = n_sent(director) + 10;
    wait_until("more advertisements", WITHIN, || Ok(n_sent(director) >= goal)).unwrap();
}

/// Asserts that the client reaches the VIP at our director, and at the virtual MAC address if there is one.
#[track_caller]
fn assert_ours(pair: &Pair, speech: Speech) {
    assert_reached(pair, speech);
    let (client, vip) = (&pair.client.namespace, speech.vip().to_string());
    let known = run(client.command("ip").args(["neigh", "show", &vip])).unwrap();
    let family = if speech.is_ipv6 { 2 } else { 1 };
    let is_there = known.contains(&format!("00:00:5e:00:0{family}:33"));
    assert_eq!(is_there, speech.has_virtual_mac, "{known}");
}

/// The same at either. In IPv4 keepalived's kernel asks for the client in the VIP's name from its interface's own MAC
/// address, which the client learns until ours announces itself.
fn assert_reached(pair: &Pair, speech: Speech) {
    let vip = speech.vip().to_string();
    let ping = &mut pair.client.namespace.command("ping");
    run(ping.args(["-c", "1", "-w", "10", &vip])).unwrap();
}

fn takes_turns(speech: Speech) {
    let pair = Pair::new(0).unwrap();
    // Of a greater priority, and first: ours is its Backup.
    let other = Keepalived::start(&pair, speech, 150);
    other.wait_until_active();
    let ours = Director::start(&pair, 1, &speech.tables(&pair)).unwrap();
    let hears =
        |status: &serde_json::Value| status["routers"][0]["adverts_received"].as_u64() > Some(10);
    ours.wait_for_status("keepalived to be heard", hears).unwrap();
    assert_eq!(ours.states().unwrap(), ["backup"]);
    assert_reached(&pair, speech);
    // It leaves; comes back and preempts.
    other.stop();
    ours.wait_for("active").unwrap();
    assert!(ours.has(speech.vip()).unwrap());
    assert_ours(&pair, speech);
    let other = Keepalived::start(&pair, speech, 150);
    other.wait_until_active();
    ours.wait_for("backup").unwrap();
    assert!(!ours.has(speech.vip()).unwrap());
    assert_reached(&pair, speech);
    other.stop();
    ours.wait_for("active").unwrap();
    // Of a lower priority it is our Backup, and takes over when ours leaves.
    let other = Keepalived::start(&pair, speech, 50);
    wait_for_adverts(&ours);
    wait_for_adverts(&ours);
    assert!(!other.is_active(), "{}", other.process.log());
    ours.ctl_json(&["vrrp", "release", "vip"]).unwrap();
    other.wait_until_active();
    assert_reached(&pair, speech);
    assert_eq!(ours.states().unwrap(), ["backup"]);
    let status = ours.ctl_json(&["vrrp", "status"]).unwrap();
    assert_eq!(status["discarded"].as_array().unwrap().len(), 0, "{status}");
    assert_eq!(status["routers"][0]["warnings"].as_array().unwrap().len(), 0, "{status}");
    let log = other.process.log();
    assert!(!log.contains("Error") && !log.contains("invalid"), "{log}");
}

#[test]
fn keepalived_and_a_director_take_turns_in_ipv4_multicast() {
    takes_turns(Speech { is_ipv6: false, is_unicast: false, has_virtual_mac: false });
}

#[test]
fn keepalived_and_a_director_take_turns_in_ipv6_multicast() {
    takes_turns(Speech { is_ipv6: true, is_unicast: false, has_virtual_mac: false });
}

#[test]
fn keepalived_and_a_director_take_turns_in_ipv4_unicast() {
    takes_turns(Speech { is_ipv6: false, is_unicast: true, has_virtual_mac: false });
}

#[test]
fn keepalived_and_a_director_take_turns_in_ipv6_unicast() {
    takes_turns(Speech { is_ipv6: true, is_unicast: true, has_virtual_mac: false });
}

#[test]
fn keepalived_and_a_director_take_turns_at_the_virtual_mac_address_in_ipv4() {
    takes_turns(Speech { is_ipv6: false, is_unicast: false, has_virtual_mac: true });
}

#[test]
fn keepalived_and_a_director_take_turns_at_the_virtual_mac_address_in_ipv6() {
    takes_turns(Speech { is_ipv6: true, is_unicast: false, has_virtual_mac: true });
}
