//! A flood of both families from one interface, and a client on another.

use lb_tests::agent::Settings;
use lb_tests::clock::{now, wait_until};
use lb_tests::flood::Flood;
use lb_tests::flooder::Flooder;
use lb_tests::http_client::Connection;
use lb_tests::load::{TIMEOUT, failures, send_in_turn};
use lb_tests::stage::Stage;
use lb_tests::way::shop_by;
use lb_tests::web::PORT;
use lb_tests::world::{Arms, World, vips};

const REQUESTS: usize = 1_000;
/// Connections that are open before the flood.
const OPEN: usize = 20;
/// Requests of a client that shares its interface with the flood, by so many threads.
const SHARED: usize = 5;
const SHARING: usize = 8;

/// The service `shop` by some way.
fn shop(way: &str, cookies: &str, world: &World) -> String {
    let Settings { datapath, tables } = shop_by(way, world);
    let settings = Settings { datapath, tables: format!("[firewall]\n{cookies}\n{tables}") };
    Flooder::joined(&settings.file(world))
}

fn sent(floods: &[Flood]) -> u64 {
    floods.iter().map(Flood::sent).sum()
}

/// Connections that have been used, to both VIPs.
fn connect(stage: &Stage<'_>) -> Vec<Connection> {
    let connect = |vip| stage.connect(vip).unwrap();
    let mut open: Vec<_> = vips(PORT).into_iter().cycle().take(OPEN).map(connect).collect();
    still_serve(&mut open);
    open
}

fn still_serve(open: &mut [Connection]) {
    for connection in open {
        assert_eq!(connection.get("/").unwrap().status, 200);
    }
}

/// Requests over new connections of a client while a flood goes on, and over those that were open before.
fn serve_during(stage: &Stage<'_>, floods: &[Flood], open: &mut [Connection]) {
    let (before, began) = (sent(floods), now());
    let exchanges = send_in_turn(&stage.world.client.namespace, &vips(PORT), REQUESTS).unwrap();
    let failed = failures(&exchanges);
    still_serve(open);
    let (sent, seconds) = (sent(floods) - before, began.elapsed().as_secs());
    let served = REQUESTS - failed.len();
    println!("{served} of {REQUESTS} requests were served during {sent} SYNs in {seconds} s");
    assert!(failed.len() * 1_000 <= REQUESTS, "{} failed: {failed:?}", failed.len());
    assert!(stage.packets("syn_cookie_sent").unwrap() > 0);
}

/// The share of the requests of a client on the flood's own interface, where full rings drop frames before any
/// program sees them.
fn tell_of_shared_port(flooder: &Flooder) {
    let send = || send_in_turn(&flooder.namespace, &vips(PORT), SHARED).unwrap();
    let exchanges: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..SHARING).map(|_| scope.spawn(send)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let served = exchanges.len() - failures(&exchanges).len();
    println!("{served} of {} requests were served on the flood's own interface", exchanges.len());
}

#[test]
fn a_client_on_another_interface_is_served_and_open_connections_stay() {
    for way in ["nat", "full-nat"] {
        let world = World::new(Arms::Two, 2).unwrap();
        let flooder = Flooder::new(&world).unwrap();
        let config = shop(way, "syn_cookies = \"always\"", &world);
        let stage = Stage::set_from(&world, &config).unwrap();
        stage.agent.wait_for_cookies().unwrap();
        let mut open = connect(&stage);
        let floods = flooder.start(&world, None).unwrap();
        serve_during(&stage, &floods, &mut open);
        tell_of_shared_port(&flooder);
        drop(floods);
        still_serve(&mut open);
        let flows = stage.agent.ctl_json(&["conn", "list"]).unwrap();
        assert!(flows["total"].as_u64().unwrap() < 2 * 1_000, "{flows}");
    }
}

#[test]
fn cookies_begin_with_a_flood_are_told_and_keep_its_syns_from_backends() {
    let world = World::new(Arms::Two, 2).unwrap();
    let flooder = Flooder::new(&world).unwrap();
    let config = shop("nat", "syn_cookies = \"auto\"\nsyn_cookies_above = 500", &world);
    let stage = Stage::set_from(&world, &config).unwrap();
    stage.agent.wait_for_cookies().unwrap();
    let mut open = connect(&stage);
    assert_eq!(stage.packets("syn_cookie_sent").unwrap(), 0);
    let floods = flooder.start(&world, None).unwrap();
    serve_during(&stage, &floods, &mut open);
    for vip in vips(PORT) {
        let active = format!("lb_syn_cookies_active{{service=\"shop\",address=\"{vip}\"}} 1");
        wait_until("the metrics to tell", TIMEOUT, || Ok(stage.agent.metrics()?.contains(&active)))
            .unwrap();
    }
    wait_until("the log to tell", TIMEOUT, || {
        Ok(stage.agent.process.log().contains("SYN flood: SYNs are answered with cookies"))
    })
    .unwrap();
    let sent = sent(&floods);
    drop(floods);
    let services = stage.agent.ctl_json(&["service", "list"]).unwrap();
    let flows = services[0]["traffic"]["flows_total"].as_u64().unwrap();
    println!("{flows} flows of {sent} SYNs");
    // At each of two addresses.
    assert!(flows < 2 * (500 + 500 * 60) + 2_000, "{flows} flows");
}
