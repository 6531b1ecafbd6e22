//! A backend that decapsulates: the real command, HTTP through tunnels that the kernel makes, replies that go
//! past the director.
#![cfg(feature = "root")]
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use aya::programs::{SchedClassifier, TcAttachType};
use lb_agent::io::datapath::{Decap, DecapPlan, Hook};
use lb_agent::model::config::XdpMode;
use lb_agent::model::decap::{Segment, Tunnels};
use lb_tests::binaries::Binaries;
use lb_tests::clock::wait_until;
use lb_tests::command::run;
use lb_tests::decap::{
    Backend, DIRECTORS, LARGE, answers_seen, connect, exchange, pin_path, segments_heard, spawn,
};
use lb_tests::http_client::Connection;
use lb_tests::http_server::pattern;
use lb_tests::link::End;
use lb_tests::load::{Load, TIMEOUT, failures};
use lb_tests::tunnel::{Carrier, Tunnel};
use lb_tests::web::PORT;
use lb_tests::world::{Arms, World, vips};

fn binaries() -> Binaries {
    Binaries::of_this_profile().unwrap()
}

fn show(world: &World, arguments: &[&str]) -> String {
    run(world.backends[0].namespace.command(arguments[0]).args(&arguments[1..])).unwrap()
}

/// Whether the program for what goes out is on `eth0`, by a link or as a filter.
fn is_clamped(world: &World) -> bool {
    let linked = || SchedClassifier::query_tcx("eth0", TcAttachType::Egress);
    let linked = world.backends[0].namespace.enter(linked).unwrap();
    let programs = linked.map(|(_, programs)| programs).unwrap_or_default();
    programs.iter().any(|program| program.name_as_str() == Some("sluice_clamp"))
        || filters(world) > 0
}

fn filters(world: &World) -> usize {
    show(world, &["bpftool", "net", "show"]).matches("sluice_clamp").count()
}

/// What is on the backend of programs and VIPs: for what comes in, for what goes out, the address.
fn left(world: &World) -> [bool; 3] {
    let vip = vips(PORT)[0].ip().to_string();
    [
        show(world, &["ip", "link", "show", "eth0"]).contains("xdp"),
        is_clamped(world),
        show(world, &["ip", "address", "show", "dev", "lo"]).contains(&vip),
    ]
}

/// The kernel lets go of a program a moment after its last pin is gone.
fn wait_until_left(world: &World, expected: [bool; 3]) {
    wait_until(&format!("{expected:?} to be left"), TIMEOUT, || Ok(left(world) == expected))
        .unwrap();
}

/// Serves both families through every kind of tunnel.
fn serve_all(world: &World, backend: &Backend<'_>) {
    let _web = backend.serve(&binaries()).unwrap();
    let host = &world.backends[0];
    for carrier in [Carrier::Ip, Carrier::Direct, Carrier::Header] {
        for over in [IpAddr::from(host.v4), IpAddr::from(host.v6)] {
            println!("{carrier:?} over {over}");
            let _tunnel = Tunnel::start(world, carrier, over).unwrap();
            for vip in vips(PORT) {
                exchange(world, vip).unwrap();
            }
        }
    }
    backend.wait_for_count("decapsulated").unwrap();
    backend.wait_for_count("segment_clamped").unwrap();
    assert!(!backend.process.log().contains("fragment: "), "{}", backend.process.log());
}

#[test]
fn every_kind_of_tunnel_serves_both_families_in_native_mode() {
    let world = World::new(Arms::Two, 1).unwrap();
    let native = [&DIRECTORS[..], &["--xdp-mode", "native"]].concat();
    let backend = Backend::start(&world, &binaries(), &native).unwrap();
    assert!(backend.process.log().contains("native mode"), "{}", backend.process.log());
    serve_all(&world, &backend);
}

#[test]
fn every_kind_of_tunnel_serves_both_families_in_generic_mode() {
    let world = World::new(Arms::Two, 1).unwrap();
    show(&world, &["ethtool", "-K", "eth0", "gro", "off"]);
    let generic = [&DIRECTORS[..], &["--xdp-mode", "generic"]].concat();
    let backend = Backend::start(&world, &binaries(), &generic).unwrap();
    assert!(backend.process.log().contains("generic mode"), "{}", backend.process.log());
    serve_all(&world, &backend);
}

