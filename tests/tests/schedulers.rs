//! Schedulers, affinity and what time makes of backends, with real HTTP.
#![cfg(feature = "root")]
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]

use std::collections::{BTreeMap, BTreeSet};

use lb_tests::agent::{BALANCED, CALM_CHECK, QUICK_CHECK, Settings, service};
use lb_tests::clock::wait_until;
use lb_tests::http_client::Connection;
use lb_tests::load::{TIMEOUT, by_backend, failures, send_in_turn};
use lb_tests::stage::Stage;
use lb_tests::web::PORT;
use lb_tests::world::{Arms, World, vips};

/// The service `shop` with a scheduler and further lines.
fn shop(world: &World, check: &str, scheduler: &str, more: &str) -> Settings {
    let lines = BALANCED.replace("\"rr\"", &format!("{scheduler:?}"));
    let service = service("shop", &vips(PORT), &format!("{lines}\n{more}"), world);
    Settings { tables: format!("{check}\n{service}"), ..Settings::default() }
}

/// Who answers clients that come from these ports, by port.
fn answers_by_port(stage: &Stage<'_>, ports: std::ops::Range<u16>) -> BTreeMap<u16, String> {
    let vip = vips(PORT)[0];
    let ask = |port| stage.connect_from(port, vip).unwrap().get("/").unwrap().backend;
    ports.map(|port| (port, ask(port))).collect()
}

/// Who answers requests over IPv4 alone.
fn answering_v4(stage: &Stage<'_>, n: usize) -> BTreeMap<String, usize> {
    let exchanges = send_in_turn(&stage.world.client.namespace, &vips(PORT)[..1], n).unwrap();
    assert_eq!(failures(&exchanges), Vec::<&String>::new());
    by_backend(&exchanges)
}

#[test]
fn a_client_is_sent_to_one_backend_by_its_address() {
    let world = World::new(Arms::Two, 3).unwrap();
    let stage = Stage::set(&world, &shop(&world, CALM_CHECK, "sh", "")).unwrap();
    let first = answering_v4(&stage, 20);
    assert_eq!(first.len(), 1, "{first:?}");
    let name = first.keys().next().unwrap();
    let other = stage.world.backends.iter().find(|host| host.name != *name).unwrap();
    stage.agent.ctl_ok(&["backend", "drain", "shop", &other.name]).unwrap();
    assert_eq!(answering_v4(&stage, 20), first, "another backend has nothing to do with it");
    let shown = stage.agent.ctl_json(&["service", "list"]).unwrap();
    assert_eq!(shown[0]["scheduler"], "sh");
}

#[test]
fn on_a_ring_only_the_flows_of_the_backend_that_leaves_move() {
    let world = World::new(Arms::Two, 3).unwrap();
    let stage = Stage::set(&world, &shop(&world, CALM_CHECK, "maglev", "")).unwrap();
    let before = answers_by_port(&stage, 20_000..20_060);
    let names: BTreeSet<_> = before.values().collect();
    assert_eq!(names.len(), 3, "{before:?}");
    stage.agent.ctl_ok(&["backend", "drain", "shop", "web2"]).unwrap();
    let after = answers_by_port(&stage, 20_000..20_060);
    for (port, name) in before.iter().filter(|(_, name)| *name != "web2") {
        assert_eq!(after[port], *name, "from port {port}");
    }
    assert!(after.values().all(|name| name != "web2"));
    stage.agent.ctl_ok(&["backend", "ready", "shop", "web2"]).unwrap();
    assert_eq!(answers_by_port(&stage, 20_000..20_060), before);
}

#[test]
fn chance_reaches_every_backend() {
    let world = World::new(Arms::One, 3).unwrap();
    let stage = Stage::set(&world, &shop(&world, CALM_CHECK, "random", "")).unwrap();
    let counts = stage.answers(180).unwrap();
    assert!(counts.len() == 3 && counts.values().all(|n| (25..=100).contains(n)), "{counts:?}");
}

