//! UDP services, IPv4 and IPv6.
#![cfg(feature = "root")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use lb_tests::agent::{QUICK_CHECK, Settings, service};
use lb_tests::load::TIMEOUT;
use lb_tests::stage::Stage;
use lb_tests::udp_echo::{UdpEcho, ask, connect};
use lb_tests::world::{Arms, World, vips};

const DNS: u16 = 53;

/// A service `dns` on both VIPs; its backends are probed by HTTP, at the port of their web servers.
fn dns(world: &World, more: &str) -> Settings {
    let options = format!("protocol = \"udp\"\nforward = \"nat\"\nscheduler = \"rr\"\n{more}");
    let listed = service("dns", &vips(DNS), &options, world);
    Settings {
        tables: format!("{QUICK_CHECK}\n{listed}").replace(":80\"", ":53\""),
        ..Settings::default()
    }
}

/// A question for the address of `shop.example` (RFC 1035 section 4).
fn question(id: u8) -> Vec<u8> {
    let header = [0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    [&header[..], b"\x04shop\x07example\0", &[0, 1, 0, 1]].concat()
}

/// Who answers `n` questions to `server`, each from a socket of its own.
fn answers(world: &World, server: SocketAddr, n: u8) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let ask_all = || {
        for id in 0..n {
            let question = question(id);
            let (name, echoed) = ask(&connect(server, TIMEOUT).unwrap(), &question).unwrap();
            assert_eq!(echoed, question);
            *counts.entry(name).or_default() += 1;
        }
    };
    world.client.namespace.enter(ask_all).unwrap();
    counts
}

#[test]
fn questions_are_answered_in_turn_by_all_backends_over_both_families() {
    let world = World::new(Arms::Two, 3).unwrap();
    let _echoes: Vec<_> =
        world.backends.iter().map(|host| UdpEcho::start(host, DNS).unwrap()).collect();
    let stage = Stage::set(&world, &dns(&world, "")).unwrap();
    for vip in vips(DNS) {
        assert_eq!(
            answers(&world, vip, 30).into_values().collect::<Vec<_>>(),
            [10, 10, 10],
            "{vip}"
        );
    }
    let flows = stage.agent.ctl_json(&["conn", "list", "--service", "dns"]).unwrap();
    assert_eq!(flows["total"], 60);
    assert_eq!(flows["flows"][0]["state"], "udp");
}

#[test]
fn one_socket_stays_with_its_backend_and_datagrams_of_all_sizes_arrive_whole() {
    let world = World::new(Arms::One, 2).unwrap();
    let _echoes: Vec<_> =
        world.backends.iter().map(|host| UdpEcho::start(host, DNS).unwrap()).collect();
    let _stage = Stage::set(&world, &dns(&world, "")).unwrap();
    let ask_all = || {
        for vip in vips(DNS) {
            let socket = connect(vip, TIMEOUT).unwrap();
            let (first, _) = ask(&socket, b"").unwrap();
            // The answer is five bytes longer, and is not to be fragmented; RFC 1624's corner is a sum of 0.
            for size in (0..64).chain([511, 1_024, 1_400]) {
                let datagram = vec![0xff; size];
                let (name, echoed) = ask(&socket, &datagram).unwrap();
                assert!((name, echoed) == (first.clone(), datagram), "{size} bytes through {vip}");
            }
        }
    };
    world.client.namespace.enter(ask_all).unwrap();
}

#[test]
fn a_udp_flow_moves_on_when_its_backend_dies() {
    let world = World::new(Arms::Two, 2).unwrap();
    let mut echoes: Vec<_> =
        world.backends.iter().map(|host| Some(UdpEcho::start(host, DNS).unwrap())).collect();
    let settings = dns(&world, "health_check = \"web\"");
    // Probed where the web server is: a probe over TCP needs a server at the backend's own port.
    let webs: Vec<_> = world.backends.iter().map(|host| host.at(DNS)).collect();
    let mut stage = Stage::set_at(&world, &settings.file(&world), &webs).unwrap();
    for vip in vips(DNS) {
        let socket = world.client.namespace.enter(|| connect(vip, TIMEOUT)).unwrap().unwrap();
        let (first, _) = ask(&socket, b"before").unwrap();
        let index = world.backends.iter().position(|host| host.name == first).unwrap();
        stage.kill_web(index).unwrap();
        echoes[index] = None;
        stage.agent.wait_for_health(&first, "down").unwrap();
        let (second, _) = ask(&socket, b"after").unwrap();
        assert_ne!(first, second, "{vip}");
        echoes[index] = Some(UdpEcho::start(&world.backends[index], DNS).unwrap());
        stage.revive_web_at(index, &webs[index]).unwrap();
        assert_eq!(ask(&socket, b"back").unwrap().0, second, "a live backend keeps its flows");
    }
}

#[test]
fn a_closed_udp_port_of_a_backend_is_told_to_the_client_by_the_vip() {
    let world = World::new(Arms::Two, 1).unwrap();
    let _stage = Stage::set(&world, &dns(&world, "")).unwrap();
    for vip in vips(DNS) {
        let refused = world.client.namespace.enter(|| {
            // A connected socket hears only of errors about its own peer: the quoted packet is translated.
            ask(&connect(vip, Duration::from_secs(2)).unwrap(), b"anybody?").unwrap_err()
        });
        let refused = format!("{:#}", refused.unwrap());
        assert!(refused.contains("refused"), "{vip}: {refused}");
    }
}
