//! A real director and a real backend with a tunnel between them, on a path of 1,500 bytes: much goes both ways, and
//! the client is asked by the backend for segments that fit.
//!
//! Client, director and backend share a wire, so that replies can go straight to the client.
#![cfg(feature = "root")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use lb_tests::agent::{Agent, CALM_CHECK, Settings};
use lb_tests::binaries::Binaries;
use lb_tests::capture::Capture;
use lb_tests::clock::wait_until;
use lb_tests::decap::{Backend, DIRECTORS, answers_seen, exchange, segments_heard};
use lb_tests::http_client::ask_name;
use lb_tests::load::TIMEOUT;
use lb_tests::web::{PORT, Web};
use lb_tests::world::{Arms, World, vips};

/// The configuration of a director that reaches the backend at these addresses.
fn settings(way: &str, backend: &str) -> Settings {
    let listen = format!("{:?}", vips(PORT).map(|vip| vip.to_string()));
    Settings {
        datapath: "tunnel = { sources = [\"192.0.2.1\", \"2001:db8:2::1\"] }".to_owned(),
        tables: format!(
            "{CALM_CHECK}\n[[service]]\nname = \"shop\"\nlisten = {listen}\nforward = \"{way}\"\n\
             health_check = \"web\"\n[[service.backend]]\nname = \"web1\"\naddress = {backend}\n"
        ),
    }
}

/// Requests and a large upload through both VIPs, from a director that is set up like this.
fn serve(world: &World, binaries: &Binaries, settings: &Settings, seen: [&str; 2]) {
    let filter = "ip proto 4 or ip6 proto 4 or ip proto 41 or ip6 proto 41 or udp port 6080";
    let tunnels = Capture::start(world, world.port("web1"), filter).unwrap();
    let agent = Agent::start(world, binaries, settings).unwrap();
    agent.wait_until_all_up().unwrap();
    let is_served = || {
        let client = &world.client.namespace;
        let asked = client.enter(|| ask_name(vips(PORT)[0], TIMEOUT))?;
        Ok(asked.outcome.is_ok())
    };
    wait_until("the way to the backend to be found", TIMEOUT, is_served).unwrap();
    for vip in vips(PORT) {
        exchange(world, vip).unwrap();
    }
    assert_eq!(segments_heard(world, &answers_seen(world).unwrap()).unwrap(), [1408, 1388]);
    for text in seen {
        tunnels.wait_for(text).unwrap();
    }
}

#[test]
fn a_director_s_tunnels_of_every_kind_end_at_the_backend() {
    let world = World::new(Arms::One, 1).unwrap();
    let binaries = Binaries::of_this_profile().unwrap();
    let host = &world.backends[0];
    host.answer_directly().unwrap();
    let backend = Backend::start(&world, &binaries, &DIRECTORS).unwrap();
    assert!(!backend.process.log().contains("WARN"), "{}", backend.process.log());
    let listen = [host.at(PORT), vips(PORT)].concat();
    let _web = Web::start_on(&world, host, &binaries, &listen).unwrap();
    let [v4, v6] = host.at(PORT).map(|address| address.to_string());
    for (way, addresses, seen) in [
        ("ipip", format!("[{v4:?}, {v6:?}]"), ["proto IPIP (4)", "next-header IPv6 (41)"]),
        ("gue", format!("[{v4:?}, {v6:?}]"), ["192.0.2.11.6080", "2001:db8:2::11.6080"]),
        ("ipip", format!("{v6:?}"), ["next-header IPIP (4)", "next-header IPv6 (41)"]),
        ("ipip", format!("{v4:?}"), ["proto IPIP (4)", "proto IPv6 (41)"]),
        ("gue", format!("{v4:?}"), ["192.0.2.11.6080", "192.0.2.11.6080"]),
        ("gue", format!("{v6:?}"), ["2001:db8:2::11.6080", "2001:db8:2::11.6080"]),
    ] {
        println!("{way} to {addresses}");
        serve(&world, &binaries, &settings(way, &addresses), seen);
    }
    backend.wait_for_count("decapsulated").unwrap();
    for verdict in ["fragment", "malformed", "forbidden_source", "other_gue", "not_here"] {
        let line = format!("{verdict}: ");
        assert!(!backend.process.log().contains(&line), "{}", backend.process.log());
    }
}
