//! What is told of packets: why they were dropped, and what would become of one that is made up.
#![cfg(feature = "root")]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]
#![expect(unreachable_pub, reason = "a module that several tests share")]

#[expect(dead_code, reason = "other tests use the rest")]
mod director;
#[expect(dead_code, reason = "other tests use the rest")]
mod packet_path;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aya::programs::Xdp;
use aya_obj::programs::XdpAttachType;
use lb_agent::io::datapath::{Datapath, OBJECT};
use lb_agent::io::netlink::links;
use lb_agent::model::firewall::compile::{Names, compile};
use lb_agent::model::firewall::{Action, Firewall, Match, Rule, Sets};
use lb_agent::model::tables::{ListenerKey, Write};
use lb_common::layout::{
    BACKEND_UP, Backend, Listener, NOTHING, Sample, Settings, Slot, Vip, endpoint, ip, run,
};
use lb_common::verdict::Verdict;
use nix::net::if_::if_nametoindex;
use zerocopy::FromZeros;

use director::{Director, on_a_director};
use packet_path::frames::{Ends, Link, SYN, tcp_frame, v4};

const VIP: SocketAddr = v4([203, 0, 113, 10], 80);
const SERVER: SocketAddr = v4([192, 0, 2, 11], 8080);
const WELCOME: SocketAddr = v4([198, 51, 100, 1], 40_000);
const BLOCKED: SocketAddr = v4([198, 51, 100, 66], 40_000);
const LISTENER: u32 = 4;
const BACKEND: u32 = 9;
const RULE: u32 = 17;

/// What one CPU tells of at once; how many there may be on all.
const MOST_AT_ONCE: usize = 100;

/// A director with one service and one rule.
fn datapath(director: &Director) -> Datapath {
    let mut datapath = Datapath::open(&director.config(&["nic"]), OBJECT).unwrap();
    let settings = datapath.tables().unwrap().settings;
    let settings = Settings { timeouts: [9; 8], ..settings };
    let (vip, vip_port, family) = endpoint(VIP);
    let (address, port, _) = endpoint(SERVER);
    let interface = if_nametoindex("nic").unwrap();
    let ours = [2; 6];
    let backend = Backend {
        address,
        vip,
        listener: LISTENER,
        interface,
        macs: [[3; 6], ours].as_flattened().try_into().unwrap(),
        port,
        vip_port,
        state: BACKEND_UP,
        protocol: 6,
        family,
        ..Backend::new_zeroed()
    };
    let listener = Listener {
        run: run(0, 1),
        cursor: LISTENER,
        protocol: 6,
        port: vip_port,
        address: vip,
        family,
        ..Listener::new_zeroed()
    };
    let key = ListenerKey::new(VIP, 6).unwrap();
    datapath
        .apply(&[
            Write::Settings(Box::new(settings)),
            Write::Backend { id: BACKEND, value: backend },
            Write::Slots { base: 0, slots: vec![Slot { backend: BACKEND, weight: 1 }] },
            Write::Listener { id: LISTENER, value: listener },
            Write::Firewall(firewall()),
            Write::Point { key, id: LISTENER },
            Write::Vip { address: VIP.ip(), value: Vip { closed: 1 } },
        ])
        .unwrap();
    datapath
}

fn firewall() -> Arc<lb_agent::model::firewall::compile::Compiled> {
    let blocked = Match::Prefix(BLOCKED.ip().into());
    let rule =
        Rule { name: "blocked".to_owned(), sources: vec![blocked], ..Rule::any(Action::Drop) };
    let firewall = Firewall { rules: vec![rule], max_prefixes: 1_000, ..Firewall::default() };
    let counters = [("blocked".to_owned(), RULE)].into();
    compile(&firewall, &Sets::new(), &Names { counters, ..Names::default() }).unwrap()
}

/// A connection from this client to the port of the VIP.
fn opening(client: SocketAddr, port: u16) -> Vec<u8> {
    let nic = links().unwrap().into_iter().find(|link| link.name == "nic").unwrap();
    let destination = nic.mac.unwrap();
    let link = Link { destination, source: [4; 6], tags: Vec::new() };
    let ends = Ends { source: client, destination: SocketAddr::new(VIP.ip(), port) };
    tcp_frame(&link, ends, SYN, &[])
}

/// Runs the program that is attached.
fn arrive(pins: &Path, frame: &[u8]) {
    let program = Xdp::from_pin(pins.join("program"), XdpAttachType::Interface).unwrap();
    packet_path::run(&program, frame, if_nametoindex("nic").unwrap());
}