/// Opens connections that stay open; returns them by backend.
fn hold(stage: &Stage<'_>, n: usize) -> BTreeMap<String, Vec<Connection>> {
    let mut held: BTreeMap<String, Vec<Connection>> = BTreeMap::new();
    for _ in 0..n {
        let (connection, index) = stage.connect_through(vips(PORT)[0]).unwrap();
        held.entry(stage.world.backends[index].name.clone()).or_default().push(connection);
    }
    held
}

/// Flows of each backend as `lb-ctl` shows them.
fn flows(stage: &Stage<'_>) -> BTreeMap<String, u64> {
    let rows = stage.agent.ctl_json(&["backend", "list"]).unwrap();
    let row = |row: &serde_json::Value| {
        (
            row["backend"]["name"].as_str().or(row["name"].as_str()).unwrap().to_owned(),
            row["traffic"]["flows"].as_u64().unwrap(),
        )
    };
    rows.as_array().unwrap().iter().map(row).collect()
}

#[test]
fn a_backend_whose_connections_ended_gets_the_next_ones() {
    let world = World::new(Arms::Two, 2).unwrap();
    let timeouts = "timeouts = { tcp_fin = \"5s\" }".to_owned();
    let settings = Settings { datapath: timeouts, ..shop(&world, CALM_CHECK, "lc", "") };
    let stage = Stage::set(&world, &settings).unwrap();
    let mut held = hold(&stage, 40);
    let counts: Vec<usize> = held.values().map(Vec::len).collect();
    assert!(counts.iter().all(|n| (19..=21).contains(n)), "{counts:?}");
    drop(held.remove("web1"));
    // Until a sweep, which tells the packet path what it has counted, has met none of them.
    wait_until("the connections to be forgotten", TIMEOUT * 6, || {
        let flows = flows(&stage);
        Ok(flows["web1"] == 0 && flows["web2"] == u64::try_from(held["web2"].len())?)
    })
    .unwrap();
    let more = hold(&stage, 16);
    assert_eq!(more.keys().collect::<Vec<_>>(), ["web1"], "it has fewer until it has as many");
    wait_until("the flow table to show the same", TIMEOUT * 6, || {
        let flows = flows(&stage);
        Ok(flows["web1"] == 16 && flows["web2"] == u64::try_from(held["web2"].len())?)
    })
    .unwrap();
}

#[test]
fn connections_are_held_by_weight() {
    let world = World::new(Arms::Two, 2).unwrap();
    let mut settings = shop(&world, CALM_CHECK, "wlc", "");
    settings.tables = settings.tables.replace("name = \"web1\"", "name = \"web1\"\nweight = 300");
    let stage = Stage::set(&world, &settings).unwrap();
    let held = hold(&stage, 80);
    // Three in four; without weights it were half of them, and so near to that it comes once in ten thousand times.
    assert!((46..=70).contains(&held["web1"].len()), "{} of 80", held["web1"].len());
}

#[test]
fn a_sweep_forgets_connections_whose_end_was_lost() {
    let world = World::new(Arms::Two, 2).unwrap();
    let timeouts = "timeouts = { tcp_established = \"5s\" }".to_owned();
    let settings = Settings { datapath: timeouts, ..shop(&world, CALM_CHECK, "lc", "") };
    let stage = Stage::set(&world, &settings).unwrap();
    stage.agent.ctl_ok(&["backend", "drain", "shop", "web1"]).unwrap();
    let silent = hold(&stage, 12);
    assert_eq!(silent.keys().collect::<Vec<_>>(), ["web2"]);
    stage.agent.ctl_ok(&["backend", "ready", "shop", "web1"]).unwrap();
    let more = hold(&stage, 8);
    assert_eq!(more.keys().collect::<Vec<_>>(), ["web1"]);
    let n_flows =
        |n| wait_until("all flows", TIMEOUT * 6, || Ok(flows(&stage).values().sum::<u64>() == n));
    n_flows(20).unwrap();
    // No packet has ended them: the table has only not heard of them for longer than it waits.
    n_flows(0).unwrap();
    let counts: Vec<usize> = hold(&stage, 20).values().map(Vec::len).collect();
    assert_eq!(counts, [10, 10], "as if there had been none");
}

