//! What a scrape says about a small world, over a real TCP socket.

use std::net::{Ipv4Addr, SocketAddr};

use lb_common::api::{
    Backend, BackendState, Discarded, Health, RouterState, Rule, RuleCount, RuleStatus, SetCount,
    SyncLink, SyncPeer, SyncRefusals, Traffic, VirtualRouter,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::*;
use crate::io::message::{Failure, Message};

fn traffic() -> Traffic {
    Traffic {
        packets: 10,
        bytes: 6_000_000_000,
        reply_packets: 8,
        reply_bytes: 800,
        flows_total: 5,
        dropped: 1,
        flows: 3,
    }
}

fn web1() -> SocketAddr {
    "192.0.2.11:80".parse().unwrap()
}

fn shop() -> Service {
    let backend = Backend {
        name: "web1".into(),
        address: vec![web1()],
        state: BackendState::Ready,
        health: Health::Up,
        backup: false,
        weight: 1,
        serving: true,
        overlay: false,
        traffic: traffic(),
    };
    Service {
        name: "shop".into(),
        listen: vec!["203.0.113.10:80".parse().unwrap()],
        protocol: "tcp".into(),
        forward: "nat".into(),
        scheduler: "rr".into(),
        health_check: None,
        backends: vec![backend],
        traffic: traffic(),
    }
}

fn sync() -> SyncStatus {
    let link = |cells, in_step| SyncLink {
        connected: true,
        in_step,
        lag_ms: 4,
        cells,
        bytes: 1_000,
        cells_per_second: 10,
        bytes_per_second: 250,
        problem: None,
    };
    let peer = SyncPeer {
        address: "10.0.0.3:8848".parse().unwrap(),
        node: None,
        told: link(40, true),
        heard: link(50, false),
        unknown_backends: Vec::new(),
        unknown_flows: 6,
        differences: Vec::new(),
        n_differences: 2,
        conflicts: 7,
        without_place: 8,
    };
    SyncStatus {
        is_in_step: false,
        listen: "10.0.0.2:8848".parse().unwrap(),
        peers: vec![peer],
        refused: SyncRefusals { stranger: 1, version: 2, key: 3, message: 4 },
    }
}

/// A rule that has met packets, and a policy that has met one.
fn firewall() -> Firewall {
    let rule = Rule { name: "no-ping".into(), action: "drop".into(), ..Rule::default() };
    let count = RuleCount { packets: 7, bytes: 588 };
    let policy_count = RuleCount { packets: 1, bytes: 60 };
    let rules = vec![RuleStatus { rule, overlay: false, count }];
    let sets = vec![SetCount { name: "office".into(), count }];
    Firewall { policy: "accept".into(), policy_count, rules, sets }
}

/// A set whose file became wrong.
fn office() -> Set {
    Set {
        name: "office".into(),
        file: Some("/etc/lb/office.txt".into()),
        loaded: false,
        elements: 3,
        added: 0,
        deleted: 0,
        problem: Some("line 2".into()),
    }
}

/// A service with one backend that is up, and its counters.
fn world() -> Snapshot {
    let health = TargetHealth {
        service: "shop".into(),
        backend: "web1".into(),
        address: web1(),
        health: Health::Up,
        streak: 0,
        last_result: "HTTP 200".into(),
        last_duration_ms: 12,
        since_seconds: 60,
    };
    let verdict = VerdictCount {
        verdict: "to_backend".into(),
        kind: "forwarded".into(),
        help: "A client's packet went to a backend.".into(),
        packets: 10,
        bytes: 1000,
    };
    Snapshot {
        verdicts: vec![verdict],
        services: vec![shop()],
        firewall: Some(firewall()),
        sets: vec![office()],
        health: vec![health],
        health_changes: 2,
        flows: 3,
        max_flows: 1_048_576,
        vrrp: vrrp(),
        is_moving: true,
        flow_move: Some(FlowMove { cells_left: 250, cells: 1_000 }),
        reloads: Reloads { succeeded: 4, failed: 1, last_succeeded: false },
        sync: Some(sync()),
        floods: vec![Flood {
            service: "shop".into(),
            address: "203.0.113.10:80".parse().unwrap(),
            is_answered: true,
            n_floods: 5,
        }],
    }
}

fn vrrp() -> VrrpStatus {
    let router = VirtualRouter {
        name: "vip".into(),
        group: "vip".into(),
        interface: "eth0".into(),
        virtual_router_id: 51,
        virtual_mac: None,
        family: "ipv4".into(),
        state: RouterState::Active,
        priority: 140,
        configured_priority: 200,
        addresses: vec![web1().ip()],
        source: None,
        changes: 2,
        since_seconds: 1,
        reason: "started".into(),
        active: None,
        advert_interval_ms: 1_000,
        active_interval_ms: 1_000,
        adverts_sent: 11,
        adverts_received: 12,
        warnings: Vec::new(),
    };
    let (interface, reason) = ("eth0".into(), "checksum".into());
    let discarded = vec![Discarded { interface, reason, packets: 13 }];
    VrrpStatus { routers: vec![router], discarded }
}

/// Serves metrics; the core loop behind answers with `ready` while it is not stuck.
async fn served(ready: Option<Result<(), Failure>>) -> (SocketAddr, watch::Sender<bool>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (messages, mut inbox) = mpsc::channel(8);
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(serve(listener, Core::new(messages), stopped));
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Some(message) = inbox.recv().await {
            match (message, &ready) {
                (Message::Call(Call::Metrics(reply)), Some(_)) => reply.send(Ok(world())).unwrap(),
                (Message::Call(Call::Ready(reply)), Some(ready)) => {
                    reply.send(ready.clone()).unwrap();
                }
                (other, _) => kept.push(other),
            }
        }
    });
    (address, stop)
}