fn ends(sample: &Sample) -> (SocketAddr, SocketAddr) {
    let of = |address, port: u16| {
        SocketAddr::new(ip(address, sample.family).unwrap(), u16::from_be(port))
    };
    (of(&sample.source, sample.source_port), of(&sample.destination, sample.destination_port))
}

#[test]
fn a_packet_is_explained_as_it_would_fare_and_nothing_changes() {
    on_a_director(|director| {
        let datapath = datapath(director);
        // The kernel's own packets meet the program, too: these verdicts they do not get.
        let counters = || {
            let all = datapath.counters([LISTENER], [BACKEND]).unwrap();
            let verdicts = [Verdict::ToBackend, Verdict::FirewallDrop, Verdict::PortClosed];
            (verdicts.map(|verdict| all.verdicts[&verdict]), all.listeners, all.backends)
        };
        let before = counters();
        let nic = if_nametoindex("nic").unwrap();
        for (client, port, verdict, rule, ids) in [
            (WELCOME, 80, Verdict::ToBackend, NOTHING, (LISTENER, BACKEND)),
            (BLOCKED, 80, Verdict::FirewallDrop, RULE, (LISTENER, NOTHING)),
            (WELCOME, 81, Verdict::PortClosed, NOTHING, (NOTHING, NOTHING)),
        ] {
            let told = datapath.explainer().explain(&opening(client, port), nic).unwrap();
            assert_eq!(Verdict::from_number(told.verdict), Some(verdict));
            assert_eq!(
                (told.rule, told.listener, told.backend),
                (rule, ids.0, ids.1),
                "{verdict:?}"
            );
            assert_eq!(ends(&told), (client, SocketAddr::new(VIP.ip(), port)));
            assert_eq!((told.protocol, told.interface), (6, nic));
        }
        assert_eq!(counters(), before);
        let flows = datapath.flows();
        assert_eq!(flows.list(0, 10, |_| true, |_, _, _| true).unwrap().0, 0);
        assert_eq!(datapath.rule_counts([RULE]).unwrap()[&RULE].packets, 0);
    });
}

#[test]
fn dropped_packets_are_told_of_while_somebody_wants_to_know() {
    on_a_director(|director| {
        let datapath = datapath(director);
        let mut drops = datapath.drops().unwrap();
        arrive(director.pins(), &opening(BLOCKED, 80));
        assert_eq!(drops.take(), None, "nobody had asked");
        drops.renew(Duration::from_mins(1)).unwrap();
        arrive(director.pins(), &opening(WELCOME, 80));
        arrive(director.pins(), &opening(BLOCKED, 80));
        arrive(director.pins(), &opening(WELCOME, 81));
        let told = [drops.take().unwrap(), drops.take().unwrap()];
        let verdicts = told.map(|sample| Verdict::from_number(sample.verdict).unwrap());
        assert_eq!(verdicts, [Verdict::FirewallDrop, Verdict::PortClosed]);
        assert_eq!(told.map(|sample| sample.rule), [RULE, NOTHING]);
        assert_eq!(ends(&told[0]), (BLOCKED, VIP));
        assert_eq!(ends(&told[1]), (WELCOME, SocketAddr::new(VIP.ip(), 81)));
        assert_eq!(drops.take(), None, "what goes on is not told of");
        drops.stop().unwrap();
        arrive(director.pins(), &opening(BLOCKED, 80));
        assert_eq!(drops.take(), None);
    });
}

#[test]
fn a_flood_of_dropped_packets_is_told_of_in_samples() {
    on_a_director(|director| {
        let datapath = datapath(director);
        let mut drops = datapath.drops().unwrap();
        drops.renew(Duration::from_mins(1)).unwrap();
        packet_path::pin_to_cpu(0);
        let frame = opening(BLOCKED, 80);
        let program =
            Xdp::from_pin(director.pins().join("program"), XdpAttachType::Interface).unwrap();
        let n_frames = 50_000;
        packet_path::run_often(&program, &frame, if_nametoindex("nic").unwrap(), n_frames);
        let told = std::iter::from_fn(|| drops.take()).count();
        assert!(told >= MOST_AT_ONCE && told < n_frames / 2, "{told} of {n_frames}");
        let counted = datapath.rule_counts([RULE]).unwrap()[&RULE].packets;
        assert_eq!(counted, u64::try_from(n_frames).unwrap());
    });
}
