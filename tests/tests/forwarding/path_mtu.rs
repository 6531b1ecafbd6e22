//! Clients learn how long their packets may be: from routers behind the director, and from the director.

use std::net::SocketAddr;

use lb_tests::agent::Settings;
use lb_tests::clock::wait_until;
use lb_tests::command::run;
use lb_tests::decap::{Backend, DIRECTORS};
use lb_tests::far;
use lb_tests::http_client::Connection;
use lb_tests::http_server::{digest, pattern};
use lb_tests::load::TIMEOUT;
use lb_tests::stage::Stage;
use lb_tests::udp_echo::connect;
use lb_tests::web::{PORT, Web};
use lb_tests::world::{Arms, Host, World, vips};

use crate::SOURCES;

/// The shop of the far backend, by some way; all backends are held to be healthy.
fn far_shop(far: &Host, way: &str, protocol: &str) -> Settings {
    let listen = vips(PORT).map(|vip| vip.to_string());
    let addresses = far.at(PORT).map(|address| address.to_string());
    let tables = format!(
        "[[service]]\nname = \"shop\"\nlisten = {listen:?}\nforward = {way:?}\nprotocol = {protocol:?}\n\
         [[service.backend]]\nname = \"far\"\naddress = {addresses:?}\n"
    );
    Settings { datapath: SOURCES.to_owned(), tables }
}

/// Whether the client's kernel takes packets of this length for the longest on the way to a VIP.
fn has_learnt(world: &World, vip: SocketAddr, mtu: u16) -> bool {
    let mut ip = world.client.namespace.command("ip");
    let route = run(ip.args(["route", "get", &vip.ip().to_string()])).unwrap();
    route.contains(&format!("mtu {mtu}"))
}

/// Sends a megabyte over one connection, which arrives whole.
fn upload(world: &World, vip: SocketAddr) {
    let body = pattern(1_000_000);
    let open = || Connection::open(vip, TIMEOUT);
    let mut connection = world.client.namespace.enter(open).unwrap().unwrap();
    let answer = connection.post("/echo-hash", &body).unwrap();
    assert_eq!(String::from_utf8(answer.body).unwrap(), digest(&body), "{vip}");
}

#[test]
fn a_narrow_way_to_a_backend_narrows_the_client_s_segments() {
    for way in ["nat", "full-nat"] {
        let world = World::new(Arms::Two, 1).unwrap();
        let far = far::behind_a_backend(&world, 1_280).unwrap();
        let stage = Stage::set(&world, &far_shop(&far, way, "tcp")).unwrap();
        let _web = Web::start(&world, &far, &stage.binaries).unwrap();
        for vip in vips(PORT) {
            upload(&world, vip);
            assert!(has_learnt(&world, vip, 1_280), "{way} {vip}");
        }
        assert!(stage.packets("error_to_client").unwrap() >= 2, "{way}");
    }
}

/// Sends datagrams until the client's kernel has learnt an MTU.
fn send_until_learnt(world: &World, vip: SocketAddr, length: usize, mtu: u16) {
    let send = || connect(vip, TIMEOUT).unwrap().send(&vec![7; length]);
    wait_until(&format!("{mtu} to be learnt for {vip}"), TIMEOUT, || {
        // An error tells of the MTU learnt before.
        world.client.namespace.enter(send)?.ok();
        Ok(has_learnt(world, vip, mtu))
    })
    .unwrap();
}

#[test]
fn the_client_of_a_tunnel_learns_from_the_director_and_from_routers_what_fits_into_it() {
    for (way, overhead) in [("ipip", [20, 40]), ("gue", [28, 48])] {
        let world = World::new(Arms::Two, 1).unwrap();
        let far = far::behind_a_backend(&world, 1_340).unwrap();
        let stage = Stage::set(&world, &far_shop(&far, way, "udp")).unwrap();
        for (vip, overhead) in vips(PORT).into_iter().zip(overhead) {
            // A packet of 1,500 bytes does not leave the director, and one that does not pass the narrow hop.
            let headers = if vip.is_ipv4() { 28 } else { 48 };
            send_until_learnt(&world, vip, 1_500 - headers, 1_500 - overhead);
            send_until_learnt(&world, vip, 1_450 - headers, 1_340 - overhead);
        }
        assert!(stage.packets("too_big_reported").unwrap() >= 2, "{way}");
        assert!(stage.packets("error_to_client").unwrap() >= 2, "{way}");
    }
}

/// The backend asks for segments as large as without a tunnel. No sender of IPv6 goes below 1,280 bytes, so its
/// narrow hop takes the outer header too.
#[test]
fn a_narrow_way_through_a_tunnel_narrows_the_client_s_segments() {
    for (way, narrow, learnt) in
        [("ipip", [1_280, 1_320], [1_260, 1_280]), ("gue", [1_280, 1_328], [1_252, 1_280])]
    {
        let world = World::new(Arms::One, 1).unwrap();
        let far = far::behind_a_backend(&world, 1_280).unwrap();
        let router = &world.backends[0];
        router.answer_directly().unwrap();
        let stage = Stage::set(&world, &far_shop(&far, way, "tcp")).unwrap();
        let unclamped = [&DIRECTORS[..], &["--mss", "off"]].concat();
        let backend = Backend::start_on(&world, &far, &stage.binaries, &unclamped).unwrap();
        let _web = backend.serve(&stage.binaries).unwrap();
        for ((vip, narrow), learnt) in vips(PORT).into_iter().zip(narrow).zip(learnt) {
            router.namespace.ip(&format!("link set narrow mtu {narrow}")).unwrap();
            upload(&world, vip);
            assert!(has_learnt(&world, vip, learnt), "{way} {vip}");
        }
        assert!(stage.packets("too_big_reported").unwrap() >= 2, "{way}");
        assert!(stage.packets("error_to_client").unwrap() >= 2, "{way}");
        assert_eq!(stage.packets("to_client").unwrap(), 0, "no reply passes the director");
    }
}

/// The director's interface takes 1,500 bytes; the route tells of a narrower hop behind it.
#[test]
fn a_client_is_told_of_the_mtu_of_the_director_s_route_to_the_backend() {
    let world = World::new(Arms::Two, 1).unwrap();
    let web1 = &world.backends[0];
    let routes = [web1.v4.to_string(), web1.v6.to_string()]
        .map(|to| format!("route replace {to} dev back mtu 1400"));
    world.director.ip(&routes.join("\n")).unwrap();
    let stage = Stage::set(&world, &far_shop(web1, "nat", "tcp")).unwrap();
    for vip in vips(PORT) {
        upload(&world, vip);
        assert!(has_learnt(&world, vip, 1_400), "{vip}");
    }
    assert!(stage.packets("too_big_reported").unwrap() >= 2);
}