#[test]
fn a_client_is_asked_for_segments_that_fit_into_the_tunnel() {
    let world = World::new(Arms::Two, 1).unwrap();
    let _tunnel = Tunnel::start(&world, Carrier::Ip, world.backends[0].v4.into()).unwrap();
    let answers = answers_seen(&world).unwrap();
    for (more, expected) in [
        (&["--mss", "off"][..], [1460, 1440]),
        (&["--mss", "1000"], [1000, 1000]),
        (&["--from", "192.0.2.1", "--gue-port", "0"], [1440, 1420]),
        (&[], [1408, 1388]),
    ] {
        let mut backend = Backend::start(&world, &binaries(), more).unwrap();
        let _web = backend.serve(&binaries()).unwrap();
        assert_eq!(segments_heard(&world, &answers).unwrap(), expected, "{more:?}");
        backend.process.terminate(TIMEOUT).unwrap();
    }
}

#[test]
fn segments_follow_the_mtu_of_the_interface() {
    let world = World::new(Arms::Two, 1).unwrap();
    let _tunnel = Tunnel::start(&world, Carrier::Ip, world.backends[0].v4.into()).unwrap();
    let backend = Backend::start(&world, &binaries(), &DIRECTORS).unwrap();
    let _web = backend.serve(&binaries()).unwrap();
    let answers = answers_seen(&world).unwrap();
    assert_eq!(segments_heard(&world, &answers).unwrap(), [1408, 1388]);
    world.backends[0].namespace.ip("link set eth0 mtu 1400").unwrap();
    wait_until("smaller segments", TIMEOUT, || {
        Ok(segments_heard(&world, &answers)? == [1308, 1288])
    })
    .unwrap();
}

#[test]
fn tunnels_follow_the_addresses_of_the_host() {
    let world = World::new(Arms::Two, 1).unwrap();
    let backend = Backend::start(&world, &binaries(), &DIRECTORS).unwrap();
    let _web = backend.serve(&binaries()).unwrap();
    let host = &world.backends[0].namespace;
    let (later, vip) = (IpAddr::from([192, 0, 2, 99]), vips(PORT)[0]);
    let is_served = || {
        let patience = Duration::from_millis(300);
        Ok(world.client.namespace.enter(|| Connection::open(vip, patience))?.is_ok())
    };
    host.ip(&format!("address add {later}/32 dev eth0")).unwrap();
    let _tunnel = Tunnel::start(&world, Carrier::Ip, later).unwrap();
    wait_until("the new address to be known", TIMEOUT, is_served).unwrap();
    host.ip(&format!("address del {later}/32 dev eth0")).unwrap();
    wait_until("the old address to be forgotten", TIMEOUT, || Ok(!is_served()?)).unwrap();
    backend.wait_for_count("not_here").unwrap();
}

#[test]
fn without_the_clamp_what_clients_send_is_too_large() {
    let world = World::new(Arms::Two, 1).unwrap();
    let backend = Backend::start(&world, &binaries(), &["--mss", "off"]).unwrap();
    let _web = backend.serve(&binaries()).unwrap();
    let _tunnel = Tunnel::start(&world, Carrier::Ip, world.backends[0].v4.into()).unwrap();
    let mut connection = connect(&world, vips(PORT)[0]).unwrap();
    connection.set_timeout(Duration::from_millis(500)).unwrap();
    connection.post("/echo-hash", &pattern(LARGE)).unwrap_err();
    backend.wait_for_count("fragment").unwrap();
}

#[test]
fn a_kernel_without_links_for_what_goes_out_has_a_filter() {
    let world = World::new(Arms::Two, 1).unwrap();
    let host = &world.backends[0];
    let tunnels = Tunnels {
        vips: vips(PORT).map(|vip| vip.ip()).into(),
        gue_port: 0,
        sources: Vec::new(),
        segment: Segment::Auto,
    };
    let tables = tunnels.tables(&BTreeSet::from([host.v4.into(), host.v6.into()]), 1500);
    let plan = DecapPlan {
        interfaces: vec!["eth0".to_owned()],
        mode: XdpMode::Auto,
        hook: Some(Hook::Clsact),
        pin_path: pin_path(&world, &world.backends[0]),
    };
    for vip in &tunnels.vips {
        host.namespace.ip(&format!("address add {vip} dev lo")).unwrap();
    }
    let web = |binaries| lb_tests::web::Web::start_on(&world, host, binaries, &vips(PORT));
    let _web = web(&binaries()).unwrap();
    let _tunnel = Tunnel::start(&world, Carrier::Ip, host.v4.into()).unwrap();
    let answers = answers_seen(&world).unwrap();
    let open = || host.namespace.enter(|| Decap::open(&plan, &tables, &[])).unwrap().unwrap();
    // A process that was killed leaves its filter, and the next one replaces it.
    drop(open());
    let decap = open();
    assert_eq!(filters(&world), 1);
    assert_eq!(segments_heard(&world, &answers).unwrap(), [1420, 1400]);
    host.namespace.enter(|| decap.detach()).unwrap().unwrap();
    wait_until_left(&world, [false, false, true]);
}

