//! Clients learn how long their packets may be: from routers behind the director, and from the director. Backends
//! learn it from routers of the clients.

use std::net::{IpAddr, SocketAddr};

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

use lb_tests::way::{SOURCES, is_direct, served_at};

use crate::{WAYS, prepare, world_for};

/// A shop with one backend, by some way; it is held to be healthy.
pub fn shop_of(backend: &Host, way: &str, protocol: &str) -> Settings {
    shop_at(&backend.at(PORT), way, protocol)
}

/// The same by some of its addresses.
pub fn shop_at(addresses: &[SocketAddr], way: &str, protocol: &str) -> Settings {
    let listen = vips(PORT).map(|vip| vip.to_string());
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    let tables = format!(
        "[[service]]\nname = \"shop\"\nlisten = {listen:?}\nforward = {way:?}\nprotocol = {protocol:?}\n\
         [[service.backend]]\nname = \"only\"\naddress = {addresses:?}\n"
    );
    Settings { datapath: SOURCES.to_owned(), tables }
}

/// Whether a host takes packets of this length for the longest on the way to an address.
fn has_learnt(host: &Host, to: IpAddr, mtu: u16) -> bool {
    let mut ip = host.namespace.command("ip");
    let route = run(ip.args(["route", "get", &to.to_string()])).unwrap();
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

/// A host receives a megabyte over one connection, which arrives whole.
fn download(client: &Host, vip: SocketAddr) {
    let open = || Connection::open(vip, TIMEOUT);
    let mut connection = client.namespace.enter(open).unwrap().unwrap();
    let answer = connection.get("/bytes/1000000").unwrap();
    assert!(answer.body == pattern(1_000_000), "the body from {vip} was changed");
}

#[test]
fn a_narrow_way_to_a_backend_narrows_the_client_s_segments() {
    for way in ["nat", "full-nat"] {
        let world = World::new(Arms::Two, 1).unwrap();
        let far = far::behind_a_backend(&world, 1_280).unwrap();
        let stage = Stage::set(&world, &shop_of(&far, way, "tcp")).unwrap();
        let _web = Web::start(&world, &far, &stage.binaries).unwrap();
        for vip in vips(PORT) {
            upload(&world, vip);
            assert!(has_learnt(&world.client, vip.ip(), 1_280), "{way} {vip}");
        }
        assert!(stage.packets("error_to_client").unwrap() >= 2, "{way}");
    }
}

/// Where the packets of a client come from, as its backend sees it.
fn sources(client: &Host, way: &str) -> [IpAddr; 2] {
    if way == "full-nat" {
        ["192.0.2.1", "2001:db8:2::1"].map(|source| source.parse().unwrap())
    } else {
        [client.v4.into(), client.v6.into()]
    }
}

/// Lets a backend's replies go to a client that is behind another, without the director.
fn answer_directly(backend: &Host, client: &Host, router: &Host) {
    let lines = format!(
        "route add {} via {}\nroute add {} via {}",
        client.v4, router.v4, client.v6, router.v6
    );
    backend.namespace.ip(&lines).unwrap();
}

#[test]
fn a_narrow_hop_behind_the_client_narrows_the_segments_of_a_backend() {
    for way in WAYS {
        let world = world_for(way);
        let far = far::behind_the_client(&world, 1_300).unwrap();
        let host = &world.backends[0];
        let _backend = prepare(&world, way);
        if is_direct(way) {
            answer_directly(host, &far, &world.client);
        }
        let config = shop_of(host, way, "tcp").file(&world);
        let stage = Stage::set_at(&world, &config, &[served_at(host, way, PORT)]).unwrap();
        for (vip, source) in vips(PORT).into_iter().zip(sources(&far, way)) {
            download(&far, vip);
            assert!(has_learnt(host, source, 1_300), "{way} {vip}");
        }
        assert!(stage.packets("error_to_backend").unwrap() >= 2, "{way}");
    }
}

/// Sends datagrams until the client's kernel has learnt an MTU.
fn send_until_learnt(world: &World, vip: SocketAddr, length: usize, mtu: u16) {
    let send = || connect(vip, TIMEOUT).unwrap().send(&vec![7; length]);
    wait_until(&format!("{mtu} to be learnt for {vip}"), TIMEOUT, || {
        // An error tells of the MTU learnt before.
        world.client.namespace.enter(send)?.ok();
        Ok(has_learnt(&world.client, vip.ip(), mtu))
    })
    .unwrap();
}

#[test]
fn the_client_of_a_tunnel_learns_from_the_director_and_from_routers_what_fits_into_it() {
    for (way, overhead) in [("ipip", [20, 40]), ("gue", [28, 48])] {
        let world = World::new(Arms::Two, 1).unwrap();
        let far = far::behind_a_backend(&world, 1_340).unwrap();
        let stage = Stage::set(&world, &shop_of(&far, way, "udp")).unwrap();
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
        let stage = Stage::set(&world, &shop_of(&far, way, "tcp")).unwrap();
        let unclamped = [&DIRECTORS[..], &["--mss", "off"]].concat();
        let backend = Backend::start_on(&world, &far, &stage.binaries, &unclamped).unwrap();
        let _web = backend.serve(&stage.binaries).unwrap();
        for ((vip, narrow), learnt) in vips(PORT).into_iter().zip(narrow).zip(learnt) {
            router.namespace.ip(&format!("link set narrow mtu {narrow}")).unwrap();
            upload(&world, vip);
            assert!(has_learnt(&world.client, vip.ip(), learnt), "{way} {vip}");
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
    let stage = Stage::set(&world, &shop_of(web1, "nat", "tcp")).unwrap();
    for vip in vips(PORT) {
        upload(&world, vip);
        assert!(has_learnt(&world.client, vip.ip(), 1_400), "{vip}");
    }
    assert!(stage.packets("too_big_reported").unwrap() >= 2);
}
