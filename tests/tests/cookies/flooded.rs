//! A flood from one interface, and a client on another.

use std::net::{SocketAddr, SocketAddrV4};

use lb_agent::io::netlink::links;
use lb_tests::agent::{BALANCED, CALM_CHECK, Settings, service};
use lb_tests::clock::{now, wait_until};
use lb_tests::flood::{Flood, Way};
use lb_tests::http_client::Connection;
use lb_tests::load::{TIMEOUT, failures, send_in_turn};
use lb_tests::namespace::Namespace;
use lb_tests::stage::Stage;
use lb_tests::web::PORT;
use lb_tests::world::{Arms, Host, VIP_V4, World, vips};

use crate::SOURCES;

const REQUESTS: usize = 1_000;
/// Connections that are open before the flood.
const OPEN: usize = 20;
/// Requests of a client that shares its interface with the flood, by so many threads.
const SHARED: usize = 5;
const SHARING: usize = 8;
const TARGET: SocketAddrV4 = SocketAddrV4::new(VIP_V4, PORT);

/// The service `shop`, of the first backend alone. The second host is a client on the backends' interface.
fn shop(world: &World, cookies: &str) -> Settings {
    let lines = BALANCED.replace("\"nat\"", "\"full-nat\"");
    let shop = service("shop", &vips(PORT), &lines, world);
    let first = shop.rsplit_once("[[service.backend]]").map_or("", |(first, _)| first);
    let tables = format!("[firewall]\n{cookies}\n{CALM_CHECK}\n{first}");
    Settings { datapath: SOURCES.to_owned(), tables }
}

/// A connection that has been used.
fn connect(client: &Host) -> Connection {
    let vip = SocketAddr::V4(TARGET);
    let mut open = client.namespace.enter(|| Connection::open(vip, TIMEOUT)).unwrap().unwrap();
    assert_eq!(open.get("/").unwrap().status, 200);
    open
}

/// Starts to send all that the machine can, from the client's interface.
fn start_flood(world: &World) -> Flood {
    let link = |namespace: &Namespace, name: &str| {
        let links = namespace.enter(links).unwrap().unwrap();
        links.into_iter().find(|link| link.name == name).unwrap()
    };
    let own = link(&world.client.namespace, "eth0");
    let next_hop = link(&world.director, world.interfaces().first().unwrap());
    let macs = [next_hop, own.clone()].map(|link| link.mac.unwrap());
    let way = Way { interface: own.index, macs, target: TARGET };
    let threads = std::thread::available_parallelism().unwrap().get();
    let threads = u32::try_from(threads).unwrap();
    Flood::start(&world.client.namespace, way, (threads, None)).unwrap()
}

/// Requests over new connections of a client while a flood goes on, and over those that were open before.
fn serve_during(stage: &Stage<'_>, flood: &Flood, client: &Host, open: &mut [Connection]) {
    let (before, began) = (flood.sent(), now());
    let exchanges = send_in_turn(&client.namespace, &[SocketAddr::V4(TARGET)], REQUESTS).unwrap();
    let failed = failures(&exchanges);
    for connection in open {
        assert_eq!(connection.get("/").unwrap().status, 200);
    }
    let (sent, seconds) = (flood.sent() - before, began.elapsed().as_secs());
    let served = REQUESTS - failed.len();
    println!("{served} of {REQUESTS} requests were served during {sent} SYNs in {seconds} s");
    assert!(failed.len() * 1_000 <= REQUESTS, "{} failed: {failed:?}", failed.len());
    assert!(stage.packets("syn_cookie_sent").unwrap() > 0);
}

/// The share of the requests of a client on the flood's own interface, where full rings drop frames before any
/// program sees them.
fn tell_of_shared_port(world: &World) {
    let send = || send_in_turn(&world.client.namespace, &[SocketAddr::V4(TARGET)], SHARED).unwrap();
    let exchanges: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..SHARING).map(|_| scope.spawn(send)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let served = exchanges.len() - failures(&exchanges).len();
    println!("{served} of {} requests were served on the flood's own interface", exchanges.len());
}

#[test]
fn a_client_on_another_interface_is_served_and_open_connections_stay() {
    let world = World::new(Arms::Two, 2).unwrap();
    let stage = Stage::set(&world, &shop(&world, "syn_cookies = \"always\"")).unwrap();
    stage.agent.wait_for_cookies().unwrap();
    let client = &world.backends[1];
    let mut open = [(); OPEN].map(|()| connect(client));
    let flood = start_flood(&world);
    flood.wait_for(100_000).unwrap();
    serve_during(&stage, &flood, client, &mut open);
    tell_of_shared_port(&world);
    drop(flood);
    for connection in &mut open {
        assert_eq!(connection.get("/").unwrap().status, 200);
    }
    let flows = stage.agent.ctl_json(&["conn", "list"]).unwrap();
    assert!(flows["total"].as_u64().unwrap() < 2 * 1_000, "{flows}");
}

#[test]
fn cookies_begin_with_a_flood_are_told_and_keep_its_syns_from_backends() {
    let world = World::new(Arms::Two, 2).unwrap();
    let settings = shop(&world, "syn_cookies = \"auto\"\nsyn_cookies_above = 500");
    let stage = Stage::set(&world, &settings).unwrap();
    stage.agent.wait_for_cookies().unwrap();
    let client = &world.backends[1];
    let mut open = [(); OPEN].map(|()| connect(client));
    assert_eq!(stage.packets("syn_cookie_sent").unwrap(), 0);
    let flood = start_flood(&world);
    flood.wait_for(100_000).unwrap();
    serve_during(&stage, &flood, client, &mut open);
    let active = format!("lb_syn_cookies_active{{service=\"shop\",address=\"{TARGET}\"}} 1");
    wait_until("the metrics to tell", TIMEOUT, || Ok(stage.agent.metrics()?.contains(&active)))
        .unwrap();
    wait_until("the log to tell", TIMEOUT, || {
        Ok(stage.agent.process.log().contains("SYN flood: SYNs are answered with cookies"))
    })
    .unwrap();
    let sent = flood.sent();
    drop(flood);
    let services = stage.agent.ctl_json(&["service", "list"]).unwrap();
    let flows = services[0]["traffic"]["flows_total"].as_u64().unwrap();
    println!("{flows} flows of {sent} SYNs");
    assert!(flows < 500 + 500 * 60 + 2_000, "{flows} flows");
}