#[test]
fn nobody_but_the_directors_reaches_the_vips() {
    let world = World::new(Arms::Two, 1).unwrap();
    let others = ["--from", "192.0.2.64/26", "--from", "2001:db8:3::/48"];
    let backend = Backend::start(&world, &binaries(), &others).unwrap();
    let _web = backend.serve(&binaries()).unwrap();
    let host = &world.backends[0];
    for over in [IpAddr::from(host.v4), IpAddr::from(host.v6)] {
        let _tunnel = Tunnel::start(&world, Carrier::Ip, over).unwrap();
        for vip in vips(PORT) {
            let patience = Duration::from_millis(300);
            let opened = world.client.namespace.enter(|| Connection::open(vip, patience)).unwrap();
            opened.unwrap_err();
        }
    }
    backend.wait_for_count("forbidden_source").unwrap();
    assert!(!backend.process.log().contains("decapsulated: "), "{}", backend.process.log());
}

#[test]
fn it_takes_everything_away_at_the_end() {
    let world = World::new(Arms::Two, 1).unwrap();
    world.backends[0].namespace.ip("link add eth1 type veth peer name other").unwrap();
    let mut backend = Backend::start(&world, &binaries(), &["--interface", "eth1"]).unwrap();
    assert_eq!(left(&world), [true; 3]);
    assert!(backend.process.log().contains("attached to eth1"), "{}", backend.process.log());
    assert!(backend.process.terminate(TIMEOUT).unwrap().success());
    wait_until_left(&world, [false; 3]);
    assert!(!pin_path(&world, &world.backends[0]).exists());
}

#[test]
fn a_restart_and_a_crash_lose_no_request() {
    let world = World::new(Arms::Two, 1).unwrap();
    let binaries = binaries();
    let mut backend = Backend::start(&world, &binaries, &["--keep"]).unwrap();
    let _web = backend.serve(&binaries).unwrap();
    let _tunnel = Tunnel::start(&world, Carrier::Direct, world.backends[0].v6.into()).unwrap();
    let load = Load::start(&world.client.namespace, &vips(PORT)).unwrap();
    for _ in 0..3 {
        backend.process.terminate(TIMEOUT).unwrap();
        assert_eq!(left(&world), [true; 3]);
        backend = Backend::start(&world, &binaries, &["--keep"]).unwrap();
        backend.process.kill().unwrap();
        assert_eq!(left(&world), [true; 3]);
        backend = Backend::start(&world, &binaries, &["--keep"]).unwrap();
    }
    let exchanges = load.stop().unwrap();
    assert!(exchanges.len() > 10 && failures(&exchanges).is_empty(), "{:?}", failures(&exchanges));
    backend.process.kill().unwrap();
    let mut last = Backend::start(&world, &binaries, &[]).unwrap();
    last.process.terminate(TIMEOUT).unwrap();
    wait_until_left(&world, [false; 3]);
}

#[test]
fn an_interface_that_is_made_anew_is_attached_to_again() {
    let world = World::new(Arms::Two, 1).unwrap();
    let backend = Backend::start(&world, &binaries(), &DIRECTORS).unwrap();
    let host = &world.backends[0];
    host.namespace.ip("link del eth0").unwrap();
    host.namespace.ip("link add eth0 type veth peer name other").unwrap();
    wait_until_left(&world, [true; 3]);
    assert!(backend.process.log().contains("attached to eth0 again"));
}

#[test]
fn what_is_in_the_way_is_named_and_nothing_is_left_behind() {
    let world = World::new(Arms::Two, 1).unwrap();
    let host = &world.backends[0];
    let eth0 = End { namespace: &host.namespace, interface: "eth0" };
    lb_tests::xdp::attach(lb_tests::xdp::PASS, eth0, &world.link_path()).unwrap();
    for (more, named) in [
        (&[][..], "eth0 already runs the XDP program of_tests"),
        (&["--interface", "eth7"], "there is no interface eth7"),
    ] {
        // The second is found first, for interfaces are looked at in their order.
        if !more.is_empty() {
            std::fs::remove_dir_all(world.link_path()).unwrap();
        }
        let mut process = spawn(&world, host, &binaries(), more).unwrap();
        assert_eq!(process.wait(TIMEOUT).unwrap().code(), Some(1));
        assert!(process.log().contains(named), "{named} is not in\n{}", process.log());
        let [_, clamp, address] = left(&world);
        assert_eq!(
            (clamp, address, pin_path(&world, &world.backends[0]).exists()),
            (false, false, false)
        );
    }
}
