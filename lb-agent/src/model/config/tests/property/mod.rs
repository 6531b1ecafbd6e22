//! Properties: no text makes the parser panic, and what is written is read back.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::{
    Affinity, Agent, Api, Backend, CheckKind, Config, Datapath, Forward, FullNat, HealthCheck,
    Metrics, Service, Sync, Timeouts, Tunnel, Word, diff, to_toml,
};
use super::{EXAMPLE, check, valid, vrrp as vrrp_tests};

mod firewall;

pub(super) fn word<T: Word + std::fmt::Debug>() -> impl Strategy<Value = T> {
    select(T::ALL)
}

pub(super) fn millis(range: std::ops::RangeInclusive<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_millis)
}

pub(super) fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9_.'\" \\\\ü-]{1,9}"
}

fn health_check() -> impl Strategy<Value = HealthCheck> {
    let statuses = vec((100_u16..=599, 0_u16..=99), 1..3).prop_map(|ranges| {
        ranges.into_iter().map(|(first, more)| first..=(first + more).min(599)).collect()
    });
    let http = ("/[!-~]{0,9}", option::of("[!-~]{1,9}"), statuses)
        .prop_map(|(path, host, expect_status)| CheckKind::Http { path, host, expect_status });
    let kind = prop_oneof![Just(CheckKind::Tcp), http];
    (kind, millis(100..=9_000_000), 1..=100_u64, 0..=50_u8, 1..9_u32, 1..9_u32).prop_map(
        |(kind, interval, share, jitter, rise, fall)| HealthCheck {
            name: None,
            kind,
            interval,
            timeout: Duration::from_millis(u64::try_from(interval.as_millis()).unwrap() / share),
            jitter: f64::from(jitter) / 100.0,
            rise,
            fall,
        },
    )
}

/// A service whose addresses no other has: `index` tells them apart.
fn service(index: u8, checks: Vec<HealthCheck>) -> impl Strategy<Value = Service> {
    let check =
        prop_oneof![Just(None), select(checks).prop_map(Some), health_check().prop_map(Some)];
    let port = prop_oneof![Just(80), 1..=u16::MAX];
    let listen = btree_set((0..4_u8, any::<bool>(), port), 1..5).prop_map(move |all| {
        let address = |(last, v4, port)| address(v4, 100, index * 4 + last, port);
        all.into_iter().map(address).collect::<Vec<_>>()
    });
    let backends = (btree_set(name(), 0..5), vec((0..=65_535_u32, word(), any::<bool>()), 5));
    let backends = backends.prop_map(move |(names, values)| backends_of(index, names, values));
    let words = (word(), word(), word(), word());
    let service = (listen, words, check, backends).prop_map(
        move |(listen, words, health_check, backends)| Service {
            name: format!("service {index}"),
            protocol: words.0,
            forward: of_port_80(&listen, words.1),
            scheduler: words.2,
            health_check,
            on_backend_down: words.3,
            slow_start: None,
            drain_timeout: None,
            panic_threshold: None,
            affinity: None,
            allow: vec![],
            backends,
            listen,
        },
    );
    let duration = option::of(millis(1_000..=3_600_000));
    (service, duration, option::of(0..=1_000_u16), affinity(), firewall::addresses()).prop_map(
        |(service, duration, threshold, affinity, allow)| Service {
            allow,
            slow_start: duration,
            drain_timeout: duration,
            panic_threshold: threshold.map(|share| f64::from(share) / 1_000.0),
            affinity,
            ..service
        },
    )
}

fn affinity() -> impl Strategy<Value = Option<Affinity>> {
    let values = (word(), 1..=32_u32, 1..=128_u32, millis(5_000..=86_400_000));
    option::of(values.prop_map(|(by, prefix_v4, prefix_v6, timeout)| Affinity {
        by,
        prefix_v4,
        prefix_v6,
        timeout,
    }))
}

/// A way of forwarding that this service can have: the backends' port is 80, and only some ways rewrite it.
fn of_port_80(listen: &[SocketAddr], forward: Forward) -> Forward {
    let rewrites = matches!(forward, Forward::Nat | Forward::FullNat);
    let same = listen.iter().all(|listen| listen.port() == 80);
    if rewrites || same { forward } else { Forward::Nat }
}

fn backends_of<S>(index: u8, names: BTreeSet<String>, values: Vec<(u32, S, bool)>) -> Vec<Backend>
where
    super::super::BackendState: From<S>,
{
    let each = (0_u8..).zip(names).zip(values);
    each.map(|((number, name), (weight, state, backup))| Backend {
        name,
        address: [true, false].map(|v4| address(v4, index, number, 80)).to_vec(),
        weight,
        state: state.into(),
        backup,
    })
    .collect()
}

fn address(v4: bool, net: u8, host: u8, port: u16) -> SocketAddr {
    if v4 {
        (Ipv4Addr::new(10, 1, net, host), port).into()
    } else {
        (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, net.into(), host.into()), port).into()
    }
}

