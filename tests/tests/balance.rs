//! Traffic through the VIP: who answers, in which order, and that bodies arrive whole.
#![cfg(feature = "root")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Command;

use anyhow::Result;
use lb_tests::agent::{Agent, BALANCED, CALM_CHECK, Settings, service, shop};
use lb_tests::binaries::Binaries;
use lb_tests::clock::wait_until;
use lb_tests::command::run;
use lb_tests::http_server::{digest, pattern};
use lb_tests::load::{TIMEOUT, send_in_turn};
use lb_tests::process::Process;
use lb_tests::stage::Stage;
use lb_tests::web::PORT;
use lb_tests::world::{Arms, Host, World, vips};

const TEN_MEGABYTES: usize = 10_000_000;

/// Counts by name, as [`Stage::answers`] returns them.
fn counts<const N: usize>(each: [(&str, usize); N]) -> BTreeMap<String, usize> {
    each.map(|(name, count)| (name.to_owned(), count)).into()
}

#[test]
fn three_backends_get_exactly_a_third_each_behind_one_interface_and_behind_two() {
    for arms in [Arms::One, Arms::Two] {
        let world = World::new(arms, 3).unwrap();
        let stage = Stage::shop(&world).unwrap();
        let third = counts([("web1", 100), ("web2", 100), ("web3", 100)]);
        assert_eq!(stage.answers(300).unwrap(), third, "{arms:?}");
    }
}

#[test]
fn new_connections_go_to_the_backends_one_after_the_other() {
    let world = World::new(Arms::Two, 3).unwrap();
    let _stage = Stage::shop(&world).unwrap();
    let exchanges = send_in_turn(&world.client.namespace, &vips(PORT), 30).unwrap();
    let names: Vec<_> = exchanges.iter().map(|it| it.outcome.clone().unwrap()).collect();
    assert!(names.windows(4).all(|run| run[0] == run[3] && run[0] != run[1] && run[1] != run[2]));
}

#[test]
fn weights_are_exact_over_a_cycle_and_zero_takes_nothing() {
    let world = World::new(Arms::Two, 3).unwrap();
    let listed = service("shop", &vips(PORT), &BALANCED.replace("\"rr\"", "\"wrr\""), &world);
    let mut weights = [5, 2, 0].into_iter();
    let mut tables = CALM_CHECK.to_owned();
    for line in listed.lines() {
        writeln!(tables, "{line}").unwrap();
        if line.starts_with("address") {
            writeln!(tables, "weight = {}", weights.next().unwrap()).unwrap();
        }
    }
    let stage = Stage::set(&world, &Settings { tables, ..Settings::default() }).unwrap();
    assert_eq!(stage.answers(7).unwrap(), counts([("web1", 5), ("web2", 2)]));
    stage.agent.ctl_ok(&["backend", "weight", "shop", "web3", "1"]).unwrap();
    assert_eq!(stage.answers(80).unwrap(), counts([("web1", 50), ("web2", 20), ("web3", 10)]));
    stage.agent.ctl_ok(&["backend", "weight", "shop", "web1", "0"]).unwrap();
    assert_eq!(stage.answers(30).unwrap(), counts([("web2", 20), ("web3", 10)]));
}

#[test]
fn bodies_of_ten_megabytes_arrive_whole_in_both_directions() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = Stage::shop(&world).unwrap();
    let body = pattern(TEN_MEGABYTES);
    for vip in vips(PORT) {
        let mut connection = stage.connect(vip).unwrap();
        let answer = connection.get(&format!("/bytes/{TEN_MEGABYTES}")).unwrap();
        assert!(answer.body == body, "the body from {vip} was changed");
        let answer = connection.post("/echo-hash", &body).unwrap();
        assert_eq!(String::from_utf8(answer.body).unwrap(), digest(&body), "{vip}");
    }
}

