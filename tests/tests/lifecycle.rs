//! The agent's own life: killed, restarted, reloaded, refused.
#![cfg(feature = "root")]

use std::fmt::Write;
use std::process::Command;

use lb_tests::agent::{
    Agent, BALANCED, QUICK_CHECK, Settings, config_file, service, shop, spawn, write_config,
};
use lb_tests::binaries::Binaries;
use lb_tests::clock::{now, wait_until};
use lb_tests::command::run;
use lb_tests::load::{Load, TIMEOUT, by_backend, failures, send_in_turn};
use lb_tests::web::{PORT, Web};
use lb_tests::world::{Arms, World, vips};
use nix::sys::signal::Signal;

#[test]
fn traffic_flows_while_the_agent_is_killed_and_started_again() {
    let world = World::new(Arms::Two, 3).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    let _webs = Web::start_all(&world, &binaries).unwrap();
    let mut agent = Agent::start(&world, &binaries, &shop(&world)).unwrap();
    agent.wait_until_all_up().unwrap();
    let program = agent.ctl_json(&["status"]).unwrap()["interfaces"].clone();
    let load = Load::start(&world.client.namespace, &vips(PORT)).unwrap();
    load.wait_for_more(100).unwrap();
    agent.process.kill().unwrap();
    load.wait_for_more(300).unwrap();
    agent.restart().unwrap();
    agent.wait_until_all_up().unwrap();
    load.wait_for_more(300).unwrap();
    let exchanges = load.stop().unwrap();
    assert_eq!(failures(&exchanges), Vec::<&String>::new());
    assert_eq!(by_backend(&exchanges).len(), 3);
    assert_eq!(agent.ctl_json(&["status"]).unwrap()["interfaces"][0]["mode"], program[0]["mode"]);
}

#[test]
fn a_reload_under_load_changes_the_backends_without_one_failed_request() {
    let world = World::new(Arms::Two, 3).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    let _webs = Web::start_all(&world, &binaries).unwrap();
    let agent = Agent::start(&world, &binaries, &shop(&world)).unwrap();
    agent.wait_until_all_up().unwrap();
    let load = Load::start(&world.client.namespace, &vips(PORT)).unwrap();
    load.wait_for_more(100).unwrap();
    let mut reduced = shop(&world);
    let last = reduced.tables.rfind("[[service.backend]]").unwrap();
    reduced.tables.insert_str(last, "# the last one takes no new flows\n");
    reduced.tables.push_str("weight = 0\n");
    agent.write_config(&reduced).unwrap();
    agent.ctl_ok(&["reload"]).unwrap();
    let reloaded_at = now();
    load.wait_for_more(300).unwrap();
    agent.write_config(&shop(&world)).unwrap();
    agent.process.signal(Signal::SIGHUP).unwrap();
    let reloaded_again_at = now();
    load.wait_for_more(600).unwrap();
    let exchanges = load.stop().unwrap();
    assert_eq!(failures(&exchanges), Vec::<&String>::new());
    let between = exchanges.iter().filter(|it| it.started_at > reloaded_at);
    let between = by_backend(between.filter(|it| it.ended_at < reloaded_again_at));
    assert_eq!(between.keys().collect::<Vec<_>>(), ["web1", "web2"]);
    let after = by_backend(exchanges.iter().filter(|it| it.started_at > reloaded_again_at));
    assert!(after.contains_key("web3"), "{after:?}");
}

#[test]
fn a_wrong_file_is_explained_and_the_old_configuration_goes_on() {
    let world = World::new(Arms::Two, 1).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    let _webs = Web::start_all(&world, &binaries).unwrap();
    let agent = Agent::start(&world, &binaries, &shop(&world)).unwrap();
    agent.wait_until_all_up().unwrap();
    let wrong = shop(&world).file(&world).replace("interval =", "intervall =").replace("rr", "rrr");
    write_config(&world, &wrong).unwrap();
    let output = agent.ctl(&["reload"]).unwrap();
    assert_eq!(output.status.code(), Some(5));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("intervall") && said.contains("rrr"), "both problems at once:\n{said}");
    let exchanges = send_in_turn(&world.client.namespace, &vips(PORT), 4).unwrap();
    assert_eq!(failures(&exchanges), Vec::<&String>::new());
}

#[test]
fn an_agent_with_a_wrong_file_does_not_start() {
    let world = World::new(Arms::Two, 1).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    write_config(&world, "version = 1\n[datapath]\ninterfaces = 7\n").unwrap();
    let mut process = spawn(&world, &binaries).unwrap();
    assert!(!process.wait(TIMEOUT).unwrap().success());
    let place = format!("{}:3:", config_file(&world).display());
    assert!(process.log().contains(&place), "{place} is not in\n{}", process.log());
}

