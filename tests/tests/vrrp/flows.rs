//! Directors that also tell each other of their flows: a failover of any kind breaks no open connection, whatever the way of
//! forwarding and the scheduler.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use lb_tests::binaries::Binaries;
use lb_tests::decap::{Backend, DIRECTORS};
use lb_tests::http_client::Connection;
use lb_tests::http_server::{checksum, pattern};
use lb_tests::pair::{Director, Pair, VIP_V4, VIP_V6, vips};
use lb_tests::web::{PORT, Web};
use lb_tests::world::Host;

use crate::cast::{holds, tables};

const KEY: &str = "0123456789abcdef0123456789abcdef";
/// A port of its own, how it forwards, and its scheduler.
pub(crate) type Service = (u16, &'static str, &'static str);
const SERVICES: [Service; 7] = [
    (PORT, "nat", "rr"),
    (81, "nat", "wlc"),
    (82, "full-nat", "lc"),
    (83, "full-nat", "maglev"),
    (84, "dsr", "wrr"),
    (85, "ipip", "random"),
    (86, "gue", "sh"),
];
pub(crate) const N_BACKENDS: u8 = 2;
/// Connections to each address of each service.
const N_EACH: usize = 3;
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Addresses of the directors in the backends' network.
const ENDS: [&str; 2] = ["192.0.2.2", "192.0.2.3"];

/// Replication between the directors.
pub(crate) fn sync(pair: &Pair, number: usize) -> String {
    let key_file = pair.folder().join("sync.key");
    std::fs::write(&key_file, KEY).unwrap();
    std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (own, other) = (ENDS[number - 1], ENDS[2 - number]);
    format!(
        "[sync]\nlisten = \"{own}:8848\"\npeers = [\"{other}:8848\"]\nkey_file = \"{}\"\n",
        key_file.display()
    )
}

/// Whether backends have the VIPs, and answer clients past the directors.
fn is_direct(forward: &str) -> bool {
    !forward.ends_with("nat")
}

/// A service with its backends.
fn service(&(port, forward, scheduler): &Service) -> String {
    let at = if is_direct(forward) { port } else { PORT };
    let backend = |n: u8| {
        let host = 10 + n;
        format!(
            "[[service.backend]]\nname = \"web{n}\"\n\
             address = [\"192.0.2.{host}:{at}\", \"[2001:db8:2::{host}]:{at}\"]\n"
        )
    };
    let backends = (1..=N_BACKENDS).map(backend).collect::<Vec<_>>().concat();
    format!(
        "[[service]]\nname = \"{forward}-{scheduler}\"\nforward = \"{forward}\"\nscheduler = \"{scheduler}\"\n\
         listen = [\"{VIP_V4}:{port}\", \"[{VIP_V6}]:{port}\"]\n{backends}\n"
    )
}

/// The configuration of a director: all services and both routers, which preempt, and replication.
fn whole(pair: &Pair, number: usize, services: &[Service]) -> String {
    let priority = if number == 1 { 200 } else { 100 };
    let routers = tables(priority, "preempt = true");
    let (_, routers) = routers.split_once("[[vrrp]]").unwrap();
    let sources = "sources = [\"192.0.2.1\", \"2001:db8:2::1\"]";
    let services = services.iter().map(service).collect::<String>();
    format!(
        "[datapath.full_nat]\n{sources}\n[datapath.tunnel]\n{sources}\n\n{services}[[vrrp]]{routers}\n{}",
        sync(pair, number)
    )
}

/// Backends that serve, also what comes to the VIPs themselves.
pub(crate) fn serve<'p>(pair: &'p Pair, services: &[Service]) -> (Vec<Backend<'p>>, Vec<Web>) {
    let binaries = Binaries::of_this_profile().unwrap();
    pair.answer_directly().unwrap();
    let options = [&DIRECTORS[..], &["--interface", "eth1"]].concat();
    let start = |host| Backend::start_on(pair, host, &binaries, &options).unwrap();
    let ends = pair.backends.iter().map(start).collect();
    let direct = services.iter().filter(|(_, forward, _)| is_direct(forward));
    let at_vips: Vec<_> = direct.flat_map(|(port, ..)| at(*port)).collect();
    let start = |host: &Host| {
        let listen = [&host.at(PORT)[..], &at_vips].concat();
        Web::start_in(pair.folder(), host, &binaries, &listen).unwrap()
    };
    (ends, pair.backends.iter().map(start).collect())
}

/// Both VIPs with a port.
fn at(port: u16) -> [SocketAddr; 2] {
    vips().map(|vip| SocketAddr::new(vip.ip(), port))
}

/// Connections of the client, and who has answered each of them first.
pub(crate) struct Open(Vec<(Connection, String)>);

impl Open {
    /// Some to each address of each service.
    pub(crate) fn new(pair: &Pair, services: &[Service]) -> Self {
        let all = services.iter().flat_map(|(port, ..)| at(*port));
        let each = all.cycle().take(2 * services.len() * N_EACH);
        let open = |address| {
            let mut connection = Connection::open(address, ANSWER_WITHIN).unwrap();
            let backend = connection.get("/").unwrap().backend;
            (connection, backend)
        };
        Self(pair.client.namespace.enter(|| each.map(open).collect()).unwrap())
    }

