//! The cast of the tests: a director, its services and their servers; and a clock that stands still.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lb_common::LAYOUT_VERSION;
use lb_common::layout::{self, Settings};
use zerocopy::FromZeros;

use super::agent::{ProbeOutcome, Target};
use super::config::{
    Agent, Api, Backend, BackendState, CheckKind, Config, Datapath, Forward, Fragments, FullNat,
    HealthCheck, Metrics, OnBackendDown, Protocol, Scheduler, Service, Shutdown, Timeouts, Tunnel,
    Vrrp, VrrpAuthentication, VrrpChecksum, XdpMode,
};
use super::desired::{Draw, Listener, Pace};
use super::firewall::Firewall;
use super::firewall::compile::Compiled;
use super::tables::{ListenerKey, NextHop, Tables};

pub(super) const VIP: &str = "203.0.113.10:80";
pub(super) const VIP6: &str = "[2001:db8::10]:80";

/// When everything begins.
#[expect(
    clippy::disallowed_methods,
    reason = "a virtual clock needs one real instant to count from"
)]
pub(super) fn start() -> Instant {
    Instant::now()
}

pub(super) fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(super) fn v4(number: u8) -> SocketAddr {
    (Ipv4Addr::new(192, 0, 2, number), 8080).into()
}

pub(super) fn v6(number: u8) -> SocketAddr {
    (Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, number.into()), 8080).into()
}

/// `web1` has the addresses `v4(1)` and `v6(1)`.
pub(super) fn web(number: u8) -> Backend {
    Backend {
        name: format!("web{number}"),
        address: vec![v4(number), v6(number)],
        weight: 100,
        state: BackendState::Ready,
        backup: false,
    }
}

pub(super) fn check() -> HealthCheck {
    HealthCheck {
        name: Some("web".to_owned()),
        kind: CheckKind::Tcp,
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        jitter: 0.1,
        rise: 2,
        fall: 3,
    }
}

/// The shop listens on both families and has as many servers as asked for.
pub(super) fn shop(n_servers: u8) -> Service {
    Service {
        name: "shop".to_owned(),
        listen: vec![at(VIP), at(VIP6)],
        protocol: Protocol::Tcp,
        forward: Forward::Nat,
        scheduler: Scheduler::RoundRobin,
        health_check: Some(check()),
        on_backend_down: OnBackendDown::Reset,
        slow_start: None,
        drain_timeout: None,
        panic_threshold: None,
        affinity: None,
        limits: None,
        allow: Vec::new(),
        backends: (1..=n_servers).map(web).collect(),
    }
}

pub(super) fn config(services: Vec<Service>) -> Config {
    Config {
        agent: Agent {
            node: "lb1".to_owned(),
            shutdown: Shutdown::Keep,
            state_dir: "/var/lib/lb".into(),
        },
        api: Api { socket: "/run/lb/lb.sock".into(), socket_mode: 0o660 },
        metrics: Metrics { listen: None },
        datapath: Datapath {
            interfaces: vec!["eth0".to_owned()],
            pin_path: "/sys/fs/bpf/lb".into(),
            manage_addresses: true,
            xdp_mode: XdpMode::Auto,
            max_flows: 1 << 20,
            fragments: Fragments::Follow,
            full_nat: FullNat { sources: Vec::new(), ports: 20_000..=32_767 },
            tunnel: Tunnel { sources: Vec::new(), gue_port: 6_080 },
            timeouts: Timeouts {
                tcp_syn: Duration::from_secs(10),
                tcp_established: Duration::from_hours(2),
                tcp_fin: Duration::from_secs(30),
                udp: Duration::from_mins(1),
            },
        },
        firewall: Firewall::default(),
        services,
        vrrp: Vec::new(),
        sync: None,
    }
}

/// A virtual router of both families, which advertises once a second.
pub(crate) fn router(name: &str, id: u8) -> Vrrp {
    let addresses = ["203.0.113.10/32", "2001:db8::10/128"];
    Vrrp {
        name: name.to_owned(),
        group: None,
        interface: "eth0".to_owned(),
        virtual_router_id: id,
        priority: 100,
        advert_interval: Duration::from_secs(1),
        preempt: false,
        preempt_delay: None,
        addresses: addresses.map(|address| address.parse().unwrap()).to_vec(),
        virtual_mac: false,
        accept: true,
        notify: None,
        unicast_source: Vec::new(),
        unicast_peers: Vec::new(),
        unicast_min_hop_limit: 255,
        checksum_v4: VrrpChecksum::PseudoHeader,
        authentication: VrrpAuthentication::Off,
        track_interfaces: Vec::new(),
        track_services: Vec::new(),
    }
}

/// Maps that were just made.
pub(super) fn tables() -> Tables {
    Tables {
        settings: Settings {
            hash_key: [1, 2, 3, 4, 5],
            cookie_key: [6, 7],
            cookie_clock: 8,
            bucket_mask: 0xff,
            layout: LAYOUT_VERSION,
            ..Settings::new_zeroed()
        },
        vips: BTreeMap::new(),
        pointers: BTreeMap::new(),
        listeners: BTreeMap::new(),
        runs: BTreeMap::new(),
        backends: BTreeMap::new(),
        firewall: Some(Arc::new(Compiled::off())),
    }
}

/// A listener that draws from these slots in turn.
pub(super) fn listener(
    cursor: ListenerKey,
    backends: BTreeMap<SocketAddr, u8>,
    slots: &[SocketAddr],
    down: u8,
) -> Listener {
    let members: Vec<_> = backends.keys().map(|address| (*address, 1)).collect();
    let scheduler = layout::Scheduler::RoundRobin;
    let draw = Draw {
        scheduler,
        affinity_ticks: 0,
        affinity_prefix: 0,
        syn_cookies: layout::SynCookies::Off,
        unanswered: Pace::default(),
        new_flows: Pace::default(),
    };
    let (turns, forward) = (Arc::new([]), Forward::Nat);
    let mut listener = Listener { cursor, backends, members, turns, draw, down, forward };
    listener.set_slots(slots);
    listener
}

impl Listener {
    /// The backend in each slot.
    pub(super) fn slots(&self) -> Vec<SocketAddr> {
        let member = |turn: &u32| self.members[usize::try_from(*turn).unwrap()].0;
        self.turns.iter().map(member).collect()
    }

    /// Other turns of the same members.
    pub(super) fn set_slots(&mut self, slots: &[SocketAddr]) {
        let place =
            |slot: &SocketAddr| self.members.iter().position(|(address, _)| address == slot);
        self.turns =
            slots.iter().map(|slot| u32::try_from(place(slot).unwrap()).unwrap()).collect();
    }
}

pub(super) fn way(number: u8) -> NextHop {
    NextHop { interface: number.into(), neighbour: [number; 6], source: [2; 6], mtu: 1_500 }
}

pub(super) fn target(number: u8, address: SocketAddr) -> Target {
    Target { service: "shop".to_owned(), backend: format!("web{number}"), address }
}

pub(super) fn outcome(passed: bool) -> ProbeOutcome {
    let result = if passed { "connected" } else { "no answer within 1s" };
    ProbeOutcome { passed, result: result.to_owned(), took: Duration::from_millis(1) }
}
