//! Backends that die, return, are drained, or wait as backups.
#![cfg(feature = "root")]

use std::time::Duration;

use lb_tests::agent::{Agent, BALANCED, NOTICED_WITHIN, QUICK_CHECK, Settings, service, shop};
use lb_tests::binaries::Binaries;
use lb_tests::clock::now;
use lb_tests::http_client::Connection;
use lb_tests::load::{Load, TIMEOUT, by_backend, failures, send_in_turn};
use lb_tests::web::{PORT, Web};
use lb_tests::world::{Arms, World, vips};

fn names<'a>(counts: impl IntoIterator<Item = &'a String>) -> Vec<&'a str> {
    counts.into_iter().map(String::as_str).collect()
}

#[test]
fn a_dead_backend_gets_nothing_after_it_was_noticed_and_all_again_when_it_is_back() {
    let world = World::new(Arms::Two, 3).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    let mut webs = Web::start_all(&world, &binaries).unwrap();
    let agent = Agent::start(&world, &binaries, &shop(&world)).unwrap();
    agent.wait_until_all_up().unwrap();
    let load = Load::start(&world.client.namespace, &vips(PORT)).unwrap();
    load.wait_for_more(100).unwrap();
    let killed_at = now();
    webs[1].process.kill().unwrap();
    agent.wait_for_health("web2", "down").unwrap();
    load.wait_for_more(1000).unwrap();
    let exchanges = load.stop().unwrap();
    let noticed_at = killed_at + NOTICED_WITHIN;
    let after: Vec<_> = exchanges.iter().filter(|it| it.started_at > noticed_at).cloned().collect();
    assert_eq!(failures(&after), Vec::<&String>::new());
    assert_eq!(names(by_backend(&after).keys()), ["web1", "web3"]);
    let before: Vec<_> = exchanges.iter().filter(|it| it.ended_at < killed_at).cloned().collect();
    assert_eq!(failures(&before), Vec::<&String>::new());

    webs[1] = Web::start(&world, &world.backends[1], &binaries).unwrap();
    agent.wait_for_health("web2", "up").unwrap();
    let exchanges = send_in_turn(&world.client.namespace, &vips(PORT), 30).unwrap();
    assert_eq!(by_backend(&exchanges).values().copied().collect::<Vec<_>>(), [10, 10, 10]);
}

#[test]
fn a_drained_backend_keeps_its_flows_and_gets_no_new_ones() {
    let world = World::new(Arms::Two, 2).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    let _webs = Web::start_all(&world, &binaries).unwrap();
    let agent = Agent::start(&world, &binaries, &shop(&world)).unwrap();
    agent.wait_until_all_up().unwrap();
    let open = || Connection::open(vips(PORT)[0], TIMEOUT).unwrap();
    let mut connection = world.client.namespace.enter(open).unwrap();
    let drained = connection.get("/").unwrap().backend;
    let load = Load::start(&world.client.namespace, &vips(PORT)).unwrap();
    load.wait_for_more(50).unwrap();
    agent.ctl_ok(&["backend", "drain", "shop", &drained]).unwrap();
    let drained_at = now();
    load.wait_for_more(200).unwrap();
    assert_eq!(connection.get("/").unwrap().backend, drained);
    let exchanges = load.stop().unwrap();
    assert_eq!(failures(&exchanges), Vec::<&String>::new());
    let after = by_backend(exchanges.iter().filter(|it| it.started_at > drained_at));
    assert!(!after.contains_key(&drained), "{after:?}");

    agent.ctl_ok(&["backend", "ready", "shop", &drained]).unwrap();
    let exchanges = send_in_turn(&world.client.namespace, &vips(PORT), 20).unwrap();
    assert_eq!(by_backend(&exchanges).values().copied().collect::<Vec<_>>(), [10, 10]);
}

#[test]
fn waiting_for_a_drain_with_an_open_connection_times_out() {
    let world = World::new(Arms::Two, 1).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    let _webs = Web::start_all(&world, &binaries).unwrap();
    let agent = Agent::start(&world, &binaries, &shop(&world)).unwrap();
    agent.wait_until_all_up().unwrap();
    let open = || Connection::open(vips(PORT)[1], TIMEOUT).unwrap();
    let mut connection = world.client.namespace.enter(open).unwrap();
    connection.get("/").unwrap();
    let arguments = ["backend", "drain", "shop", "web1", "--wait", "--timeout", "2s"];
    assert_eq!(agent.ctl(&arguments).unwrap().status.code(), Some(7));
    assert_eq!(connection.get("/").unwrap().backend, "web1");
}

#[test]
fn backups_serve_only_while_no_other_backend_is_healthy() {
    let world = World::new(Arms::Two, 2).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    let mut webs = Web::start_all(&world, &binaries).unwrap();
    // The last backend of the list is the backup.
    let tables =
        format!("{QUICK_CHECK}\n{}backup = true\n", service("shop", &vips(PORT), BALANCED, &world));
    let settings = Settings { tables, ..Settings::default() };
    let agent = Agent::start(&world, &binaries, &settings).unwrap();
    agent.wait_until_all_up().unwrap();
    let answers = || {
        let exchanges = send_in_turn(&world.client.namespace, &vips(PORT), 10).unwrap();
        assert_eq!(failures(&exchanges), Vec::<&String>::new());
        by_backend(&exchanges).into_keys().collect::<Vec<_>>()
    };
    assert_eq!(answers(), ["web1"]);
    webs[0].process.kill().unwrap();
    agent.wait_for_health("web1", "down").unwrap();
    assert_eq!(answers(), ["web2"]);
    webs[0] = Web::start(&world, &world.backends[0], &binaries).unwrap();
    agent.wait_for_health("web1", "up").unwrap();
    assert_eq!(answers(), ["web1"]);
}

/// How a request on a connection ends that was open when its backend died with its host.
fn open_connection_to_a_dead_host(on_backend_down: &str) -> anyhow::Result<String> {
    let world = World::new(Arms::Two, 2)?;
    let binaries = Binaries::of_this_profile()?;
    let _webs = Web::start_all(&world, &binaries)?;
    let options = format!("{BALANCED}\non_backend_down = \"{on_backend_down}\"");
    let tables = format!("{QUICK_CHECK}\n{}", service("shop", &vips(PORT), &options, &world));
    let agent = Agent::start(&world, &binaries, &Settings { tables, ..Settings::default() })?;
    agent.wait_until_all_up()?;
    let open = || Connection::open(vips(PORT)[0], Duration::from_secs(2));
    let mut connection = world.client.namespace.enter(open)??;
    let backend = connection.get("/")?.backend;
    let host = world.backends.iter().find(|host| host.name == backend);
    host.map_or(Ok(()), |host| host.namespace.ip("link set eth0 down"))?;
    agent.wait_for_health(&backend, "down")?;
    Ok(connection.get("/").map_or_else(|error| format!("{error:#}"), |answer| answer.backend))
}

#[test]
fn an_open_connection_to_a_dead_host_is_reset() {
    let end = open_connection_to_a_dead_host("reset").unwrap();
    assert!(end.contains("reset by peer"), "{end}");
}

#[test]
fn an_open_connection_to_a_dead_host_is_left_alone_where_that_is_asked_for() {
    let end = open_connection_to_a_dead_host("keep").unwrap();
    assert!(!end.contains("reset by peer"), "{end}");
}
