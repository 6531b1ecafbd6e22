//! ICMP about VIPs and balanced flows: ping, time exceeded, an error to the last byte. Errors by every way of
//! forwarding are in `forwarding`.
#![cfg(feature = "root")]

use std::time::Duration;

use lb_tests::capture::Capture;
use lb_tests::far;
use lb_tests::http_client::Connection;
use lb_tests::link::End;
use lb_tests::load::TIMEOUT;
use lb_tests::stage::Stage;
use lb_tests::web::PORT;
use lb_tests::world::{Arms, World, ping, vips};

#[test]
fn a_vip_answers_ping() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = Stage::shop(&world).unwrap();
    for vip in vips(PORT) {
        assert!(ping(&world.client.namespace, vip.ip()).unwrap(), "{vip}");
    }
    assert!(stage.packets("vip_control").unwrap() >= 2);
}

#[test]
fn a_packet_whose_hops_are_used_up_ends_at_the_router_or_by_name_at_the_director() {
    let world = World::new(Arms::Two, 1).unwrap();
    let far = far::behind_the_client(&world, 1_500).unwrap();
    let stage = Stage::shop(&world).unwrap();
    for vip in vips(PORT) {
        let reach = |hops| {
            let patience = if hops < 3 { Duration::from_millis(500) } else { TIMEOUT };
            let open = || Connection::open_with_hops(hops, vip, patience);
            far.namespace.enter(open).unwrap().map(drop).map_err(|error| format!("{error:#}"))
        };
        // One hop: the router tells, which ends an attempt over IPv4 only. Two: the director is the end.
        // Three: the backend.
        reach(1).unwrap_err();
        assert!(reach(2).unwrap_err().contains("timed out"), "{vip}: {:?}", reach(2));
        assert_eq!(reach(3), Ok(()), "{vip}");
    }
    assert!(stage.packets("ttl_exceeded").unwrap() >= 2);
}

#[test]
fn an_error_from_a_router_on_the_way_to_a_backend_reaches_the_client_translated() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = Stage::shop(&world).unwrap();
    let eth0 = End { namespace: &world.client.namespace, interface: "eth0" };
    let capture = Capture::start(&world, eth0, "icmp or icmp6").unwrap();
    // The backend's firewall refuses, in the name of its own address.
    let mut nft = world.backends[0].namespace.command("nft");
    let rules = "add table inet t; add chain inet t c { type filter hook input priority 0; }; \
                 add rule inet t c tcp dport 80 ip saddr 198.51.100.10 reject with icmp host-prohibited; \
                 add rule inet t c tcp dport 80 ip6 saddr 2001:db8:1::10 reject with icmpv6 admin-prohibited";
    lb_tests::command::run(nft.arg(rules)).unwrap();
    for vip in vips(PORT) {
        let open = || Connection::open(vip, Duration::from_secs(2));
        let error = world.client.namespace.enter(open).unwrap().unwrap_err();
        assert!(
            format!("{error:#}").contains("o route to host")
                || format!("{error:#}").contains("denied"),
            "{error:#}"
        );
    }
    capture.wait_for("203.0.113.10 > 198.51.100.10: ICMP host 203.0.113.10 unreachable").unwrap();
    capture
        .wait_for("2001:db8:f::10 > 2001:db8:1::10: [icmp6 sum ok] ICMP6, destination unreachable")
        .unwrap();
    assert!(!capture.text().contains("192.0.2.11") && !capture.text().contains("2001:db8:2::11"));
    assert!(stage.packets("error_to_client").unwrap() >= 2);
}
