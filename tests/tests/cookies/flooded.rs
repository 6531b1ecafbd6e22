//! A flood from one interface, and a client on another.

use std::net::{SocketAddr, SocketAddrV4};

use lb_tests::agent::{BALANCED, CALM_CHECK, Settings, service};
use lb_tests::clock::wait_until;
use lb_tests::http_client::Connection;
use lb_tests::load::{TIMEOUT, failures, send_in_turn};
use lb_tests::stage::Stage;
use lb_tests::web::PORT;
use lb_tests::world::{Arms, Host, VIP_V4, World, vips};

use crate::SOURCES;
use crate::flood::Flood;

const REQUESTS: usize = 1_000;
const TARGET: SocketAddrV4 = SocketAddrV4::new(VIP_V4, PORT);

/// The service `shop`, of the first backend alone. The second host is a client on the backends' interface.
fn shop(world: &World, cookies: &str) -> Settings {
    let lines = BALANCED.replace("\"nat\"", "\"full-nat\"");
    let shop = service("shop", &vips(PORT), &lines, world);
    let first = shop.rsplit_once("[[service.backend]]").map_or("", |(first, _)| first);
    let tables = format!("[firewall]\n{cookies}\n{CALM_CHECK}\n{first}");
    Settings { datapath: SOURCES.to_owned(), tables }
}

fn connect(client: &Host) -> Connection {
    let vip = SocketAddr::V4(TARGET);
    client.namespace.enter(|| Connection::open(vip, TIMEOUT)).unwrap().unwrap()
}

/// Requests over new connections of a client while a flood goes on, and over one that was open before.
fn serve_during(stage: &Stage<'_>, flood: &Flood, client: &Host, open: &mut Connection) {
    let before = flood.sent();
    let exchanges = send_in_turn(&client.namespace, &[SocketAddr::V4(TARGET)], REQUESTS).unwrap();
    let failed = failures(&exchanges);
    assert!(failed.len() * 1_000 <= REQUESTS, "{} failed: {failed:?}", failed.len());
    assert_eq!(open.get("/").unwrap().status, 200);
    println!("{REQUESTS} requests during {} SYNs", flood.sent() - before);
    assert!(stage.packets("syn_cookie_sent").unwrap() > 0);
}

#[test]
fn a_client_on_another_interface_is_served_and_open_connections_stay() {
    let world = World::new(Arms::Two, 2).unwrap();
    let stage = Stage::set(&world, &shop(&world, "syn_cookies = \"always\"")).unwrap();
    stage.agent.wait_for_cookies().unwrap();
    let client = &world.backends[1];
    let mut open = connect(client);
    open.get("/").unwrap();
    let flood = Flood::start(&world.client.namespace, TARGET).unwrap();
    flood.wait_for(10_000).unwrap();
    serve_during(&stage, &flood, client, &mut open);
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
    let mut open = connect(client);
    open.get("/").unwrap();
    assert_eq!(stage.packets("syn_cookie_sent").unwrap(), 0);
    let flood = Flood::start(&world.client.namespace, TARGET).unwrap();
    flood.wait_for(50_000).unwrap();
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