    /// All of them go on where they were.
    pub(crate) fn assert_all_go_on(&mut self) {
        let goes_on = |(connection, backend): &mut (Connection, String)| {
            let answer = connection.get("/bytes/20000").ok()?;
            let is_right = checksum(&answer.body) == checksum(&pattern(20_000));
            (answer.backend == *backend && is_right).then_some(())
        };
        let n = self.0.iter_mut().filter_map(goes_on).count();
        assert_eq!(n, self.0.len(), "connections that go on");
    }
}

fn wait_until_in_step(directors: [&Director<'_>; 2]) {
    for director in directors {
        let in_step = || Ok(director.ctl_json(&["sync", "status"])?["is_in_step"] == true);
        lb_tests::clock::wait_until("the directors to be in step", ANSWER_WITHIN, in_step).unwrap();
    }
}

/// Both directors, in step, the first one Active.
pub(crate) fn both<'p>(pair: &'p Pair, services: &[Service]) -> [Director<'p>; 2] {
    both_at(pair, services, "100ms")
}

/// The same with this time between two advertisements.
pub(crate) fn both_at<'p>(
    pair: &'p Pair,
    services: &[Service],
    interval: &str,
) -> [Director<'p>; 2] {
    let tables = |number| whole(pair, number, services).replace("100ms", interval);
    let start = |number| Director::start(pair, number, &tables(number)).unwrap();
    let both = [1, 2].map(start);
    let [lb1, lb2] = &both;
    lb1.wait_for("active").unwrap();
    lb2.wait_for("backup").unwrap();
    wait_until_in_step([lb1, lb2]);
    both
}

/// The same, and connections that both know.
fn both_and_connections(pair: &Pair) -> ([Director<'_>; 2], Open) {
    let both = both(pair, &SERVICES);
    let open = Open::new(pair, &SERVICES);
    wait_until_told(&both[1], &open);
    (both, open)
}

/// Waits until a director knows all connections.
fn wait_until_told(director: &Director<'_>, open: &Open) {
    let wanted = u64::try_from(open.0.len()).unwrap();
    let know = || Ok(director.ctl_json(&["conn", "list"])?["total"].as_u64() >= Some(wanted));
    lb_tests::clock::wait_until("the connections to be known", ANSWER_WITHIN, know).unwrap();
}

#[test]
fn no_open_connection_breaks_when_the_active_director_dies_and_returns() {
    let pair = Pair::new(N_BACKENDS).unwrap();
    let _serving = serve(&pair, &SERVICES);
    let ([mut lb1, lb2], mut before) = both_and_connections(&pair);
    lb1.process.kill().unwrap();
    pair.deafen_director(1, true).unwrap();
    lb2.wait_for("active").unwrap();
    before.assert_all_go_on();
    let mut meanwhile = Open::new(&pair, &SERVICES);
    // It comes back, and hears the other one; but there is no way for replication.
    let peer: IpAddr = ENDS[1].parse().unwrap();
    lb1.namespace.ip(&format!("route add blackhole {peer}/32")).unwrap();
    pair.deafen_director(1, false).unwrap();
    lb1.restart().unwrap();
    lb1.wait_for("backup").unwrap();
    lb1.wait_for_status("lb1 to wait for the flows", |status| {
        let router = &status["routers"][0];
        let warnings = router["warnings"].as_array().unwrap().iter();
        let waits = |warning: &serde_json::Value| warning.as_str().unwrap().contains("in step");
        router["adverts_received"].as_u64() > Some(30) && warnings.clone().any(waits)
    })
    .unwrap();
    assert_eq!((lb1.states().unwrap(), holds(&lb2)), (vec!["backup".to_owned()], [true; 2]));
    lb1.namespace.ip(&format!("route del blackhole {peer}/32")).unwrap();
    lb1.wait_for("active").unwrap();
    lb2.wait_for("backup").unwrap();
    before.assert_all_go_on();
    meanwhile.assert_all_go_on();
    Open::new(&pair, &SERVICES).assert_all_go_on();
}

#[test]
fn no_open_connection_breaks_when_a_link_is_lost_or_the_active_director_stops() {
    let pair = Pair::new(N_BACKENDS).unwrap();
    let _serving = serve(&pair, &SERVICES);
    let ([mut lb1, lb2], mut open) = both_and_connections(&pair);
    for port in ["lb1-front", "lb1-back"] {
        pair.unplug(port).unwrap();
        lb2.wait_for("active").unwrap();
        open.assert_all_go_on();
        let mut meanwhile = Open::new(&pair, &SERVICES);
        pair.plug_in(port).unwrap();
        lb1.wait_for("active").unwrap();
        lb2.wait_for("backup").unwrap();
        open.assert_all_go_on();
        meanwhile.assert_all_go_on();
        wait_until_told(&lb2, &open);
        wait_until_in_step([&lb1, &lb2]);
    }
    lb1.process.terminate(Duration::from_secs(10)).unwrap();
    lb2.wait_for("active").unwrap();
    open.assert_all_go_on();
    Open::new(&pair, &SERVICES).assert_all_go_on();
}