#[test]
fn a_foreign_program_on_the_interface_is_named_and_left_alone() {
    let world = World::new(Arms::Two, 1).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    let other = World::new(Arms::Two, 1).unwrap();
    let first = Agent::start(&other, &binaries, &shop(&other)).unwrap();
    let pinned = run(Command::new("find").arg(other.pin_path()).args(["-name", "*prog*"])).unwrap();
    let pinned = pinned.lines().next().unwrap().to_owned();
    world.director.ip(&format!("link set dev front xdpdrv pinned {pinned}")).unwrap();
    write_config(&world, &shop(&world).file(&world)).unwrap();
    let mut process = spawn(&world, &binaries).unwrap();
    assert!(!process.wait(TIMEOUT).unwrap().success());
    assert!(process.log().contains("front"), "{}", process.log());
    let link = run(world.director.command("ip").args(["link", "show", "front"])).unwrap();
    assert!(link.contains("prog/xdp"), "{link}");
    drop(first);
}

#[test]
fn an_agent_that_is_detached_leaves_nothing_in_the_kernel() {
    let world = World::new(Arms::Two, 1).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    drop(Agent::start(&world, &binaries, &shop(&world)).unwrap());
    for interface in world.interfaces() {
        let link = run(world.director.command("ip").args(["link", "show", interface])).unwrap();
        assert!(!link.contains("xdp"), "{link}");
        let addresses = run(world.director.command("ip").args(["address", "show"])).unwrap();
        assert!(!addresses.contains("203.0.113.10"), "{addresses}");
    }
    assert!(!world.pin_path().exists() || world.pin_path().read_dir().unwrap().next().is_none());
}

/// 200 services with five backends each: five ports of one host.
fn two_hundred_services(world: &World) -> Result<String, std::fmt::Error> {
    let address = world.backends.first().map(|host| host.v4.to_string()).unwrap_or_default();
    let mut text = QUICK_CHECK.replace("200ms", "10s");
    for number in 0..200 {
        let port = 10_000 + number;
        write!(
            text,
            "[[service]]\nname = \"s{number}\"\nlisten = [\"203.0.113.10:{port}\"]\n{BALANCED}\n"
        )?;
        for backend in 1..=5 {
            write!(
                text,
                "[[service.backend]]\nname = \"b{backend}\"\naddress = \"{address}:{}\"\n",
                80 + backend
            )?;
        }
    }
    Ok(text)
}

#[test]
fn two_hundred_services_with_a_thousand_backends_are_balanced() {
    let world = World::new(Arms::Two, 1).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    let host = &world.backends[0];
    let listen: Vec<_> = (81..=85).map(|port| host.at(port)[0]).collect();
    let _web = Web::start_on(&world, host, &binaries, &listen).unwrap();
    let settings =
        Settings { tables: two_hundred_services(&world).unwrap(), ..Settings::default() };
    let agent = Agent::start(&world, &binaries, &settings).unwrap();
    wait_until("all backends to serve", TIMEOUT * 6, || {
        Ok(agent.ctl_json(&["status"])?["backends_serving"] == 1_000)
    })
    .unwrap();
    let all: Vec<_> = (0..200).map(|number| vips(10_000 + number)[0]).collect();
    let exchanges = send_in_turn(&world.client.namespace, &all, 1_000).unwrap();
    assert_eq!(failures(&exchanges), Vec::<&String>::new());
    let rows = agent.ctl_json(&["backend", "list"]).unwrap();
    let flows = |row: &serde_json::Value| row["traffic"]["flows_total"].as_u64();
    let uneven = rows.as_array().unwrap().iter().filter(|row| flows(row) != Some(1)).count();
    assert_eq!(uneven, 0, "each of 1,000 requests to a backend of its own");
}

#[test]
fn a_change_at_run_time_survives_restart_and_reload() {
    let world = World::new(Arms::Two, 2).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    let _webs = Web::start_all(&world, &binaries).unwrap();
    let mut agent = Agent::start(&world, &binaries, &shop(&world)).unwrap();
    agent.wait_until_all_up().unwrap();
    agent.ctl_ok(&["backend", "maint", "shop", "web1"]).unwrap();
    agent.ctl_ok(&["reload"]).unwrap();
    agent.process.terminate(TIMEOUT).unwrap();
    agent.restart().unwrap();
    agent.wait_for_health("web2", "up").unwrap();
    let answers = || by_backend(&send_in_turn(&world.client.namespace, &vips(PORT), 6).unwrap());
    assert_eq!(answers().keys().collect::<Vec<_>>(), ["web2"]);
    agent.ctl_ok(&["reload", "--discard"]).unwrap();
    agent.wait_until_all_up().unwrap();
    assert_eq!(answers().len(), 2);
}

#[test]
fn two_services_share_one_backend_port_and_its_direct_clients() {
    let world = World::new(Arms::Two, 1).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    let _webs = Web::start_all(&world, &binaries).unwrap();
    let [v4, v6] = vips(PORT);
    let tables =
        [service("a", &[v4, v6], BALANCED, &world), service("b", &vips(8080), BALANCED, &world)];
    let settings =
        Settings { tables: QUICK_CHECK.to_owned() + &tables.concat(), ..Settings::default() };
    let agent = Agent::start(&world, &binaries, &settings).unwrap();
    agent.wait_until_all_up().unwrap();
    let everywhere = [vips(PORT), vips(8080), world.backends[0].at(PORT)].concat();
    let exchanges = send_in_turn(&world.client.namespace, &everywhere, 120).unwrap();
    assert_eq!(failures(&exchanges), Vec::<&String>::new());
}
