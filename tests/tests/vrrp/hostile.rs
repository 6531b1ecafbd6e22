//! What takes other implementations down: one spoofed advertisement, floods of malformed ones.

use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lb_agent::model::config::VrrpChecksum;
use lb_agent::model::vrrp::advert::{Advert, PROTOCOL};
use lb_agent::model::vrrp::{GROUP_V4, GROUP_V6};
use lb_tests::clock::{pause, wait_until};
use lb_tests::pair::{Director, Pair, VIP_V4};
use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, Socket, Type};

use crate::cast::{WITHIN, both, holds, n_changes, serve, tables, wait_for_answers};
use crate::flows::sync;

/// A stranger in the clients' network.
struct Stranger {
    socket: Socket,
    /// Where it sends to.
    group: IpAddr,
}

impl Stranger {
    fn enter(pair: &Pair) -> Self {
        let open = || {
            let protocol = Protocol::from(i32::from(PROTOCOL));
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(protocol)).unwrap();
            socket.set_multicast_ttl_v4(255).unwrap();
            socket.set_multicast_if_v4(&pair.client.v4).unwrap();
            socket
        };
        Self { socket: pair.client.namespace.enter(open).unwrap(), group: GROUP_V4.into() }
    }

    /// The next packets of the Active director, IP header included.
    fn record(&self, pair: &Pair, n: usize) -> Vec<Vec<u8>> {
        self.socket.join_multicast_v4(&GROUP_V4, &pair.client.v4).unwrap();
        self.socket.set_read_timeout(Some(WITHIN)).unwrap();
        let receive = || {
            let mut packet = vec![0; 2_048];
            let length = (&self.socket).read(&mut packet).unwrap();
            packet.truncate(length);
            packet
        };
        std::iter::repeat_with(receive).take(n).collect()
    }

    /// The same for IPv6.
    fn enter_v6(pair: &Pair) -> Self {
        let open = || {
            let protocol = Protocol::from(i32::from(PROTOCOL));
            let socket = Socket::new(Domain::IPV6, Type::RAW, Some(protocol)).unwrap();
            socket.set_multicast_hops_v6(255).unwrap();
            let index = if_nametoindex("eth0").unwrap();
            socket.set_multicast_if_v6(index).unwrap();
            socket
        };
        Self { socket: pair.client.namespace.enter(open).unwrap(), group: GROUP_V6.into() }
    }

    fn send(&self, payload: &[u8]) {
        self.socket.send_to(payload, &SocketAddr::new(self.group, 0).into()).unwrap();
    }
}

/// As from the client's address.
fn spoofed(pair: &Pair, priority: u8, interval: Duration) -> Vec<u8> {
    let advert = Advert { id: 51, priority, interval, addresses: vec![VIP_V4.into()] };
    let source: IpAddr = pair.client.v4.into();
    advert.encode(source, IpAddr::from(GROUP_V4), VrrpChecksum::PseudoHeader)
}

#[test]
fn one_spoofed_advertisement_with_the_longest_interval_is_forgotten_soon() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let [lb1, lb2] = both(&pair, "");
    let stranger = Stranger::enter(&pair);
    stranger.send(&spoofed(&pair, 255, Duration::from_millis(40_950)));
    lb1.wait_for("backup").unwrap();
    // Both believe it for what is four of their own intervals, and not for two minutes.
    let status = lb2.ctl_json(&["vrrp", "status"]).unwrap();
    assert_eq!(status["routers"][0]["active_interval_ms"], 400, "{status}");
    lb1.wait_for("active").unwrap();
    lb2.wait_for("backup").unwrap();
    wait_for_answers(&pair);
}

#[test]
fn in_unicast_a_stranger_is_not_believed_at_all() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let tables = |priority, own: u8, peer: u8| {
        let base = crate::cast::tables(priority, "");
        let (front, back) = base.split_once("name = \"gateway\"").unwrap();
        let peers = |v4: &str, group: u8| {
            format!(
                "unicast_source = ['{v4}.{own}', '2001:db8:{group}::{own}']\n\
                 unicast_peers = ['{v4}.{peer}', '2001:db8:{group}::{peer}']\n"
            )
        };
        let front = front
            .replace("name = \"vip\"\n", &format!("name = \"vip\"\n{}", peers("198.51.100", 1)));
        format!("{front}name = \"gateway\"\n{}{back}", peers("192.0.2", 2))
    };
    let lb1 = Director::start(&pair, 1, &tables(200, 2, 3)).unwrap();
    lb1.wait_for("active").unwrap();
    let lb2 = Director::start(&pair, 2, &tables(100, 3, 2)).unwrap();
    lb2.wait_for_status("lb2 to hear lb1", |status| {
        let routers = status["routers"].as_array().unwrap();
        routers.iter().all(|router| router["adverts_received"].as_u64() > Some(5))
    })
    .unwrap();
    let before = (n_changes(&lb1), n_changes(&lb2));
    let stranger = Stranger::enter(&pair);
    for _ in 0..100 {
        stranger.send(&spoofed(&pair, 255, Duration::from_millis(10)));
    }
    lb1.wait_for_status("lb1 to count it", |status| {
        let discarded = status["discarded"].as_array().unwrap();
        discarded
            .iter()
            .any(|it| it["reason"] == "destination" && it["packets"].as_u64() >= Some(100))
    })
    .unwrap();
    wait_for_answers(&pair);
    assert_eq!((n_changes(&lb1), n_changes(&lb2)), before);
}

