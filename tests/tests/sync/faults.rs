//! Peers that differ, die, stall or are none.

use lb_tests::agent::{Agent, spawn, write_config};
use lb_tests::clock::wait_until;
use lb_tests::load::{Load, TIMEOUT, failures};
use lb_tests::web::PORT;
use lb_tests::world::vips;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::directors::{KEY, Part, Worlds, both_vips, wait_for_flows, wait_until_in_step};

const OTHER_KEY: &str = "another key of thirty-two bytes!";

fn status(agent: &Agent<'_>) -> Value {
    agent.ctl_json(&["sync", "status"]).unwrap()
}

fn warnings(agent: &Agent<'_>) -> String {
    agent.ctl_json(&["status"]).unwrap()["warnings"].to_string()
}

fn n_flows(agent: &Agent<'_>) -> u64 {
    agent.ctl_json(&["conn", "list"]).unwrap()["total"].as_u64().unwrap()
}

fn both<'w>(worlds: &'w Worlds, parts: [&Part<'_>; 2]) -> [Agent<'w>; 2] {
    let [first, second] = parts;
    let agents = [worlds.start(0, first).unwrap(), worlds.start(1, second).unwrap()];
    for agent in &agents {
        agent.wait_until_all_up().unwrap();
    }
    agents
}

#[test]
fn a_director_with_another_key_is_told_of_and_tells_nothing() {
    let worlds = Worlds::new(1).unwrap();
    let services = worlds.shop("nat", "rr");
    let part = |key| Part { datapath: "", services: &services, key };
    let [first, second] = both(&worlds, [&part(KEY), &part(OTHER_KEY)]);
    let _open: Vec<_> = both_vips().map(|vip| worlds.connect(vip).unwrap()).into();
    for agent in [&first, &second] {
        let is_counted = || Ok(status(agent)["refused"]["key"].as_u64() > Some(1));
        wait_until("keys that differ to be counted", TIMEOUT, is_counted).unwrap();
        let said = warnings(agent);
        assert!(said.contains("its key may be another one"), "{said}");
        assert_eq!(status(agent)["is_in_step"], false);
    }
    assert_eq!((n_flows(&first), n_flows(&second)), (2, 0));
    assert_eq!(status(&second)["peers"][0]["heard"]["cells"], 0);
}

#[test]
fn a_key_that_cannot_be_used_is_refused_and_nothing_is_touched() {
    use std::os::unix::fs::PermissionsExt;
    let worlds = Worlds::new(1).unwrap();
    let (world, services) = (&worlds.each[0], worlds.shop("nat", "rr"));
    let part = Part { datapath: "", services: &services, key: KEY };
    write_config(world, &worlds.write(0, &part).unwrap()).unwrap();
    let key_file = world.folder().join("sync.key");
    let refused = |words: &str| {
        let mut process = spawn(world, &worlds.binaries).unwrap();
        assert_eq!(process.wait(TIMEOUT).unwrap().code(), Some(1));
        let (said, path) = (process.log(), key_file.display().to_string());
        assert!(said.contains(words) && said.contains(&path), "{words} and {path} in {said}");
        assert!(!world.pin_path().exists());
    };
    std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused("chmod o-rwx");
    std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&key_file, "short").unwrap();
    refused("has 5 bytes");
    std::fs::remove_file(&key_file).unwrap();
    refused("No such file");
}

#[test]
fn either_director_may_be_killed_and_learns_all_flows_again() {
    let worlds = Worlds::new(2).unwrap();
    let services = worlds.shop("nat", "rr");
    let part = Part { datapath: "", services: &services, key: KEY };
    let [mut first, mut second] = both(&worlds, [&part, &part]);
    wait_until_in_step([&first, &second]).unwrap();
    let mut open = both_vips().map(|vip| worlds.connect(vip).unwrap());
    let before = open.each_mut().map(|open| open.get("/").unwrap().backend);
    wait_for_flows(&second, 2).unwrap();
    // The one that joins without a table is told all of it.
    second.process.kill().unwrap();
    lb_tests::agent::detach(&worlds.each[1], &worlds.binaries).unwrap();
    second.restart().unwrap();
    wait_for_flows(&second, 2).unwrap();
    // And tells it when the other one has lost its own.
    wait_until_in_step([&first, &second]).unwrap();
    worlds.move_to(1).unwrap();
    first.process.kill().unwrap();
    lb_tests::agent::detach(&worlds.each[0], &worlds.binaries).unwrap();
    first.restart().unwrap();
    wait_for_flows(&first, 2).unwrap();
    wait_until_in_step([&first, &second]).unwrap();
    worlds.move_to(0).unwrap();
    assert_eq!(open.each_mut().map(|open| open.get("/").unwrap().backend), before);
}