#[test]
fn the_backend_sees_the_address_of_the_client() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = Stage::shop(&world).unwrap();
    for (vip, mut client) in vips(PORT).into_iter().zip(world.client.at(0)) {
        let connection = stage.connect(vip).unwrap();
        client.set_port(connection.local_address().unwrap().port());
        let sockets = run(world.backends[0].namespace.command("ss").args(["-Htn"])).unwrap();
        assert!(sockets.contains(&client.to_string()), "{client} is not in\n{sockets}");
    }
}

/// nginx on both addresses of `host`: a server that knows nothing of this project.
fn start_nginx(world: &World, host: &Host) -> Result<Process> {
    let folder = world.folder().join(&host.name);
    std::fs::create_dir_all(folder.join("html"))?;
    std::fs::write(folder.join("html/index.html"), &host.name)?;
    std::fs::write(folder.join("html/healthz"), "")?;
    std::fs::write(folder.join("html/large"), pattern(TEN_MEGABYTES))?;
    let mut listen = String::new();
    for address in host.at(PORT) {
        writeln!(listen, "listen {address};")?;
    }
    let here = folder.display();
    let config = folder.join("nginx.conf");
    std::fs::write(
        &config,
        format!(
            "daemon off; user root; pid {here}/nginx.pid; error_log {here}/error.log; events {{}}\n\
             http {{ access_log off; server {{ root {here}/html; {listen} }} }}\n"
        ),
    )?;
    let mut command = host.namespace.command("nginx");
    Process::start(&host.name, command.arg("-c").arg(config), world.folder())
}

/// What curl gets from `url`.
fn curl(client: &Host, url: &str) -> Result<Vec<u8>> {
    let mut command: Command = client.namespace.command("curl");
    let output = command.args(["-sS", "--fail", "--globoff", "--max-time", "20", url]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "curl {url}: {said}");
    Ok(output.stdout)
}

#[test]
fn curl_gets_pages_of_nginx_through_the_vip() {
    let world = World::new(Arms::Two, 2).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    let servers: Result<Vec<_>> = world.backends.iter().map(|it| start_nginx(&world, it)).collect();
    let _servers = servers.unwrap();
    let agent = Agent::start(&world, &binaries, &shop(&world)).unwrap();
    agent.wait_until_all_up().unwrap();
    for vip in vips(PORT) {
        let names = [(); 2].map(|()| curl(&world.client, &format!("http://{vip}/")).unwrap());
        assert_ne!(names[0], names[1], "two requests in a row went to one backend");
        let large = curl(&world.client, &format!("http://{vip}/large")).unwrap();
        assert!(large == pattern(TEN_MEGABYTES), "the body from {vip} was changed");
    }
}

#[test]
fn counters_tell_what_was_sent() {
    let world = World::new(Arms::Two, 2).unwrap();
    let stage = Stage::shop(&world).unwrap();
    stage.answers(20).unwrap();
    let services = stage.agent.ctl_json(&["service", "list"]).unwrap();
    let traffic = &services[0]["traffic"];
    assert_eq!(traffic["flows_total"], 20, "{services}");
    assert!(traffic["packets"].as_u64().unwrap() >= 20 * 4, "{services}");
    assert!(traffic["reply_packets"].as_u64().unwrap() >= 20 * 3, "{services}");
    assert_eq!(traffic["packets"].as_u64(), stage.packets("to_backend").ok());
    for backend in services[0]["backends"].as_array().unwrap() {
        assert_eq!(backend["traffic"]["flows_total"], 10, "{services}");
    }
    let metrics = stage.agent.metrics().unwrap();
    assert!(metrics.contains(r#"lb_service_flows_total{service="shop"} 20"#), "{metrics}");
    wait_until("the flow table to show flows", TIMEOUT, || {
        let flows = stage.agent.ctl_json(&["conn", "list"])?;
        Ok(flows["total"].as_u64() >= Some(1))
    })
    .unwrap();
}
