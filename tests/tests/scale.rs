//! 200 services with 1,000 backends.
#![cfg(feature = "root")]

use std::fmt::Write;

use lb_tests::agent::{Agent, BALANCED, CALM_CHECK, Settings};
use lb_tests::binaries::Binaries;
use lb_tests::clock::now;
use lb_tests::http_client::Connection;
use lb_tests::load::{Load, TIMEOUT, failures, send_in_turn};
use lb_tests::web::Web;
use lb_tests::world::{Arms, World, vips};

const FIRST_PORT: u16 = 10_000;
const SERVICES: u16 = 200;
/// Five ports of one host.
const BACKENDS: std::ops::RangeInclusive<u16> = 81..=85;

/// The services; backends in `left_out` are missing from each.
fn services(world: &World, left_out: &[u16]) -> Settings {
    let address = world.backends.first().map(|host| host.v4.to_string()).unwrap_or_default();
    let mut tables = CALM_CHECK.replace("1s", "3s");
    for port in (0..SERVICES).map(|number| FIRST_PORT + number) {
        let head = format!("name = \"s{port}\"\nlisten = [\"203.0.113.10:{port}\"]\n{BALANCED}");
        // Writing to a string cannot fail.
        writeln!(tables, "[[service]]\n{head}").ok();
        for backend in BACKENDS.filter(|port| !left_out.contains(port)) {
            let head = format!("name = \"b{backend}\"\naddress = \"{address}:{backend}\"");
            writeln!(tables, "[[service.backend]]\n{head}").ok();
        }
    }
    Settings { tables, ..Settings::default() }
}

#[test]
fn two_hundred_services_with_a_thousand_backends_are_balanced_and_reloaded() {
    let world = World::new(Arms::Two, 1).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    let host = &world.backends[0];
    let listen: Vec<_> = BACKENDS.map(|port| host.at(port)[0]).collect();
    let _web = Web::start_on(&world, host, &binaries, &listen).unwrap();
    let started_at = now();
    let agent = Agent::start(&world, &binaries, &services(&world, &[])).unwrap();
    let log = agent.process.log();
    println!("ready, with all 1,000 backends probed, after {:?}", now() - started_at);
    assert!(log.contains("ready: services: 200, backends serving: 1000 of 1000"), "{log}");
    agent.wait_until_all_up().unwrap();

    let all: Vec<_> = (0..SERVICES).map(|number| vips(FIRST_PORT + number)[0]).collect();
    // From a port each: a port that reaches one server through two services at once is told to try again.
    let connect_all = || {
        for (port, vip) in (20_000..21_000).zip(all.iter().cycle()) {
            Connection::open_from(port, *vip, TIMEOUT).unwrap().get("/").unwrap();
        }
    };
    world.client.namespace.enter(connect_all).unwrap();
    let rows = agent.ctl_json(&["backend", "list"]).unwrap();
    let rows = rows.as_array().unwrap();
    let uneven: Vec<_> = rows.iter().filter(|row| row["traffic"]["flows_total"] != 1).collect();
    assert!(uneven.is_empty() && rows.len() == 1_000, "each to a backend of its own: {uneven:#?}");

    let load = Load::start(&world.client.namespace, &all[..2]).unwrap();
    load.wait_for_more(20).unwrap();
    agent.write_config(&services(&world, &[85])).unwrap();
    let reloaded_at = now();
    agent.ctl_ok(&["reload"]).unwrap();
    println!("reload without 200 of them: {:?}", now() - reloaded_at);
    load.wait_for_more(20).unwrap();
    assert!(failures(&load.stop().unwrap()).len() <= 2, "only what was under way to the removed");
    assert_eq!(agent.ctl_json(&["status"]).unwrap()["backends"], 800);
    let exchanges = send_in_turn(&world.client.namespace, &all, 400).unwrap();
    assert_eq!(failures(&exchanges), Vec::<&String>::new());
}
