//! Traffic through the VIP: who answers, in which order, and that bodies arrive whole.
#![cfg(feature = "root")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Command;

use anyhow::Result;
use lb_tests::agent::{Agent, shop};
use lb_tests::binaries::Binaries;
use lb_tests::clock::wait_until;
use lb_tests::command::run;
use lb_tests::http_client::Connection;
use lb_tests::http_server::{digest, pattern};
use lb_tests::load::{TIMEOUT, by_backend, failures, send_in_turn};
use lb_tests::process::Process;
use lb_tests::web::{PORT, Web};
use lb_tests::world::{Arms, Host, World, ping, vips};

const TEN_MEGABYTES: usize = 10_000_000;

/// Answers by backend to 300 requests over IPv4 and IPv6 in turn.
fn spread(arms: Arms) -> Result<BTreeMap<String, usize>> {
    let world = World::new(arms, 3)?;
    let binaries = Binaries::of_this_profile()?;
    let _webs = Web::start_all(&world, &binaries)?;
    let agent = Agent::start(&world, &binaries, &shop(&world))?;
    agent.wait_until_all_up()?;
    let exchanges = send_in_turn(&world.client.namespace, &vips(PORT), 300)?;
    assert_eq!(failures(&exchanges), Vec::<&String>::new());
    Ok(by_backend(&exchanges))
}

fn a_third_each() -> BTreeMap<String, usize> {
    ["web1", "web2", "web3"].map(|name| (name.to_owned(), 100)).into()
}

#[test]
fn three_backends_behind_two_interfaces_get_exactly_a_third_each() {
    assert_eq!(spread(Arms::Two).unwrap(), a_third_each());
}

#[test]
fn three_backends_behind_one_interface_get_exactly_a_third_each() {
    assert_eq!(spread(Arms::One).unwrap(), a_third_each());
}

#[test]
fn bodies_of_ten_megabytes_arrive_whole_in_both_directions() {
    let world = World::new(Arms::Two, 1).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    let _webs = Web::start_all(&world, &binaries).unwrap();
    let agent = Agent::start(&world, &binaries, &shop(&world)).unwrap();
    agent.wait_until_all_up().unwrap();
    let body = pattern(TEN_MEGABYTES);
    world
        .client
        .namespace
        .enter(|| {
            for vip in vips(PORT) {
                let mut connection = Connection::open(vip, TIMEOUT).unwrap();
                let answer = connection.get(&format!("/bytes/{TEN_MEGABYTES}")).unwrap();
                assert!(answer.body == body, "the body from {vip} was changed");
                let answer = connection.post("/echo-hash", &body).unwrap();
                assert_eq!(String::from_utf8(answer.body).unwrap(), digest(&body), "{vip}");
            }
        })
        .unwrap();
}

#[test]
fn the_backend_sees_the_address_of_the_client() {
    let world = World::new(Arms::Two, 1).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    let _webs = Web::start_all(&world, &binaries).unwrap();
    let agent = Agent::start(&world, &binaries, &shop(&world)).unwrap();
    agent.wait_until_all_up().unwrap();
    for (vip, client) in vips(PORT).into_iter().zip(world.client.at(0)) {
        let open = || Connection::open(vip, TIMEOUT).unwrap();
        let connection = world.client.namespace.enter(open).unwrap();
        let port = connection.local_address().unwrap().port();
        let sockets = run(world.backends[0].namespace.command("ss").args(["-Htn"])).unwrap();
        let peer = match client.ip() {
            std::net::IpAddr::V4(ip) => format!("{ip}:{port}"),
            std::net::IpAddr::V6(ip) => format!("[{ip}]:{port}"),
        };
        assert!(sockets.contains(&peer), "{peer} is not in\n{sockets}");
    }
}

#[test]
fn the_vip_answers_ping_and_refuses_other_ports() {
    let world = World::new(Arms::Two, 1).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    let _webs = Web::start_all(&world, &binaries).unwrap();
    let agent = Agent::start(&world, &binaries, &shop(&world)).unwrap();
    for vip in vips(81) {
        assert!(ping(&world.client.namespace, vip.ip()).unwrap(), "{vip}");
        let open = || Connection::open(vip, TIMEOUT / 5).is_err();
        assert!(world.client.namespace.enter(open).unwrap(), "{vip}");
    }
    let drops = agent.ctl_json(&["drops"]).unwrap();
    let closed = drops.as_array().unwrap().iter().find(|row| row["verdict"] == "port_closed");
    assert!(closed.unwrap()["packets"].as_u64().unwrap() >= 2, "{drops}");
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
    let binaries = Binaries::of_this_profile().unwrap();
    let _webs = Web::start_all(&world, &binaries).unwrap();
    let agent = Agent::start(&world, &binaries, &shop(&world)).unwrap();
    agent.wait_until_all_up().unwrap();
    send_in_turn(&world.client.namespace, &vips(PORT), 20).unwrap();
    let services = agent.ctl_json(&["service", "list"]).unwrap();
    let traffic = &services[0]["traffic"];
    assert_eq!(traffic["flows_total"], 20, "{services}");
    assert!(traffic["packets"].as_u64().unwrap() >= 20 * 4, "{services}");
    assert!(traffic["reply_packets"].as_u64().unwrap() >= 20 * 3, "{services}");
    let metrics = agent.metrics().unwrap();
    assert!(metrics.contains(r#"lb_service_flows_total{service="shop"} 20"#), "{metrics}");
    wait_until("the flow table to show flows", TIMEOUT, || {
        let flows = agent.ctl_json(&["conn", "list"])?;
        Ok(flows["total"].as_u64() >= Some(1))
    })
    .unwrap();
}
