//! The ways to backends: known before the agent is ready, lost, or by an interface that is not used.
#![cfg(feature = "root")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use lb_tests::agent::{METRICS, Settings, service, shop};
use lb_tests::clock::wait_until;
use lb_tests::command::run;
use lb_tests::http_client::Connection;
use lb_tests::load::{TIMEOUT, by_backend, failures, send_in_turn};
use lb_tests::stage::Stage;
use lb_tests::web::PORT;
use lb_tests::world::{Arms, World, vips};

/// The shop without a health check, so that nothing but the agent looks for its backends.
fn unchecked(world: &World) -> Settings {
    let tables = service("shop", &vips(PORT), "protocol = \"tcp\"\nforward = \"nat\"", world);
    Settings { datapath: String::new(), tables }
}

#[test]
fn from_readiness_on_no_packet_of_a_first_start_lacks_a_next_hop() {
    let world = World::new(Arms::Two, 3).unwrap();
    world.unplug("web3").unwrap();
    let stage = Stage::set(&world, &unchecked(&world)).unwrap();
    let load = stage.load().unwrap();
    load.wait_for_more(100).unwrap();
    let exchanges = load.stop().unwrap();
    assert_eq!(failures(&exchanges), Vec::<&String>::new());
    assert_eq!(by_backend(&exchanges).into_keys().collect::<Vec<_>>(), ["web1", "web2"]);
    assert_eq!(stage.packets("no_next_hop").unwrap(), 0);
}

#[test]
fn a_backend_whose_neighbour_is_lost_takes_no_new_flows_until_it_is_found_again() {
    let world = World::new(Arms::Two, 2).unwrap();
    let stage = Stage::set(&world, &unchecked(&world)).unwrap();
    let mut connections = [(); 2].map(|()| stage.connect_through(vips(PORT)[0]).unwrap().0);
    let are_serving = |wanted: [bool; 2]| {
        wait_until(&format!("{wanted:?} to serve"), TIMEOUT, || {
            let rows = stage.agent.ctl_json(&["backend", "list"])?;
            Ok([0, 1].map(|row| rows[row]["serving"] == true) == wanted)
        })
        .unwrap();
    };
    world.unplug("web2").unwrap();
    for address in world.backends[1].at(PORT) {
        let change = format!("neigh change {} dev back nud failed", address.ip());
        world.director.ip(&change).unwrap();
    }
    are_serving([true, false]);
    assert_eq!(stage.answering(20).unwrap(), ["web1"]);
    assert_eq!(stage.packets("no_next_hop").unwrap(), 0);
    world.plug_in("web2").unwrap();
    are_serving([true, true]);
    assert_eq!(stage.answering(20).unwrap(), ["web1", "web2"]);
    let mut names = connections.each_mut().map(|open| open.get("/").unwrap().backend);
    names.sort_unstable();
    assert_eq!(names, ["web1", "web2"], "the open connections went on");
}

/// Puts the director's side of the back network on a bridge.
fn bridge(world: &World) {
    let lines = "link add br0 type bridge mcast_snooping 0
link set br0 up
address flush dev back
link set back master br0
address add 192.0.2.1/24 dev br0
address add 2001:db8:2::1/64 dev br0 nodad";
    world.director.ip(lines).unwrap();
}

#[test]
fn backends_behind_a_bridge_that_is_not_used_are_named_with_the_remedy() {
    let world = World::new(Arms::Two, 2).unwrap();
    bridge(&world);
    let stage = Stage::shop(&world).unwrap();
    let exchanges = send_in_turn(&world.client.namespace, &vips(PORT)[..1], 1).unwrap();
    assert_eq!(failures(&exchanges).len(), 1);
    assert!(stage.packets("no_next_hop").unwrap() > 0);
    let status = stage.agent.ctl_json(&["status"]).unwrap();
    let warning = status["warnings"][0].as_str().unwrap();
    let said =
        "backend web1 of service shop is reached by br0, which is not in [datapath] interfaces";
    assert!(warning.starts_with(said) && warning.contains("add br0 there"), "{status}");
    let log = stage.agent.process.log();
    assert_eq!(log.matches(said).count(), 1, "{log}");
    let doctor = stage.agent.ctl(&["doctor"]).unwrap();
    let doctor = String::from_utf8_lossy(&doctor.stdout);
    assert!(doctor.contains("by br0, which is not in [datapath] interfaces"), "{doctor}");
    assert!(doctor.contains("remedy: route to it by one that is, or add br0 there"), "{doctor}");
}

/// The shop by way of the bridge, in this XDP mode.
fn by_bridge<'w>(world: &'w World, mode: &str) -> Stage<'w> {
    bridge(world);
    for interface in ["front", "back", "br0"] {
        let mut ethtool = world.director.command("ethtool");
        run(ethtool.args(["-K", interface, "gro", "off"])).unwrap();
    }
    let datapath = format!("xdp_mode = \"{mode}\"");
    let text = Settings { datapath, ..shop(world) }.file(world);
    Stage::set_from(world, &text.replace("\"back\"]", "\"br0\"]")).unwrap()
}

#[test]
fn a_bridge_is_used_in_generic_mode() {
    let world = World::new(Arms::Two, 2).unwrap();
    let stage = by_bridge(&world, "generic");
    assert_eq!(stage.answering(20).unwrap(), ["web1", "web2"]);
    let status = stage.agent.ctl_json(&["status"]).unwrap();
    assert_eq!(status["warnings"].to_string(), "[]");
}

#[test]
fn interfaces_of_different_modes_are_a_warning_for_they_lose_packets() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = by_bridge(&world, "auto");
    let exchanges = send_in_turn(&world.client.namespace, &vips(PORT)[..1], 1).unwrap();
    assert_eq!(failures(&exchanges).len(), 1);
    assert!(stage.packets("to_backend").unwrap() > 0, "the program has let go of them");
    let mixed = "front is native and br0 generic: what goes from the one out of the other";
    let status = stage.agent.ctl_json(&["status"]).unwrap();
    assert!(status["warnings"][0].as_str().unwrap().starts_with(mixed), "{status}");
    assert!(stage.agent.process.log().contains(mixed));
}

#[test]
fn probes_that_the_director_cannot_start_are_a_warning_and_it_stays_ready() {
    let world = World::new(Arms::Two, 2).unwrap();
    let stage = Stage::shop(&world).unwrap();
    for (key, ports) in [("reserved_ports", "40000"), ("port_range", "40000 40000")] {
        world.director.sysctl(&format!("ipv4/ip_local_{key}"), ports).unwrap();
    }
    wait_until("a warning", TIMEOUT, || {
        let status = stage.agent.ctl_json(&["status"])?;
        Ok(status["warnings"][0].as_str().is_some_and(|text| text.contains("probe all backends")))
    })
    .unwrap();
    let ask = || Connection::open_from(40_001, METRICS, TIMEOUT)?.get("/readyz");
    let ready = world.director.enter(ask).unwrap().unwrap();
    assert_eq!((ready.status, stage.answering(20).unwrap().len()), (200, 2));
}