/// Two directors that believe nothing without a proof; the first one is Active.
fn with_proofs(pair: &Pair) -> [Director<'_>; 2] {
    let part = |number, priority| {
        let tables = tables(priority, "authentication = \"require\"");
        format!("{tables}\n{}", sync(pair, number))
    };
    let lb1 = Director::start(pair, 1, &part(1, 200)).unwrap();
    lb1.wait_for("active").unwrap();
    let lb2 = Director::start(pair, 2, &part(2, 100)).unwrap();
    lb2.wait_for_status("lb2 to hear lb1 in both families", hears).unwrap();
    assert_eq!(lb2.states().unwrap(), ["backup"]);
    [lb1, lb2]
}

/// Whether all routers of a director hear another one.
fn hears(status: &serde_json::Value) -> bool {
    let routers = status["routers"].as_array().unwrap();
    routers.iter().all(|router| router["adverts_received"].as_u64() > Some(5))
}

/// Packets that were not believed for a reason.
fn n_discarded(status: &serde_json::Value, reason: &str) -> Option<u64> {
    let discarded = status["discarded"].as_array().unwrap();
    discarded.iter().find(|it| it["reason"] == reason)?["packets"].as_u64()
}

#[test]
fn recorded_advertisements_keep_no_director_from_taking_over() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let [mut lb1, lb2] = with_proofs(&pair);
    let recorded = Stranger::enter(&pair).record(&pair, 20);
    let stranger = Stranger::enter(&pair);
    stranger.socket.set_header_included_v4(true).unwrap();
    let repeat = || {
        for packet in &recorded {
            stranger.send(packet);
        }
    };
    lb1.process.kill().unwrap();
    pair.deafen_director(1, true).unwrap();
    // More often than the director that is dead has sent them.
    wait_until("lb2 to take over", WITHIN, || {
        repeat();
        Ok(lb2.states()? == ["active"])
    })
    .unwrap();
    let before = n_changes(&lb2);
    let so_far = n_discarded(&lb2.ctl_json(&["vrrp", "status"]).unwrap(), "repeated");
    assert!(so_far >= Some(20), "{so_far:?}");
    repeat();
    lb2.wait_for_status("lb2 to count them", |status| {
        n_discarded(status, "repeated") >= so_far.map(|n| n + 20)
    })
    .unwrap();
    assert_eq!((n_changes(&lb2), lb2.states().unwrap()), (before, vec!["active".to_owned()]));
    wait_for_answers(&pair);
}

#[test]
fn with_proofs_a_stranger_is_not_believed_in_multicast_either() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let [lb1, mut lb2] = with_proofs(&pair);
    let before = (n_changes(&lb1), n_changes(&lb2));
    let stranger = Stranger::enter(&pair);
    for _ in 0..100 {
        stranger.send(&spoofed(&pair, 255, Duration::from_millis(10)));
        stranger.send(&spoofed(&pair, 0, Duration::from_millis(10)));
    }
    let counts = |status: &serde_json::Value| {
        let n_reasons = status["discarded"].as_array().unwrap().len();
        n_discarded(status, "no_proof") >= Some(200) && n_reasons == 1
    };
    lb1.wait_for_status("lb1 to count it", counts).unwrap();
    lb2.wait_for_status("lb2 to count it", counts).unwrap();
    wait_for_answers(&pair);
    assert_eq!((n_changes(&lb1), n_changes(&lb2)), before);
    // An agent that is started anew is believed again at once.
    lb2.process.terminate(Duration::from_secs(10)).unwrap();
    lb2.restart().unwrap();
    lb2.wait_for_status("lb2 to hear lb1 again", hears).unwrap();
    lb1.ctl_json(&["vrrp", "release", "pair"]).unwrap();
    lb2.wait_for("active").unwrap();
    assert_eq!(lb1.states().unwrap(), ["backup"]);
}

/// Malformed forms of an advertisement.
fn malformed(pair: &Pair) -> Vec<Vec<u8>> {
    let sound = spoofed(pair, 255, Duration::from_secs(1));
    let changed = (0..8).map(|at| {
        let mut packet = sound.clone();
        packet[at] ^= 0x55;
        packet
    });
    [sound[..7].to_vec(), Vec::new(), vec![0; 1_400]].into_iter().chain(changed).collect()
}

fn n_all_discarded(director: &Director<'_>) -> u64 {
    let status = director.ctl_json(&["vrrp", "status"]).unwrap();
    let discarded = status["discarded"].as_array().unwrap().iter();
    discarded.map(|it| it["packets"].as_u64().unwrap()).sum()
}

#[test]
fn ten_thousand_malformed_advertisements_a_second_change_nothing() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let start = |number, priority| Director::start(&pair, number, &tables(priority, "")).unwrap();
    let lb1 = start(1, 200);
    lb1.wait_for("active").unwrap();
    let lb2 = start(2, 100);
    lb2.wait_for_status("lb2 to hear lb1 in both families", hears).unwrap();
    let before = (n_changes(&lb1), n_changes(&lb2));
    let wrong = malformed(&pair);
    for stranger in [Stranger::enter(&pair), Stranger::enter_v6(&pair)] {
        let so_far = n_all_discarded(&lb2);
        // As far as the machine can.
        let n_sent = 25_000_u64;
        for round in 0..n_sent / 100 {
            for packet in wrong.iter().cycle().skip(usize::try_from(round).unwrap() % 7).take(100) {
                stranger.send(packet);
            }
            pause(Duration::from_millis(8));
        }
        let total = n_all_discarded(&lb2) - so_far;
        assert!(total > n_sent / 10, "{total} of {n_sent}");
    }
    assert_eq!((n_changes(&lb1), n_changes(&lb2)), before);
    assert_eq!((holds(&lb1), holds(&lb2)), ([true; 2], [false; 2]));
    wait_for_answers(&pair);
}
