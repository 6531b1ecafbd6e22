//! What shares an address or a port with a service: closed ports, the host's own servers, other VIPs,
//! direct clients and probes.
#![cfg(feature = "root")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::net::SocketAddr;
use std::time::Duration;

use lb_tests::agent::{BALANCED, CALM_CHECK, Settings, service};
use lb_tests::http_client::Connection;
use lb_tests::load::{Load, failures};
use lb_tests::process::Process;
use lb_tests::stage::Stage;
use lb_tests::web::PORT;
use lb_tests::world::{Arms, World, vips};

/// Not refused: nothing comes back.
fn is_silent(world: &World, address: SocketAddr) -> bool {
    let open = || Connection::open(address, Duration::from_millis(300));
    let error = world.client.namespace.enter(open).unwrap().unwrap_err();
    format!("{error:#}").contains("timed out")
}

#[test]
fn closed_ports_of_a_vip_are_silent_and_counted_by_name() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = Stage::shop(&world).unwrap();
    for vip in vips(81) {
        assert!(is_silent(&world, vip), "{vip}");
    }
    assert!(stage.packets("port_closed").unwrap() >= 2);
    assert_eq!(stage.answers(4).unwrap()["web1"], 4);
}

#[test]
fn without_managed_addresses_the_other_ports_of_the_hosts_own_address_stay_open() {
    let world = World::new(Arms::Two, 1).unwrap();
    let own: [SocketAddr; 2] =
        ["198.51.100.1:80".parse().unwrap(), "[2001:db8:1::1]:80".parse().unwrap()];
    let tables = format!("{CALM_CHECK}\n{}", service("shop", &own, BALANCED, &world));
    let settings = Settings { tables, ..Settings::default() };
    let text = settings.file(&world).replace("manage_addresses = true", "manage_addresses = false");
    let stage = Stage::set_from(&world, &text).unwrap();
    // Such as sshd: a server of the director itself.
    let mut command = world.director.command(&stage.binaries.xtask);
    command.args(["serve", "--name", "director"]);
    for address in own {
        command.arg("--listen").arg(SocketAddr::new(address.ip(), 22).to_string());
    }
    let _server = Process::start("director", &mut command, world.folder()).unwrap();
    for address in own {
        let mut connection = stage.connect(address).unwrap();
        assert_eq!(connection.get("/").unwrap().backend, "web1");
        let host_port = SocketAddr::new(address.ip(), 22);
        let open = || Ok(stage.connect(host_port).ok());
        let mut connection =
            lb_tests::clock::wait_for("the director's server", Duration::from_secs(5), open)
                .unwrap();
        assert_eq!(connection.get("/").unwrap().backend, "director");
    }
    assert!(stage.packets("vip_host_port").unwrap() >= 4);
    assert_eq!(stage.packets("port_closed").unwrap(), 0);
}

/// Services `a` and `b`, on two VIPs each, with the same backends at the same port.
fn two_services(world: &World) -> Settings {
    let others = ["203.0.113.11:80".parse().unwrap(), "[2001:db8:f::11]:80".parse().unwrap()];
    let tables = [
        CALM_CHECK.to_owned(),
        service("a", &vips(PORT), BALANCED, world),
        service("b", &others, BALANCED, world),
    ];
    Settings { tables: tables.concat(), ..Settings::default() }
}

#[test]
fn one_port_of_a_client_reaches_one_backend_port_through_two_vips_at_once() {
    let world = World::new(Arms::Two, 2).unwrap();
    let stage = Stage::set(&world, &two_services(&world)).unwrap();
    for (a, b) in
        [("203.0.113.10:80", "203.0.113.11:80"), ("[2001:db8:f::10]:80", "[2001:db8:f::11]:80")]
    {
        let mut through_a = stage.connect_from(30_000, a.parse().unwrap()).unwrap();
        let mut through_b = stage.connect_from(30_000, b.parse().unwrap()).unwrap();
        for _ in 0..3 {
            let first = through_a.get("/").unwrap().backend;
            let second = through_b.get("/").unwrap().backend;
            assert_ne!(first, second, "replies from one backend could not be told apart");
        }
    }
    assert_eq!(stage.packets("reply_conflict").unwrap(), 0);
}

#[test]
fn a_conflict_of_replies_is_dropped_by_name() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = Stage::set(&world, &two_services(&world)).unwrap();
    let mut through_a = stage.connect_from(30_000, "203.0.113.10:80".parse().unwrap()).unwrap();
    let open = || {
        Connection::open_from(
            30_000,
            "203.0.113.11:80".parse().unwrap(),
            Duration::from_millis(300),
        )
    };
    assert!(world.client.namespace.enter(open).unwrap().is_err());
    assert!(stage.packets("reply_conflict").unwrap() >= 1);
    assert_eq!(through_a.get("/").unwrap().backend, "web1");
    assert!(stage.connect_from(30_001, "203.0.113.11:80".parse().unwrap()).is_ok());
}

#[test]
fn direct_clients_and_probes_of_a_backend_go_on_beside_two_services() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = Stage::set(&world, &two_services(&world)).unwrap();
    let direct = world.backends[0].at(PORT);
    let everywhere = [&vips(PORT)[..], &direct].concat();
    let load = Load::start(&world.client.namespace, &everywhere).unwrap();
    load.wait_for_more(200).unwrap();
    assert_eq!(failures(&load.stop().unwrap()), Vec::<&String>::new());
    // A connection that the director opens itself, and one that a client opens directly, from a port that
    // a balanced flow has too.
    let mut balanced = stage.connect_from(30_000, vips(PORT)[0]).unwrap();
    let mut beside = world
        .director
        .enter(|| Connection::open_from(30_000, direct[0], Duration::from_secs(2)))
        .unwrap()
        .unwrap();
    assert_eq!(balanced.get("/").unwrap().backend, "web1");
    assert_eq!(beside.get("/").unwrap().backend, "web1");
    let history = stage.agent.ctl_json(&["health", "history"]).unwrap();
    let downs = history.as_array().unwrap().iter().filter(|change| change["to"] == "down").count();
    assert_eq!(downs, 0, "{history}");
}
