//! Another version of the agent, whose flow table has another layout, takes over under load, and back again.
#![cfg(feature = "root")]
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use lb_tests::agent::{BALANCED, CALM_CHECK, Settings, service};
use lb_tests::binaries::Binaries;
use lb_tests::clock::wait_until;
use lb_tests::http_client::Connection;
use lb_tests::http_server::{digest, pattern};
use lb_tests::load::{TIMEOUT, failures};
use lb_tests::losses::losses;
use lb_tests::namespace::Namespace;
use lb_tests::stage::Stage;
use lb_tests::web::PORT;
use lb_tests::world::{Arms, World, vips};

/// The port of the service by full NAT.
const FULL: u16 = 8_080;
const MUCH: usize = 300_000;
const MOVED: &str = "all flows are in the new flow table";

/// The services `shop` by NAT and `full` by full NAT, with or without SYN cookies.
fn services(cookies: &str, world: &World) -> Settings {
    let shop = service("shop", &vips(PORT), BALANCED, world);
    let full = service("full", &vips(FULL), &BALANCED.replace("\"nat\"", "\"full-nat\""), world);
    let sources =
        r#"full_nat = { sources = ["192.0.2.1", "2001:db8:2::1"], ports = "20000-29999" }"#;
    Settings {
        datapath: format!("max_flows = 16_384\n{sources}\n"),
        tables: format!("[firewall]\nsyn_cookies = {cookies:?}\n{CALM_CHECK}\n{shop}\n{full}"),
    }
}

/// Connections that stay open, idle until they are asked, and the backend of each.
#[derive(Default)]
struct Open(Vec<(Connection, String)>);

impl Open {
    /// Opens `n` more, through all services and by both families.
    fn add(&mut self, n: usize, stage: &Stage<'_>) {
        for vip in [vips(PORT), vips(FULL)].as_flattened().iter().cycle().take(n) {
            let mut connection = stage.connect(*vip).unwrap();
            let backend = connection.get("/").unwrap().backend;
            self.0.push((connection, backend));
        }
    }

    fn still_serve(&mut self) {
        for (connection, backend) in &mut self.0 {
            assert_eq!(connection.get("/").unwrap().backend, *backend);
        }
    }
}

/// A connection that carries much in both directions all the time.
struct Transfer {
    stop: Arc<AtomicBool>,
    n_done: Arc<AtomicUsize>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Transfer {
    fn start(namespace: &Namespace, vip: SocketAddr) -> Self {
        let (stop, n_done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&n_done));
        let go = move || {
            let body = pattern(MUCH);
            let mut connection = Connection::open(vip, TIMEOUT).unwrap();
            while !stopped.load(Ordering::Relaxed) {
                let answer = connection.get(&format!("/bytes/{MUCH}")).unwrap();
                assert!(answer.body == body, "what came from {vip} was changed");
                let answer = connection.post("/echo-hash", &body).unwrap();
                assert_eq!(String::from_utf8(answer.body).unwrap(), digest(&body), "{vip}");
                count.fetch_add(1, Ordering::Relaxed);
            }
        };
        Self { stop, n_done, thread: namespace.spawn(go).unwrap() }
    }

    /// Waits until it has gone on.
    fn wait_for_more(&self) {
        let goal = self.n_done.load(Ordering::Relaxed) + 2;
        let goes_on =
            || Ok(self.n_done.load(Ordering::Relaxed) >= goal || self.thread.is_finished());
        wait_until("the transfer to go on", 4 * TIMEOUT, goes_on).unwrap();
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap().unwrap();
    }
}

fn wait_until_moved(stage: &Stage<'_>, times: usize) {
    let n_moved = || stage.agent.process.log().matches(MOVED).count();
    wait_until("all flows to be moved", 4 * TIMEOUT, || Ok(n_moved() == times)).unwrap();
    let status = stage.agent.ctl_json(&["status"]).unwrap();
    assert_eq!(status["warnings"], serde_json::json!([]));
}

fn n_flows(stage: &Stage<'_>) -> u64 {
    let services = stage.agent.ctl_json(&["service", "list"]).unwrap();
    let flows = services.as_array().unwrap().iter().map(|it| it["traffic"]["flows_total"].as_u64());
    flows.map(Option::unwrap).sum()
}

#[test]
fn agents_of_two_layouts_take_over_from_each_other_and_no_flow_and_no_packet_is_lost() {
    let world = World::new(Arms::Two, 3).unwrap();
    let now = Binaries::of_this_profile().unwrap();
    let before = now.before().unwrap();
    let listen: Vec<_> = world.backends.iter().map(|host| host.at(PORT)).collect();
    let config = services("always", &world).file(&world);
    let mut stage = Stage::set_with(before.clone(), &world, &config, &listen).unwrap();
    stage.agent.wait_for_cookies().unwrap();
    let mut open = Open::default();
    open.add(4, &stage);
    stage.agent.write_config(&services("off", &world)).unwrap();
    stage.agent.ctl_ok(&["reload"]).unwrap();
    open.add(12, &stage);
    let losses = || losses(world.backends.iter().chain([&world.client])).unwrap();
    let lost_before = losses();
    let transfers =
        [vips(PORT)[0], vips(FULL)[1]].map(|vip| Transfer::start(&world.client.namespace, vip));
    let load = stage.load().unwrap();
    load.wait_for_more(20).unwrap();

    // Killed half way, an agent is followed by one of its layout and by no other.
    stage.agent.process.kill().unwrap();
    stage.agent.restart_as(&now).unwrap();
    stage.agent.process.kill().unwrap();
    let log = stage.agent.process.log();
    assert!(log.contains("are being moved to version") && !log.contains(MOVED), "{log}");
    let mut refused = lb_tests::agent::spawn(&world, &before).unwrap();
    assert_eq!(refused.wait(TIMEOUT).unwrap().code(), Some(1));
    assert!(refused.log().contains("of another layout"), "{}", refused.log());
    open.still_serve();

    for (times, version) in [(1, &now), (2, &before)] {
        load.wait_for_more(20).unwrap();
        stage.agent.restart_as(version).unwrap();
        wait_until_moved(&stage, times);
        transfers.iter().for_each(Transfer::wait_for_more);
        open.still_serve();
        stage.agent.process.kill().unwrap();
    }
    stage.agent.restart().unwrap();
    let exchanges = load.stop().unwrap();
    assert_eq!(failures(&exchanges), Vec::<&String>::new());
    let n_transfers = transfers.map(Transfer::stop).len();
    let flows = u64::try_from(exchanges.len() + open.0.len() + n_transfers).unwrap();
    assert_eq!(n_flows(&stage), flows, "no flow was new twice");
    assert_eq!(losses(), lost_before);
}
