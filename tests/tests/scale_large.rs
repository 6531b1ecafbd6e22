//! 10,000 services with 65,000 backends, each of both families, in the kernel; so many rings that they are made
//! smaller to fit. And a flow table for 10,000,000 flows.
#![cfg(feature = "root")]
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]

use std::fmt::Write;
use std::net::SocketAddr;

use lb_tests::agent::{Agent, Settings, shop};
use lb_tests::binaries::Binaries;
use lb_tests::clock::{now, wait_until};
use lb_tests::load::{Load, TIMEOUT, by_backend, failures, send_in_turn};
use lb_tests::stage::Stage;
use lb_tests::web::Web;
use lb_tests::world::{Arms, Host, World, vips};

const FIRST_PORT: u16 = 10_000;
const SERVICES: u16 = 10_000;
const BACKENDS: u16 = 65_000;
/// Those of the services, in turn.
const SCHEDULERS: [&str; 7] = ["rr", "maglev", "wlc", "sh", "random", "wrr", "lc"];
const MAX_FLOWS: u64 = 10_000_000;

fn backends_of(service: u16) -> std::ops::Range<u16> {
    let first = |number: u16| u32::from(number) * u32::from(BACKENDS) / u32::from(SERVICES);
    let port = |number| u16::try_from(1 + first(number)).unwrap_or(u16::MAX);
    port(service)..port(service + 1)
}

/// All services with the schedulers in turn, the last with `scheduler`.
fn services(host: &Host, schedulers: &[&str], scheduler: &str) -> Settings {
    let mut tables = String::new();
    for number in 0..SERVICES {
        let [v4, v6] = vips(FIRST_PORT + number);
        let is_last = number == SERVICES - 1;
        let scheduler =
            if is_last { scheduler } else { schedulers[usize::from(number) % schedulers.len()] };
        // Writing to a string cannot fail.
        writeln!(
            tables,
            "[[service]]\nname = \"s{number}\"\nlisten = [\"{v4}\", \"{v6}\"]\nscheduler = \"{scheduler}\""
        )
        .ok();
        for port in backends_of(number) {
            let [v4, v6] = host.at(port);
            let weight = 1 + port % 9;
            let head = format!("name = \"b{port}\"\naddress = [\"{v4}\", \"{v6}\"]");
            writeln!(tables, "[[service.backend]]\n{head}\nweight = {weight}").ok();
        }
    }
    Settings { tables, ..Settings::default() }
}

/// Web servers on all backends of a service.
fn serve(world: &World, binaries: &Binaries, service: u16) -> Web {
    let host = &world.backends[0];
    let listen: Vec<SocketAddr> = backends_of(service).flat_map(|port| host.at(port)).collect();
    Web::start_on(world, host, binaries, &listen).unwrap()
}

#[test]
fn ten_thousand_services_with_sixty_five_thousand_backends_are_balanced_and_reloaded() {
    let world = World::new(Arms::Two, 1).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    let host = &world.backends[0];
    let last = SERVICES - 1;
    let webs = vec![serve(&world, &binaries, 0), serve(&world, &binaries, last)];
    let started_at = now();
    let agent = Agent::start(&world, &binaries, &services(host, &SCHEDULERS, "rr")).unwrap();
    println!("ready after {:?}", now() - started_at);
    let log = agent.process.log();
    assert!(log.contains("ready: services: 10000, backends serving: 65000 of 65000"), "{log}");
    let stage = Stage { agent, webs, world: &world, binaries };

    let [first, end] = [0, last].map(|number| vips(FIRST_PORT + number));
    let all = [first, end].concat();
    let exchanges = send_in_turn(&world.client.namespace, &all, 80).unwrap();
    assert_eq!(failures(&exchanges), Vec::<&String>::new());
    assert_eq!(by_backend(&exchanges).values().sum::<usize>(), 80);

    let load = Load::start(&world.client.namespace, &all[..2]).unwrap();
    load.wait_for_more(20).unwrap();
    stage.agent.write_config(&services(host, &SCHEDULERS, "maglev")).unwrap();
    let reloaded_at = now();
    stage.agent.ctl_ok(&["reload"]).unwrap();
    println!("reload with another scheduler in one: {:?}", now() - reloaded_at);
    let drained_at = now();
    let name = format!("b{}", backends_of(last).start);
    stage.agent.ctl_ok(&["backend", "drain", &format!("s{last}"), &name]).unwrap();
    println!("drain of one: {:?}", now() - drained_at);
    load.wait_for_more(20).unwrap();
    assert_eq!(failures(&load.stop().unwrap()), Vec::<&String>::new());
    let listed_at = now();
    let rows = stage.agent.ctl_json(&["backend", "list"]).unwrap();
    println!("list of all backends: {:?}", now() - listed_at);
    assert_eq!(rows.as_array().map(Vec::len), Some(usize::from(BACKENDS)));
    let exchanges = send_in_turn(&world.client.namespace, &all, 80).unwrap();
    assert_eq!(failures(&exchanges), Vec::<&String>::new());
    let summary = || Ok(stage.agent.ctl_json(&["status"])?["backends_serving"] == 64_999);
    wait_until("all but the drained one to serve", TIMEOUT, summary).unwrap();
}

#[test]
fn a_flow_table_for_ten_million_flows_is_made_and_used() {
    let world = World::new(Arms::Two, 2).unwrap();
    let datapath = format!("max_flows = {MAX_FLOWS}");
    let stage = Stage::set(&world, &Settings { datapath, ..shop(&world) }).unwrap();
    assert_eq!(stage.answers(40).unwrap().into_values().collect::<Vec<_>>(), [20, 20]);
    let status = stage.agent.ctl_json(&["status"]).unwrap();
    assert_eq!(status["max_flows"], MAX_FLOWS);
    let flows = stage.agent.ctl_json(&["conn", "list"]).unwrap();
    assert!(flows["total"].as_u64() >= Some(40), "{flows}");
}