#[test]
fn a_source_comes_back_to_its_backend_even_after_the_agent_was_restarted() {
    let world = World::new(Arms::Two, 3).unwrap();
    let affinity = "affinity = { by = \"source\", timeout = \"5m\" }";
    let mut stage = Stage::set(&world, &shop(&world, CALM_CHECK, "rr", affinity)).unwrap();
    let first = answering_v4(&stage, 20);
    assert_eq!(first.len(), 1, "{first:?}");
    stage.agent.process.kill().unwrap();
    stage.agent.restart().unwrap();
    assert_eq!(answering_v4(&stage, 20), first);
    let name = first.keys().next().unwrap();
    stage.agent.ctl_ok(&["backend", "drain", "shop", name]).unwrap();
    let second = answering_v4(&stage, 20);
    assert!(second.len() == 1 && second != first, "{second:?}");
    stage.agent.ctl_ok(&["backend", "ready", "shop", name]).unwrap();
    assert_eq!(answering_v4(&stage, 20), second, "the last one counts");
}

#[test]
fn a_backend_that_comes_back_starts_slowly() {
    let world = World::new(Arms::Two, 2).unwrap();
    let settings = shop(&world, QUICK_CHECK, "rr", "slow_start = \"30s\"");
    let mut stage = Stage::set(&world, &settings).unwrap();
    assert!(stage.answers(20).unwrap().values().all(|n| *n == 10), "none is slow at the start");
    stage.kill_web(1).unwrap();
    stage.agent.wait_for_health("web2", "down").unwrap();
    stage.revive_web(1).unwrap();
    let counts = stage.answers(44).unwrap();
    assert!((1..=16).contains(&counts["web2"]), "{counts:?}");
    wait_until("web2 to have its share", TIMEOUT * 12, || {
        Ok(stage.answers(20)?.values().all(|n| *n == 10))
    })
    .unwrap();
}

#[test]
fn the_connections_of_a_drained_backend_are_reset_when_its_time_is_over() {
    let world = World::new(Arms::Two, 2).unwrap();
    let settings = shop(&world, CALM_CHECK, "rr", "drain_timeout = \"3s\"");
    let stage = Stage::set(&world, &settings).unwrap();
    let mut held = hold(&stage, 2);
    let [mut drained, mut other] =
        ["web1", "web2"].map(|name| held.remove(name).unwrap().remove(0));
    stage.agent.ctl_ok(&["backend", "drain", "shop", "web1"]).unwrap();
    assert_eq!(drained.get("/").unwrap().backend, "web1", "it has some time");
    wait_until("the connection to be reset", TIMEOUT * 2, || Ok(drained.get("/").is_err()))
        .unwrap();
    assert_eq!(other.get("/").unwrap().backend, "web2");
    assert_eq!(stage.answering(4).unwrap(), ["web2"]);
    assert!(stage.packets("reset_sent").unwrap() > 0);
}

#[test]
fn where_too_few_are_healthy_all_serve() {
    let world = World::new(Arms::Two, 3).unwrap();
    let settings = shop(&world, QUICK_CHECK, "rr", "panic_threshold = 0.5");
    let mut stage = Stage::set(&world, &settings).unwrap();
    let serving = |stage: &Stage<'_>| {
        let rows = stage.agent.ctl_json(&["backend", "list"]).unwrap();
        rows.as_array().unwrap().iter().filter(|row| row["serving"] == true).count()
    };
    stage.kill_web(0).unwrap();
    stage.agent.wait_for_health("web1", "down").unwrap();
    assert_eq!(serving(&stage), 2);
    stage.kill_web(1).unwrap();
    stage.agent.wait_for_health("web2", "down").unwrap();
    assert_eq!(serving(&stage), 3);
    let status = stage.agent.ctl_ok(&["status"]).unwrap();
    assert!(status.contains("too few backends are healthy"), "{status}");
    stage.revive_web(0).unwrap();
    assert_eq!(serving(&stage), 2);
}
