//! FRR 8.4 as the other director, in both roles and families; it knows multicast alone, and virtual MAC addresses.

use std::path::PathBuf;
use std::process::Command;

use lb_tests::clock::wait_until;
use lb_tests::command::run;
use lb_tests::pair::{Director, Pair, VIP_V4, VIP_V6};
use lb_tests::process::Process;

use crate::cast::{WITHIN, shop};
use crate::flows::sync;

fn tables(pair: &Pair, is_ipv6: bool) -> String {
    let vip = if is_ipv6 { VIP_V6.to_string() } else { VIP_V4.to_string() };
    // Ours leads IPv6 addresses by the same link-local one as FRR, which has it on an interface of its own.
    format!(
        "{}\n[[vrrp]]\nname = 'vip'\ninterface = 'front'\nvirtual_router_id = 51\npriority = 100\n\
         advert_interval = '100ms'\naddresses = '{vip}'\n\
         authentication = 'send'\n{}",
        shop(),
        sync(pair, 1)
    )
}

/// zebra and vrrpd on the second machine.
struct Frr {
    vrrpd: Process,
    _zebra: Process,
    shell: Box<dyn Fn() -> Command>,
    is_ipv6: bool,
}

impl Frr {
    fn start(pair: &Pair, is_ipv6: bool, priority: u8) -> Self {
        let machine = &pair.directors[1];
        let folder = pair.folder().join("frr");
        std::fs::create_dir_all(&folder).unwrap();
        let (family, vip, last) = if is_ipv6 {
            ("ipv6", VIP_V6.to_string() + "/128", 2)
        } else {
            ("ip", VIP_V4.to_string() + "/32", 1)
        };
        // FRR takes the macvlan device that has the virtual MAC address.
        if !machine.command("ip").args(["link", "show", "vmac"]).output().unwrap().status.success()
        {
            machine
                .ip(&format!(
                    "link add name vmac link front type macvlan mode bridge\n\
                     link set vmac address 00:00:5e:00:0{last}:33\naddress add {vip} dev vmac\nlink set vmac up"
                ))
                .unwrap();
        }
        let host = vip.split('/').next().unwrap();
        let link_local = if is_ipv6 { " vrrp 51 ipv6 fe80::200:5eff:fe00:233\n" } else { "" };
        let config = format!(
            "interface front\n vrrp 51 version 3\n vrrp 51 priority {priority}\n\
             vrrp 51 advertisement-interval 100\n{link_local} vrrp 51 {family} {host}\n"
        );
        std::fs::write(folder.join("vrrpd.conf"), config).unwrap();
        std::fs::write(folder.join("zebra.conf"), "").unwrap();
        let daemon = |name: &str| {
            let mut command = machine.command(format!("/usr/lib/frr/{name}"));
            command.args(["-u", "frr", "-g", "frr", "--log", "stdout", "--log-level", "info"]);
            command.arg("--vty_socket").arg(&folder).arg("-z").arg(folder.join("zserv.api"));
            command.arg("-i").arg(folder.join(format!("{name}.pid")));
            command.arg("-f").arg(folder.join(format!("{name}.conf")));
            Process::start(name, &mut command, pair.folder()).unwrap()
        };
        let socket = folder.join("zserv.api");
        std::fs::remove_file(&socket).ok();
        // They give up root before they make their sockets.
        run(Command::new("chown").args(["-R", "frr:frr"]).arg(&folder)).unwrap();
        let zebra = daemon("zebra");
        wait_until("zebra to listen", WITHIN, || Ok(socket.exists())).unwrap();
        let vrrpd = daemon("vrrpd");
        let sockets: PathBuf = folder.clone();
        let shell = Box::new(move || {
            let mut command = Command::new("vtysh");
            command.arg("--vty_socket").arg(&sockets).args(["-c", "show vrrp json"]);
            command
        });
        Self { vrrpd, _zebra: zebra, shell, is_ipv6 }
    }

    /// `Master` or `Backup`, and advertisements received.
    fn status(&self) -> Option<String> {
        let output = (self.shell)().output().unwrap();
        let routers: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        let family = if self.is_ipv6 { "v6" } else { "v4" };
        routers[0][family]["status"].as_str().map(str::to_owned)
    }

    fn wait_for(&self, state: &str) {
        let look = || Ok(self.status().is_some_and(|status| status.eq_ignore_ascii_case(state)));
        let waited = wait_until(&format!("FRR to be {state}"), WITHIN, look);
        waited.unwrap_or_else(|error| {
            let output = (self.shell)().output();
            panic!("{error}\n{}\n{output:?}", self.vrrpd.log())
        });
    }
}

fn takes_turns(is_ipv6: bool) {
    let pair = Pair::new(0).unwrap();
    let frr = Frr::start(&pair, is_ipv6, 150);
    frr.wait_for("Master");
    let ours = Director::start(&pair, 1, &tables(&pair, is_ipv6)).unwrap();
    let hears =
        |status: &serde_json::Value| status["routers"][0]["adverts_received"].as_u64() > Some(10);
    ours.wait_for_status("FRR to be heard", hears).unwrap();
    assert_eq!(ours.states().unwrap(), ["backup"]);
    // It dies, comes back and preempts.
    drop(frr);
    ours.wait_for("active").unwrap();
    let frr = Frr::start(&pair, is_ipv6, 150);
    frr.wait_for("Master");
    ours.wait_for("backup").unwrap();
    drop(frr);
    ours.wait_for("active").unwrap();
    // Of a lower priority it is our Backup, and takes over when ours leaves.
    let frr = Frr::start(&pair, is_ipv6, 50);
    frr.wait_for("Backup");
    ours.ctl_json(&["vrrp", "release", "vip"]).unwrap();
    frr.wait_for("Master");
    assert_eq!(ours.states().unwrap(), ["backup"]);
    let status = ours.ctl_json(&["vrrp", "status"]).unwrap();
    assert_eq!(status["discarded"].as_array().unwrap().len(), 0, "{status}");
    assert_eq!(status["routers"][0]["warnings"].as_array().unwrap().len(), 0, "{status}");
}

#[test]
fn frr_and_a_director_take_turns_in_ipv4() {
    takes_turns(false);
}

#[test]
fn frr_and_a_director_take_turns_in_ipv6() {
    takes_turns(true);
}
