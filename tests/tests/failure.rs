//! Backends that die, return, or wait as backups, and what becomes of their connections.
#![cfg(feature = "root")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use lb_tests::agent::{
    BALANCED, NOTICED_WITHIN, QUICK_CHECK, QUICK_TCP_CHECK, Settings, service, shop_with,
};
use lb_tests::clock::now;
use lb_tests::load::{by_backend, failures};
use lb_tests::stage::Stage;
use lb_tests::web::PORT;
use lb_tests::world::{Arms, World, vips};

/// Kills a backend under load, and brings it back.
fn fail_and_return(check: &str) {
    let world = World::new(Arms::Two, 3).unwrap();
    let mut stage = Stage::set(&world, &shop_with(check, &world)).unwrap();
    let load = stage.load().unwrap();
    load.wait_for_more(100).unwrap();
    let killed_at = now();
    stage.kill_web(1).unwrap();
    stage.agent.wait_for_health("web2", "down").unwrap();
    let down_at = now();
    load.wait_for_more(600).unwrap();
    let exchanges = load.stop().unwrap();
    let noticed_at = killed_at + NOTICED_WITHIN;
    assert!(down_at < noticed_at, "noticed after {:?}", down_at - killed_at);
    let excused = |started_at, ended_at| started_at <= noticed_at && ended_at >= killed_at;
    let rest: Vec<_> =
        exchanges.iter().filter(|it| !excused(it.started_at, it.ended_at)).cloned().collect();
    assert_eq!(failures(&rest), Vec::<&String>::new());
    let hit = exchanges.iter().filter(|it| it.outcome.is_err()).count();
    assert!(hit > 0, "the backend was in use when it died");
    let after = by_backend(exchanges.iter().filter(|it| it.started_at > noticed_at));
    assert_eq!(after.keys().collect::<Vec<_>>(), ["web1", "web3"]);

    stage.revive_web(1).unwrap();
    assert_eq!(stage.answers(30).unwrap().into_values().collect::<Vec<_>>(), [10, 10, 10]);
}

#[test]
fn a_dead_backend_gets_nothing_after_it_was_noticed_and_all_again_when_it_is_back() {
    fail_and_return(QUICK_CHECK);
}

#[test]
fn a_dead_backend_is_noticed_by_tcp_connection_too_and_gets_all_again_when_it_is_back() {
    fail_and_return(QUICK_TCP_CHECK);
}

#[test]
fn backups_serve_only_while_no_other_backend_is_healthy() {
    let world = World::new(Arms::Two, 2).unwrap();
    // The last backend of the list is the backup.
    let tables =
        format!("{QUICK_CHECK}\n{}backup = true\n", service("shop", &vips(PORT), BALANCED, &world));
    let mut stage = Stage::set(&world, &Settings { tables, ..Settings::default() }).unwrap();
    assert_eq!(stage.answering(10).unwrap(), ["web1"]);
    stage.kill_web(0).unwrap();
    stage.agent.wait_for_health("web1", "down").unwrap();
    assert_eq!(stage.answering(10).unwrap(), ["web2"]);
    stage.revive_web(0).unwrap();
    assert_eq!(stage.answering(10).unwrap(), ["web1"]);
}

#[test]
fn without_any_healthy_backend_requests_are_dropped_by_name() {
    let world = World::new(Arms::Two, 1).unwrap();
    let mut stage = Stage::quick_shop(&world).unwrap();
    stage.kill_web(0).unwrap();
    stage.agent.wait_for_health("web1", "down").unwrap();
    let failed = stage.world.client.namespace.enter(|| {
        let timeout = std::time::Duration::from_millis(300);
        lb_tests::http_client::ask_name(vips(PORT)[0], timeout).outcome
    });
    assert!(failed.unwrap().unwrap_err().contains("timed out"), "silence, not a refusal");
    assert!(stage.packets("no_backend").unwrap() >= 1);
    let status = stage.agent.ctl_json(&["status"]).unwrap();
    assert_eq!(status["backends_serving"], 0);
    assert!(status["warnings"][0].as_str().unwrap().contains("shop"), "{status}");
}

/// How requests on connections end, one of each family, that were open when their backends' hosts died.
fn open_connections_to_dead_hosts(on_backend_down: &str) -> anyhow::Result<Vec<String>> {
    let world = World::new(Arms::Two, 2)?;
    let options = format!("{BALANCED}\non_backend_down = \"{on_backend_down}\"");
    let tables = format!("{QUICK_CHECK}\n{}", service("shop", &vips(PORT), &options, &world));
    let stage = Stage::set(&world, &Settings { tables, ..Settings::default() })?;
    let open = vips(PORT).map(|vip| stage.connect_through(vip));
    for host in &world.backends {
        host.namespace.ip("link set eth0 down")?;
        stage.agent.wait_for_health(&host.name, "down")?;
    }
    let ends = open.into_iter().map(|opened| {
        let (mut connection, _) = opened?;
        connection.set_timeout(NOTICED_WITHIN)?;
        Ok(connection.get("/").map_or_else(|error| format!("{error:#}"), |answer| answer.backend))
    });
    ends.collect()
}

#[test]
fn open_connections_to_dead_hosts_are_reset_on_the_next_write() {
    let ends = open_connections_to_dead_hosts("reset").unwrap();
    assert!(ends.iter().all(|end| end.contains("reset by peer")), "{ends:?}");
}

#[test]
fn open_connections_to_dead_hosts_are_left_alone_where_that_is_asked_for() {
    let ends = open_connections_to_dead_hosts("keep").unwrap();
    assert!(ends.iter().all(|end| end.contains("temporarily unavailable")), "{ends:?}");
}

#[test]
fn a_connection_that_is_kept_goes_on_when_its_host_is_back() {
    let world = World::new(Arms::Two, 2).unwrap();
    let options = format!("{BALANCED}\non_backend_down = \"keep\"");
    let tables = format!("{QUICK_CHECK}\n{}", service("shop", &vips(PORT), &options, &world));
    let stage = Stage::set(&world, &Settings { tables, ..Settings::default() }).unwrap();
    let (mut connection, index) = stage.connect_through(vips(PORT)[0]).unwrap();
    let host = &world.backends[index];
    // The web server lives on while nothing reaches it.
    world.unplug(&host.name).unwrap();
    stage.agent.wait_for_health(&host.name, "down").unwrap();
    connection.send("/").unwrap();
    world.plug_in(&host.name).unwrap();
    stage.agent.wait_for_health(&host.name, "up").unwrap();
    assert_eq!(connection.read_answer().unwrap().backend, host.name);
}
