//! Another configuration takes the place of the running one, under load; and what lies over the file.
#![cfg(feature = "root")]

use lb_tests::agent::{Settings, shop, write_config};
use lb_tests::clock::{now, wait_until};
use lb_tests::load::{TIMEOUT, by_backend, failures};
use lb_tests::stage::Stage;
use lb_tests::web::PORT;
use lb_tests::world::{Arms, World, vips};
use nix::sys::signal::Signal;

/// [`shop`] without the last backend.
fn reduced(world: &World) -> Settings {
    let mut settings = shop(world);
    let last = settings.tables.rfind("[[service.backend]]").unwrap_or(0);
    settings.tables.truncate(last);
    settings
}

#[test]
fn backends_leave_and_join_by_reload_under_load_without_one_failed_request() {
    let world = World::new(Arms::Two, 3).unwrap();
    let stage = Stage::shop(&world).unwrap();
    let agent = &stage.agent;
    let load = stage.load().unwrap();
    load.wait_for_more(100).unwrap();
    // A request under way when its backend is removed would rightly be reset: it takes no new ones first.
    agent.ctl_ok(&["backend", "drain", "shop", "web3", "--wait", "--timeout", "1ms"]).unwrap_err();
    load.wait_for_more(20).unwrap();
    agent.write_config(&reduced(&world)).unwrap();
    let said = agent.ctl_ok(&["reload"]).unwrap();
    assert!(said.contains("web3"), "{said}");
    let removed_at = now();
    load.wait_for_more(300).unwrap();
    let added_at = now();
    agent.write_config(&shop(&world)).unwrap();
    agent.process.signal(Signal::SIGHUP).unwrap();
    agent.wait_for_health("web3", "up").unwrap();
    load.wait_for_more(300).unwrap();
    let exchanges = load.stop().unwrap();
    assert_eq!(failures(&exchanges), Vec::<&String>::new());
    let between = exchanges.iter().filter(|it| it.started_at > removed_at);
    let between = by_backend(between.filter(|it| it.ended_at < added_at));
    assert_eq!(between.keys().collect::<Vec<_>>(), ["web1", "web2"]);
    assert_eq!(stage.answers(30).unwrap().into_values().collect::<Vec<_>>(), [10, 10, 10]);
}

#[test]
fn a_wrong_file_is_explained_and_the_old_configuration_goes_on() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = Stage::shop(&world).unwrap();
    let agent = &stage.agent;
    let right = shop(&world).file(&world);
    let wrong = right.replace("interval =", "intervall =").replace("\"rr\"", "\"rrr\"");
    write_config(&world, &wrong).unwrap();
    let output = agent.ctl(&["reload"]).unwrap();
    assert_eq!(output.status.code(), Some(5));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("intervall") && said.contains("rrr"), "both problems at once:\n{said}");
    let status = agent.ctl_json(&["status"]).unwrap();
    assert!(status["config_problem"].as_str().unwrap().contains("intervall"), "{status}");
    assert!(agent.ctl_ok(&["status"]).unwrap().contains("intervall"));
    let metrics = agent.metrics().unwrap();
    assert!(metrics.contains("lb_config_last_reload_success 0"), "{metrics}");
    stage.answers(4).unwrap();

    write_config(&world, &right).unwrap();
    agent.process.signal(Signal::SIGHUP).unwrap();
    wait_until("the problem to be gone", TIMEOUT, || {
        Ok(agent.ctl_json(&["status"])?["config_problem"].is_null())
    })
    .unwrap();
}

#[test]
fn changes_at_run_time_survive_restart_and_reload_until_they_are_discarded() {
    let world = World::new(Arms::Two, 2).unwrap();
    let mut stage = Stage::shop(&world).unwrap();
    let diff = |stage: &Stage<'_>| stage.agent.ctl_json(&["config", "diff"]).unwrap();
    assert_eq!(diff(&stage), serde_json::json!({ "overlay": [], "file": [] }));
    stage.agent.ctl_ok(&["backend", "maint", "shop", "web1"]).unwrap();
    assert_eq!(stage.agent.ctl_json(&["status"]).unwrap()["overlay"], true);
    let changed = diff(&stage);
    assert!(changed["overlay"].to_string().contains("maint"), "{changed}");
    stage.agent.ctl_ok(&["reload"]).unwrap();
    assert_eq!(stage.answering(6).unwrap(), ["web2"]);
    stage.agent.process.terminate(TIMEOUT).unwrap();
    stage.agent.restart().unwrap();
    stage.agent.wait_for_health("web2", "up").unwrap();
    assert_eq!(stage.answering(6).unwrap(), ["web2"]);
    assert_eq!(diff(&stage), changed);

    let tried = stage.agent.ctl_ok(&["reload", "--discard", "--dry-run"]).unwrap();
    assert!(tried.contains("web1"), "{tried}");
    assert_eq!(stage.answering(6).unwrap(), ["web2"]);
    stage.agent.ctl_ok(&["reload", "--discard"]).unwrap();
    stage.agent.wait_until_all_up().unwrap();
    assert_eq!(stage.answering(6).unwrap().len(), 2);
    assert_eq!(diff(&stage)["overlay"], serde_json::json!([]));
}

#[test]
fn a_file_that_was_edited_shows_in_the_difference_and_takes_effect_when_loaded() {
    let world = World::new(Arms::Two, 2).unwrap();
    let stage = Stage::shop(&world).unwrap();
    stage.agent.write_config(&reduced(&world)).unwrap();
    let diff = stage.agent.ctl_json(&["config", "diff"]).unwrap();
    assert!(diff["file"].to_string().contains("web2"), "{diff}");
    stage.agent.ctl_ok(&["reload", "--dry-run"]).unwrap();
    assert_eq!(stage.answering(4).unwrap().len(), 2);
    stage.agent.ctl_ok(&["reload"]).unwrap();
    assert_eq!(stage.answering(4).unwrap(), ["web1"]);
}

#[test]
fn a_listener_and_its_vip_come_and_go_with_the_file() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = Stage::shop(&world).unwrap();
    let text = shop(&world).file(&world);
    let moved = text.replace("203.0.113.10:80", "203.0.113.77:8080");
    write_config(&world, &moved).unwrap();
    stage.agent.ctl_ok(&["reload"]).unwrap();
    let mut connection = stage.connect("203.0.113.77:8080".parse().unwrap()).unwrap();
    assert_eq!(connection.get("/").unwrap().backend, "web1");
    let addresses = || {
        lb_tests::command::run(world.director.command("ip").args(["address", "show", "front"]))
            .unwrap()
    };
    assert!(addresses().contains("203.0.113.77") && !addresses().contains("203.0.113.10/"));
    write_config(&world, &text).unwrap();
    stage.agent.ctl_ok(&["reload"]).unwrap();
    assert_eq!(stage.answering(2).unwrap(), ["web1"]);
    assert!(stage.connect(vips(PORT)[0]).is_ok());
    assert!(!addresses().contains("203.0.113.77"));
}