#[test]
fn a_peer_that_stalls_keeps_nobody_waiting_and_catches_up() {
    let worlds = Worlds::new(2).unwrap();
    let services = worlds.shop("nat", "rr");
    let part = Part { datapath: "", services: &services, key: KEY };
    let [first, second] = both(&worlds, [&part, &part]);
    wait_until_in_step([&first, &second]).unwrap();
    second.process.signal(Signal::SIGSTOP).unwrap();
    let load = Load::start(&worlds.each[0].client.namespace, &vips(PORT)).unwrap();
    let is_noticed = || Ok(!status(&first)["peers"][0]["told"]["connected"].as_bool().unwrap());
    wait_until("the stalled peer to be given up", TIMEOUT, is_noticed).unwrap();
    load.wait_for_more(50).unwrap();
    let _open = both_vips().map(|vip| worlds.connect(vip).unwrap());
    second.process.signal(Signal::SIGCONT).unwrap();
    wait_until_in_step([&first, &second]).unwrap();
    for (agent, way) in [(&first, "told"), (&second, "heard")] {
        let goes_on = || {
            let link = &status(agent)["peers"][0][way];
            let rates = ["cells_per_second", "bytes_per_second"].map(|rate| link[rate].as_u64());
            Ok(rates.iter().all(|rate| *rate > Some(0)))
        };
        wait_until("a second with cells to be over", TIMEOUT, goes_on).unwrap();
    }
    assert_eq!(failures(&load.stop().unwrap()), Vec::<&String>::new());
    wait_for_flows(&second, 2).unwrap();
}

#[test]
fn backends_that_only_the_other_director_has_are_named_and_their_flows_follow_with_them() {
    let worlds = Worlds::new(2).unwrap();
    let services = worlds.shop("nat", "rr");
    let (all, last) = services.rsplit_once("[[service.backend]]").unwrap();
    assert!(last.contains("web2"));
    let whole = Part { datapath: "", services: &services, key: KEY };
    let [first, second] = both(&worlds, [&whole, &Part { services: all, ..whole }]);
    wait_until_in_step([&first, &second]).unwrap();
    let mut open: Vec<_> =
        both_vips().iter().cycle().take(8).map(|vip| worlds.connect(*vip).unwrap()).collect();
    for open in &mut open {
        open.get("/").unwrap();
    }
    wait_for_flows(&second, 4).unwrap();
    let said = warnings(&second);
    assert!(said.contains("192.0.2.12:80 behind 203.0.113.10:80 (tcp, nat)"), "{said}");
    assert!(said.contains("2 backends that are not configured here"), "{said}");
    assert!(n_flows(&second) < 8 && status(&second)["peers"][0]["unknown_flows"] != 0);
    let text = worlds.write(1, &whole).unwrap();
    write_config(&worlds.each[1], &text).unwrap();
    second.ctl_ok(&["reload"]).unwrap();
    wait_for_flows(&second, 8).unwrap();
    assert_eq!(warnings(&second), "[]");
}

#[test]
fn configurations_that_differ_are_named_on_both_directors_until_they_do_not() {
    let worlds = Worlds::new(1).unwrap();
    let [rr, maglev] = ["rr", "maglev"].map(|scheduler| worlds.shop("nat", scheduler));
    let part = |services| Part { datapath: "", services, key: KEY };
    let [first, second] = both(&worlds, [&part(&rr), &part(&maglev)]);
    let differ = |agent: &Agent<'_>| status(agent)["peers"][0]["n_differences"].as_u64().unwrap();
    let all_differ = || Ok([&first, &second].iter().all(|agent| differ(agent) == 2));
    wait_until("the difference to be seen", TIMEOUT, all_differ).unwrap();
    for (agent, words) in
        [(&first, "rr here and maglev there"), (&second, "maglev here and rr there")]
    {
        let said = warnings(agent);
        assert!(said.contains(&format!("203.0.113.10:80 (tcp): scheduler is {words}")), "{said}");
        let shown = agent.ctl_ok(&["sync", "status"]).unwrap();
        assert!(shown.contains(words), "{shown}");
        let metrics = agent.metrics().unwrap();
        assert!(metrics.contains("lb_sync_differing_services{peer="), "{metrics}");
        assert!(agent.process.log().contains("configuration differs in 2 services"));
    }
    write_config(&worlds.each[1], &worlds.write(1, &part(&rr)).unwrap()).unwrap();
    second.ctl_ok(&["reload"]).unwrap();
    let none_differs = || Ok([&first, &second].iter().all(|agent| differ(agent) == 0));
    wait_until("the difference to be gone", TIMEOUT, none_differs).unwrap();
    assert_eq!(warnings(&second), "[]");
}
