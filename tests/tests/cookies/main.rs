//! Services that answer with SYN cookies: real clients and servers on both sides of the translation.
#![cfg(feature = "root")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod flooded;

use anyhow::Result;
use lb_tests::agent::{BALANCED, CALM_CHECK, Settings, service};
use lb_tests::greeter::{Greeter, converse};
use lb_tests::http_server::{digest, pattern};
use lb_tests::link::End;
use lb_tests::load::TIMEOUT;
use lb_tests::namespace::Namespace;
use lb_tests::stage::Stage;
use lb_tests::web::PORT;
use lb_tests::world::{Arms, World, vips};
use lb_tests::xdp;

const MUCH: usize = 3_000_000;
const SMTP: u16 = 25;
/// Conversations with a VIP.
const TALKS: usize = 6;

/// Sources of full NAT, on ports that the director's kernel does not use.
const SOURCES: &str = r#"full_nat = { sources = ["192.0.2.1", "2001:db8:2::1"], ports = "20000-29999" }
"#;

/// The services `shop` and `mail` by some way, which always answer with cookies.
fn guarded(way: &str, world: &World) -> Settings {
    let lines = BALANCED.replace("\"nat\"", &format!("{way:?}"));
    let shop = service("shop", &vips(PORT), &lines, world);
    let unchecked = lines.replace("health_check = \"web\"", "");
    let mail = service("mail", &vips(SMTP), &unchecked, world).replace(":80\"", ":25\"");
    let tables = format!("[firewall]\nsyn_cookies = \"always\"\n{CALM_CHECK}\n{shop}\n{mail}");
    Settings { datapath: SOURCES.to_owned(), tables }
}

fn stage<'w>(way: &str, world: &'w World) -> Result<Stage<'w>> {
    let stage = Stage::set(world, &guarded(way, world))?;
    stage.agent.wait_for_cookies()?;
    Ok(stage)
}

/// Downloads and uploads much through both VIPs.
fn exchange(stage: &Stage<'_>) {
    let body = pattern(MUCH);
    for vip in vips(PORT) {
        let mut connection = stage.connect(vip).unwrap();
        let answer = connection.get(&format!("/bytes/{MUCH}")).unwrap();
        assert!(answer.body == body, "the body from {vip} was changed");
        let answer = connection.post("/echo-hash", &body).unwrap();
        assert_eq!(String::from_utf8(answer.body).unwrap(), digest(&body), "{vip}");
    }
}

/// Says how a host's TCP is to be.
fn tune(namespace: &Namespace, [timestamps, sack, scaling]: [&str; 3]) {
    namespace.sysctl("ipv4/tcp_timestamps", timestamps).unwrap();
    namespace.sysctl("ipv4/tcp_sack", sack).unwrap();
    namespace.sysctl("ipv4/tcp_window_scaling", scaling).unwrap();
}

#[test]
fn clients_are_answered_and_every_connection_began_with_a_cookie() {
    for (arms, way) in [(Arms::One, "nat"), (Arms::Two, "nat"), (Arms::Two, "full-nat")] {
        let world = World::new(arms, 2).unwrap();
        let stage = stage(way, &world).unwrap();
        assert_eq!(stage.answers(40).unwrap().into_values().collect::<Vec<_>>(), [20, 20]);
        assert!(stage.packets("syn_cookie_sent").unwrap() >= 40);
        assert!(stage.packets("syn_cookie_accepted").unwrap() >= 40);
        exchange(&stage);
    }
}

#[test]
fn large_bodies_arrive_whole_whatever_options_the_ends_know() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = stage("nat", &world).unwrap();
    let (client, server) = (&world.client.namespace, &world.backends[0].namespace);
    for (of_client, of_server) in [
        (["0", "1", "1"], ["1", "1", "1"]),
        (["1", "0", "1"], ["1", "1", "1"]),
        (["0", "0", "0"], ["1", "1", "1"]),
        (["1", "1", "1"], ["0", "0", "0"]),
        (["1", "1", "1"], ["1", "1", "0"]),
    ] {
        tune(client, of_client);
        tune(server, of_server);
        exchange(&stage);
    }
}

#[test]
fn large_bodies_arrive_whole_although_packets_are_lost() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = stage("nat", &world).unwrap();
    for host in [&world.client, &world.backends[0]] {
        let end = End { namespace: &host.namespace, interface: "eth0" };
        xdp::attach(xdp::LOSE, end, world.link_path().as_path()).unwrap();
    }
    exchange(&stage);
}

#[test]
fn a_server_that_speaks_first_is_heard_and_answered() {
    let world = World::new(Arms::Two, 2).unwrap();
    let stage = stage("nat", &world).unwrap();
    let servers: Result<Vec<_>> =
        world.backends.iter().map(|it| Greeter::start(it, SMTP)).collect();
    let _servers = servers.unwrap();
    let words = pattern(100_000);
    for vip in vips(SMTP) {
        let greetings = [(); TALKS].map(|()| {
            let talk = || converse(vip, &words, TIMEOUT);
            world.client.namespace.enter(talk).unwrap().unwrap()
        });
        let from_first = greetings.iter().filter(|it| *it == "220 web1").count();
        assert_eq!(from_first, TALKS / 2, "{greetings:?}");
    }
    // A backend that has not heard the client repeats itself after a second.
    let repeated = stage.packets("backend_acknowledged").unwrap();
    println!("{repeated} of {} backends repeated their answer", 2 * TALKS);
    assert!(repeated < 3, "{repeated} backends repeated their answer");
}
