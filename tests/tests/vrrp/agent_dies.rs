//! An agent that is killed and back in time, too late, or whose file became wrong.

use lb_tests::clock::wait_until;
use lb_tests::load::{Load, failures};
use lb_tests::pair::{Director, Pair, vips};
use nix::sys::signal::Signal;

use crate::cast::{
    WITHIN, both, holds, n_changes, restart_as_backup, serve, tables, wait_for_answers,
};

/// Adverts so rare that an agent is back before the other director waits no longer.
fn rare(priority: u8) -> String {
    tables(priority, "").replace("100ms", "10s")
}

#[test]
fn an_agent_that_is_killed_and_back_in_time_goes_on_and_nobody_notices() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    // The first of two that start is Active at once: it owns the addresses.
    let mut lb1 = Director::start(&pair, 1, &rare(255)).unwrap();
    lb1.wait_for("active").unwrap();
    let lb2 = Director::start(&pair, 2, &rare(100)).unwrap();
    lb2.wait_for("backup").unwrap();
    lb1.write_config(&rare(200)).unwrap();
    lb1.ctl_json(&["reload"]).unwrap();
    wait_for_answers(&pair);
    let load = Load::start(&pair.client.namespace, &vips()).unwrap();
    load.wait_for_more(50).unwrap();
    lb1.process.kill().unwrap();
    load.wait_for_more(50).unwrap();
    assert_eq!(holds(&lb1), [true; 2], "nobody takes them off");
    lb1.restart().unwrap();
    assert_eq!(lb1.states().unwrap(), ["active"]);
    load.wait_for_more(50).unwrap();
    assert_eq!(failures(&load.stop().unwrap()), Vec::<&String>::new());
    let history = lb1.ctl_json(&["vrrp", "history", "--router", "vip"]).unwrap();
    assert_eq!(history[0]["reason"], "the agent is back in time");
    assert_eq!(lb2.states().unwrap(), ["backup"]);
    // A stop would wait for the other one, which stops first.
    lb1.process.kill().unwrap();
}

#[test]
fn an_agent_that_is_back_too_late_leaves_the_addresses_to_the_other() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let [mut lb1, lb2] = both(&pair, "");
    lb1.process.kill().unwrap();
    lb2.wait_for("active").unwrap();
    assert_eq!(holds(&lb1), [true; 2], "nobody has taken them off yet");
    restart_as_backup(&pair, &mut lb1, &lb2);
}

#[test]
fn a_typo_and_a_reload_change_nothing() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let [lb1, lb2] = both(&pair, "");
    let before = (n_changes(&lb1), n_changes(&lb2));
    lb1.write_config(&tables(200, "prioritty = 7")).unwrap();
    let reload = lb1.ctl().arg("reload").output().unwrap();
    assert_eq!(reload.status.code(), Some(5));
    lb1.process.signal(Signal::SIGHUP).unwrap();
    wait_until("the second refusal", WITHIN, || {
        Ok(lb1.metrics()?.contains("lb_config_reloads_total{result=\"failure\"} 2\n"))
    })
    .unwrap();
    wait_for_answers(&pair);
    assert_eq!((holds(&lb1), holds(&lb2)), ([true; 2], [false; 2]));
    assert_eq!((n_changes(&lb1), n_changes(&lb2)), before);
}

#[test]
fn a_router_that_is_taken_out_of_the_file_goes_and_comes_back_with_it() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let [lb1, lb2] = both(&pair, "");
    let without = tables(200, "")
        .replace(&format!("addresses = [\"{}/32\", ", lb_tests::pair::VIP_V4), "addresses = [");
    lb1.write_config(&without).unwrap();
    let applied = lb1.ctl_json(&["reload"]).unwrap();
    assert!(
        applied["changes"][0].as_str().unwrap().starts_with("virtual router vip: addresses"),
        "{applied}"
    );
    assert_eq!(holds(&lb1), [false, true]);
    lb1.write_config(&tables(200, "")).unwrap();
    lb1.ctl_json(&["reload"]).unwrap();
    assert_eq!((holds(&lb1), lb2.states().unwrap()), ([true; 2], vec!["backup".to_owned()]));
    wait_for_answers(&pair);
}

#[test]
fn a_director_whose_backends_are_all_dead_stands_down() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let more = "track_services = [{ service = 'shop' }]";
    let [lb1, lb2] = both(&pair, more);
    // An operator has taken the only backend out, on this director alone.
    lb1.ctl_json(&["backend", "maint", "shop", "web1"]).unwrap();
    lb1.wait_for("backup").unwrap();
    lb2.wait_for("active").unwrap();
    wait_for_answers(&pair);
    let status = lb1.ctl_json(&["vrrp", "status"]).unwrap();
    assert_eq!(status["routers"][0]["priority"], 1);
    // It is alive again, and needed.
    lb1.ctl_json(&["backend", "ready", "shop", "web1"]).unwrap();
    lb2.ctl_json(&["vrrp", "release", "pair"]).unwrap();
    lb1.wait_for("active").unwrap();
    wait_for_answers(&pair);
}