fn datapath() -> impl Strategy<Value = Datapath> {
    let timeout = || millis(4_295..=8_000_000);
    let timeouts = (timeout(), timeout(), timeout(), timeout());
    let interfaces = btree_set("[a-z][a-z0-9.@-]{0,14}", 1..4);
    let words = (word(), word());
    let ours = (1..=9_u16, 10..=u16::MAX, 24..=32_u8, 1..=u16::MAX);
    (
        interfaces,
        "/[a-z\"'\\\\ ]{0,9}",
        any::<bool>(),
        words,
        1_024..=16_777_216_u32,
        timeouts,
        ours,
    )
        .prop_map(
            |(interfaces, pin_path, manage_addresses, words, max_flows, timeouts, ours)| {
                let sources = [true, false].map(|v4| address(v4, 201, 1, 1).ip());
                let (first, last, length, gue_port) = ours;
                let prefix = |source: &IpAddr| {
                    let length = if source.is_ipv4() { length } else { length + 96 };
                    IpNet::new(*source, length).unwrap().trunc()
                };
                Datapath {
                    interfaces: interfaces.into_iter().collect(),
                    pin_path: pin_path.into(),
                    manage_addresses,
                    xdp_mode: words.0,
                    max_flows,
                    fragments: words.1,
                    timeouts: Timeouts {
                        tcp_syn: timeouts.0,
                        tcp_established: timeouts.1,
                        tcp_fin: timeouts.2,
                        udp: timeouts.3,
                    },
                    tunnel: Tunnel { sources: sources.iter().map(prefix).collect(), gue_port },
                    full_nat: FullNat { sources: sources.to_vec(), ports: first..=last },
                }
            },
        )
}

fn services() -> impl Strategy<Value = Vec<Service>> {
    let checks = (btree_set(name(), 1..4), vec(health_check(), 3)).prop_map(|(names, checks)| {
        let named = names.into_iter().zip(checks);
        named.map(|(name, check)| HealthCheck { name: Some(name), ..check }).collect::<Vec<_>>()
    });
    (checks, 0..4_u8).prop_flat_map(|(checks, n_services)| {
        (0..n_services).map(|index| service(index, checks.clone())).collect::<Vec<_>>()
    })
}

fn config() -> impl Strategy<Value = Config> {
    let agent = (name(), word(), "/[a-z]{0,9}").prop_map(|(node, shutdown, dir)| Agent {
        node,
        shutdown,
        state_dir: dir.into(),
    });
    let api = ("/[a-z]{1,9}", 0..=0o777_u32)
        .prop_map(|(socket, socket_mode)| Api { socket: socket.into(), socket_mode });
    let listen = option::of((any::<bool>(), 1..=u16::MAX));
    let metrics = listen
        .prop_map(|listen| Metrics { listen: listen.map(|(v4, port)| address(v4, 200, 1, port)) });
    let peers = btree_set(2..9_u8, 1..8);
    let sync = option::of((peers, 1..=u16::MAX, "/[a-z]{1,9}")).prop_map(|sync| {
        sync.map(|(peers, port, key_file)| Sync {
            listen: address(true, 200, 1, port),
            peers: peers.into_iter().map(|last| address(true, 200, last, port)).collect(),
            key_file: key_file.into(),
        })
    });
    let with_firewall = services().prop_flat_map(|services| {
        let firewall = firewall::firewall(!services.is_empty());
        (Just(services), firewall)
    });
    (agent, api, metrics, datapath(), with_firewall, vrrp_tests::routers(), sync).prop_map(
        |(agent, api, metrics, datapath, (services, firewall), vrrp, sync)| Config {
            agent,
            api,
            metrics,
            datapath,
            firewall,
            services,
            vrrp,
            sync,
        },
    )
}

/// Lines of the example, some of them removed, repeated, swapped or with a piece put into them.
fn mutated() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        select(&[
            "[", "]", "{", "}", "=", "\"", "'", "\\", ",", "0", "-", "\n", "é", "\u{1b}", "\u{0}"
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    let edit = (0..4_u8, any::<prop::sample::Index>(), any::<prop::sample::Index>(), piece);
    vec(edit, 1..6).prop_map(|edits| {
        let mut lines: Vec<String> = EXAMPLE.lines().map(str::to_owned).collect();
        for (kind, at, other, piece) in edits {
            let (at, other) = (at.index(lines.len()), other.index(lines.len()));
            match kind {
                0 => drop(lines.remove(at)),
                1 => lines.insert(other, lines[at].clone()),
                2 => lines.swap(at, other),
                _ => {
                    let column = lines[at].floor_char_boundary(other % (lines[at].len() + 1));
                    lines[at].insert_str(column, &piece);
                }
            }
        }
        lines.join("\n")
    })
}

/// Reads a text and shows what is wrong with it; there is always something to show.
fn survive(text: &str) {
    if let Err(problems) = check(text) {
        assert!(!problems.is_empty());
        assert!(problems.to_string().matches("error: ").count() >= problems.len());
        assert!(!problems.coloured().is_empty());
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        survive(&text);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in vec(any::<u8>(), 0..200)) {
        survive(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_mutation_of_a_valid_file_makes_the_parser_panic(text in mutated()) {
        survive(&text);
    }

    #[test]
    fn a_written_configuration_is_read_back(config in config()) {
        let text = to_toml(&config);
        prop_assert_eq!(valid(&text).config, config, "{}", text);
    }

    #[test]
    fn a_difference_has_a_line_and_equality_has_none(before in config(), after in config()) {
        prop_assert!(diff(&before, &before).is_empty());
        prop_assert_eq!(diff(&before, &after).is_empty(), before == after);
    }
}

#[test]
fn the_example_is_read_back() {
    let config = valid(EXAMPLE).config;
    assert_eq!(valid(&to_toml(&config)).config, config);
}