async fn fetch(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_scrape_tells_every_counter_with_its_labels() {
    let (address, _stop) = served(Some(Ok(()))).await;
    let answer = fetch(address, "/metrics").await;
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    for line in [
        r#"lb_packets_total{verdict="to_backend",kind="forwarded"} 10"#,
        r#"lb_bytes_total{verdict="to_backend",kind="forwarded"} 1000"#,
        r#"lb_service_packets_total{service="shop",direction="to_backend"} 10"#,
        r#"lb_service_packets_total{service="shop",direction="to_client"} 8"#,
        r#"lb_service_bytes_total{service="shop",direction="to_backend"} 6000000000"#,
        r#"lb_vrrp_active{router="vip",interface="eth0",family="ipv4"} 1.0"#,
        r#"lb_vrrp_up{router="vip",interface="eth0",family="ipv4"} 1.0"#,
        r#"lb_vrrp_priority{router="vip",interface="eth0",family="ipv4"} 140.0"#,
        r#"lb_vrrp_warning{router="vip",interface="eth0",family="ipv4"} 0.0"#,
        r#"lb_vrrp_changes_total{router="vip",interface="eth0",family="ipv4"} 2"#,
        r#"lb_vrrp_adverts_sent_total{router="vip",interface="eth0",family="ipv4"} 11"#,
        r#"lb_vrrp_adverts_received_total{router="vip",interface="eth0",family="ipv4"} 12"#,
        r#"lb_vrrp_adverts_discarded_total{interface="eth0",reason="checksum"} 13"#,
        r#"lb_service_flows_total{service="shop"} 5"#,
        r#"lb_service_flows{service="shop"} 3.0"#,
        r#"lb_service_dropped_packets_total{service="shop"} 1"#,
        r#"lb_backend_packets_total{service="shop",backend="web1",direction="to_backend"} 10"#,
        r#"lb_backend_flows_total{service="shop",backend="web1"} 5"#,
        r#"lb_firewall_rule_packets_total{rule="no-ping",action="drop"} 7"#,
        r#"lb_firewall_rule_bytes_total{rule="no-ping",action="drop"} 588"#,
        r#"lb_firewall_set_packets_total{set="office"} 7"#,
        r#"lb_firewall_set_bytes_total{set="office"} 588"#,
        "lb_firewall_policy_dropped_packets_total 1",
        r#"lb_firewall_set_elements{set="office"} 3.0"#,
        r#"lb_firewall_set_stale{set="office"} 1.0"#,
        r#"lb_backend_up{service="shop",backend="web1"} 1.0"#,
        r#"lb_backend_serving{service="shop",backend="web1"} 1.0"#,
        r#"lb_probe_duration_seconds{service="shop",backend="web1",address="192.0.2.11:80"} 0.012"#,
        "lb_sync_in_step 0.0",
        r#"lb_sync_connected{peer="10.0.0.3:8848",direction="told"} 1.0"#,
        r#"lb_sync_lag_seconds{peer="10.0.0.3:8848",direction="heard"} 0.004"#,
        r#"lb_sync_cells_total{peer="10.0.0.3:8848",direction="heard"} 50"#,
        r#"lb_sync_bytes_total{peer="10.0.0.3:8848",direction="told"} 1000"#,
        r#"lb_sync_lost_cells_total{peer="10.0.0.3:8848",reason="conflict"} 7"#,
        r#"lb_sync_refused_total{reason="key"} 3"#,
        "lb_health_changes_total 2",
        "lb_flow_table_flows 3.0",
        "lb_flow_table_limit 1048576.0",
        "lb_flow_table_moving 1.0",
        "lb_flow_table_move_left_cells 250.0",
        "lb_flow_table_move_cells 1000.0",
        r#"lb_config_reloads_total{result="success"} 4"#,
        r#"lb_syn_cookies_active{service="shop",address="203.0.113.10:80"} 1.0"#,
        r#"lb_syn_floods_total{service="shop",address="203.0.113.10:80"} 5"#,
        r#"lb_config_reloads_total{result="failure"} 1"#,
        "lb_config_last_reload_success 0.0",
        concat!(r#"lb_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1.0"#),
    ] {
        assert!(answer.lines().any(|found| found == line), "{line} in\n{answer}");
    }
}

/// What `promtool check metrics` asks for.
#[tokio::test]
async fn every_family_has_its_help_and_type_under_the_name_of_its_samples() {
    let (address, _stop) = served(Some(Ok(()))).await;
    let answer = fetch(address, "/metrics").await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut families = Vec::new();
    let mut helped = String::new();
    for line in body.lines() {
        let words: Vec<_> = line.split(['{', ' ']).collect();
        match words[..] {
            ["#", "HELP", name, ..] => helped = name.to_owned(),
            ["#", "TYPE", name, kind] => {
                assert_eq!(name, helped);
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert!(!families.contains(&name.to_owned()), "{name} twice");
                families.push(name.to_owned());
            }
            [name, ..] => assert_eq!(Some(name), families.last().map(String::as_str), "{line}"),
            [] => {}
        }
    }
    assert_eq!(families.len(), 49);
}

#[tokio::test]
async fn an_agent_that_is_not_ready_says_why_and_is_alive() {
    let reason = "no probe of 192.0.2.11:80 has ended yet";
    let failure = Failure::new(StatusCode::SERVICE_UNAVAILABLE, reason);
    let (address, _stop) = served(Some(Err(failure))).await;
    let readyz = fetch(address, "/readyz").await;
    assert!(readyz.starts_with("HTTP/1.1 503") && readyz.contains(reason), "{readyz}");
    assert!(fetch(address, "/livez").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_agent_that_is_ready_says_so() {
    let (address, _stop) = served(Some(Ok(()))).await;
    assert!(fetch(address, "/readyz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_core_loop_that_is_stuck_is_not_alive() {
    let (address, _stop) = served(None).await;
    let livez = fetch(address, "/livez").await;
    assert!(livez.starts_with("HTTP/1.1 503") && livez.contains("within 1s"), "{livez}");
}

/// The page of metrics as a scrape has them: a row for each family, with the labels of its first sample.
fn metrics_page(scrape: &str) -> String {
    let mut page = String::from(
        "# Metrics\n\nWhat `/metrics` of `[metrics] listen` tells, for Prometheus; `/livez` and `/readyz` are beside it.\n\
         [verdicts.md](verdicts.md) has the values of the label `verdict`. This page is generated from the code:\n\
         `UPDATE_DOCS=1 cargo test -p lb-agent --lib metrics`.\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n",
    );
    for family in scrape.split("# HELP ").skip(1) {
        let lines: Vec<_> = family.lines().collect();
        let (name, help) = lines[0].split_once(' ').unwrap();
        let kind = lines[1].rsplit(' ').next().unwrap();
        let labels = lines[2].split_once('{').map_or("", |(_, labels)| labels);
        let labels: Vec<_> = labels
            .split(',')
            .filter_map(|label| Some(format!("`{}`", label.split_once('=')?.0)))
            .collect();
        let labels = labels.join(", ");
        page.extend([format!("| `{name}` | {kind} | {labels} | {help} |\n")]);
    }
    page
}

#[test]
fn every_metric_is_documented() {
    let wanted = metrics_page(&text::render(world()).unwrap());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &wanted).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(kept, wanted, "docs/metrics.md is not what the code says");
}
