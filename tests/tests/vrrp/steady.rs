//! What must leave the addresses where they are, or bring them back: flapping links, many reloads, scripts that hang.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lb_tests::binaries::Binaries;
use lb_tests::clock::wait_until;
use lb_tests::http_client::Connection;
use lb_tests::load::{Load, failures};
use lb_tests::pair::{Director, Pair, vips};
use lb_tests::process::Process;

use crate::cast::{WITHIN, both, holds, n_changes, serve, shop, tables, wait_for_answers};

#[test]
fn a_link_that_flaps_leaves_one_director_with_all_addresses() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let [lb1, lb2] = both(&pair, "preempt = true");
    for _ in 0..20 {
        pair.unplug("lb1-front").unwrap();
        pair.plug_in("lb1-front").unwrap();
        pair.unplug("lb2-back").unwrap();
        pair.plug_in("lb2-back").unwrap();
    }
    // The last time the link is down until that is noticed.
    pair.unplug("lb1-front").unwrap();
    lb1.wait_for("initialize").unwrap();
    pair.plug_in("lb1-front").unwrap();
    lb1.wait_for("active").unwrap();
    lb2.wait_for("backup").unwrap();
    wait_until("the addresses to be settled", WITHIN, || {
        Ok((holds(&lb1), holds(&lb2)) == ([true; 2], [false; 2]))
    })
    .unwrap();
    wait_for_answers(&pair);
}

#[test]
fn a_thousand_reloads_change_no_state_and_lose_no_request() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let [lb1, lb2] = both(&pair, "");
    let before = (n_changes(&lb1), n_changes(&lb2));
    let load = Load::start(&pair.client.namespace, &vips()).unwrap();
    load.wait_for_more(10).unwrap();
    for round in 0..1_000_u16 {
        let priority = if round % 2 == 0 { 199 } else { 200 };
        lb1.write_config(&tables(priority, "")).unwrap();
        let reload = lb1.ctl().arg("reload").output().unwrap();
        assert!(reload.status.success(), "{reload:?}");
    }
    load.wait_for_more(10).unwrap();
    assert_eq!(failures(&load.stop().unwrap()), Vec::<&String>::new());
    assert_eq!((n_changes(&lb1), n_changes(&lb2)), before);
}

/// A script that notes what it was told, and then does something else.
fn script(pair: &Pair, then: &str) -> (PathBuf, PathBuf) {
    let (script, told) = (pair.folder().join("notify.sh"), pair.folder().join("told"));
    let text = format!("#!/bin/sh\necho \"$@ $LB_FROM\" >> {}\n{then}\n", told.display());
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    (script, told)
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn scripts_are_told_of_every_change_in_order() {
    let pair = Pair::new(0).unwrap();
    let (script, told) = script(&pair, "");
    let entry =
        tables(200, "").replace("name = \"vip\"", &format!("name = \"vip\"\nnotify = {script:?}"));
    let mut lb1 = Director::start(&pair, 1, &entry).unwrap();
    lb1.wait_for("active").unwrap();
    lb1.ctl_json(&["vrrp", "release", "pair"]).unwrap();
    lb1.wait_for("active").unwrap();
    // The last one too: the agent waits for its script.
    lb1.process.terminate(WITHIN).unwrap();
    let wanted = [
        "vip backup 200 initialize",
        "vip active 200 backup",
        "vip backup 200 active",
        "vip active 200 backup",
        "vip initialize 200 active",
    ];
    assert_eq!(lines(&told), wanted);
    let said = "virtual router vip: active -> initialize: the agent is stopping";
    assert!(lb1.process.log().contains(said), "{}", lb1.process.log());
}

#[test]
fn routers_that_could_not_be_started_are_once_they_can() {
    let pair = Pair::new(0).unwrap();
    let lb1 = Director::start(&pair, 1, &shop()).unwrap();
    // A folder where the thread has a file.
    let obstacle = pair.folder().join("lb1/vrrp.beat");
    std::fs::create_dir(&obstacle).unwrap();
    lb1.write_config(&tables(200, "")).unwrap();
    assert!(lb1.ctl().arg("reload").output().unwrap().status.success());
    let log = || lb1.process.log();
    assert!(log().contains("run the virtual routers: Is a directory"), "{}", log());
    assert!(lb1.states().unwrap().is_empty());
    std::fs::remove_dir(&obstacle).unwrap();
    lb1.wait_for("active").unwrap();
}

#[test]
fn a_script_that_hangs_holds_up_nothing() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let (script, told) = script(&pair, "sleep 600");
    let [mut lb1, lb2] = both(&pair, &format!("notify = {script:?}"));
    wait_until("a script to run", WITHIN, || Ok(!lines(&told).is_empty())).unwrap();
    lb1.process.terminate(Duration::from_secs(10)).unwrap();
    lb2.wait_for("active").unwrap();
    wait_for_answers(&pair);
}

#[test]
fn the_thread_of_the_routers_goes_before_others_and_the_memory_is_locked() {
    let pair = Pair::new(0).unwrap();
    let lb1 = Director::start(&pair, 1, &tables(200, "")).unwrap();
    let process = PathBuf::from(format!("/proc/{}", lb1.process.id()));
    let threads = process.join("task").read_dir().unwrap().map(|thread| thread.unwrap().path());
    let policies: Vec<String> = threads
        .filter(|thread| std::fs::read_to_string(thread.join("comm")).unwrap().trim() == "vrrp")
        .map(|thread| {
            let stat = std::fs::read_to_string(thread.join("stat")).unwrap();
            // proc_pid_stat(5): the policy is the 41st field, and the second is in parentheses.
            let (_, rest) = stat.rsplit_once(") ").unwrap();
            rest.split(' ').nth(41 - 3).unwrap().to_owned()
        })
        .collect();
    assert_eq!(policies, ["1"], "SCHED_FIFO");
    let status = std::fs::read_to_string(process.join("status")).unwrap();
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap().trim();
    assert_ne!(locked, "0 kB");
}

/// Whether a server of the director itself answers backends, within a time, at the address of their gateway.
fn accepts(line: &str, patience: Duration) -> bool {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let lb1 = Director::start(&pair, 1, &tables(200, line)).unwrap();
    lb1.wait_for("active").unwrap();
    let mut server = lb1.namespace.command(Binaries::of_this_profile().unwrap().xtask);
    server.args(["serve", "--name", "host", "--listen", "0.0.0.0:8022"]);
    let _server = Process::start("host", &mut server, pair.folder()).unwrap();
    let open = |to: &str| {
        let to: SocketAddr = to.parse().unwrap();
        let open = || Connection::open(to, patience).is_ok();
        pair.backends[0].namespace.enter(open).unwrap()
    };
    wait_until("the host's server", WITHIN, || Ok(open("192.0.2.2:8022"))).unwrap();
    // As a gateway it forwards in any case.
    wait_for_answers(&pair);
    open("192.0.2.1:8022")
}

#[test]
fn at_its_virtual_addresses_the_host_answers_only_if_it_accepts_that() {
    assert!(accepts("accept = true", WITHIN));
    assert!(!accepts("accept = false", Duration::from_millis(500)));
}
