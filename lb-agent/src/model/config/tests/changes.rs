//! What two configurations differ in.

use super::super::{Config, diff, needs_restart};
use super::{EXAMPLE, valid};

fn example() -> Config {
    valid(EXAMPLE).config
}

/// The example with some texts replaced; each must be there.
fn edited(edits: &[(&str, &str)]) -> Config {
    let mut text = EXAMPLE.to_owned();
    for (from, to) in edits {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    valid(&text).config
}

fn changes(edits: &[(&str, &str)]) -> Vec<String> {
    diff(&example(), &edited(edits))
}

#[test]
fn nothing_differs_from_itself() {
    assert!(diff(&example(), &example()).is_empty());
    assert!(needs_restart(&example(), &example()).is_empty());
}

#[test]
fn each_value_that_changed_has_a_line() {
    let edits = [
        ("udp = \"60s\"", "udp = \"30s\""),
        ("listen = \"127.0.0.1:9901\"", ""),
        ("weight = 50", "weight = 75"),
        ("state = \"ready\"", "state = \"drain\""),
        ("listen = [\"203.0.113.10:53\"]", "listen = [\"203.0.113.10:53\", \"203.0.113.11:53\"]"),
    ];
    assert_eq!(
        changes(&edits),
        [
            "metrics.listen 127.0.0.1:9901 -> none",
            "datapath.timeouts.udp 60s -> 30s",
            "service shop: backend web1 state ready -> drain",
            "service shop: backend web2 weight 50 -> 75",
            "service dns: listen 203.0.113.10:53 -> 203.0.113.10:53, 203.0.113.11:53",
        ]
    );
}

#[test]
fn what_came_and_went_is_named() {
    let edits = [("name = \"web2\"", "name = \"web3\""), ("name = \"dns\"", "name = \"names\"")];
    assert_eq!(
        changes(&edits),
        [
            "service shop: backend web2 removed",
            "service shop: backend web3 added",
            "service dns removed",
            "service names added",
        ]
    );
}

#[test]
fn a_health_check_differs_in_name_and_in_content() {
    assert_eq!(
        changes(&[("interval = \"2s\"", "interval = \"3s\""), ("\"/healthz\"", "\"/up\"")]),
        [
            "service shop: health_check.interval 2s -> 3s",
            "service shop: health_check.path /healthz -> /up",
        ]
    );
    let edits = [("health_check = \"web\"", "health_check = { type = \"tcp\" }")];
    assert_eq!(
        changes(&edits),
        [
            "service shop: health_check web -> inline",
            "service shop: health_check.type http -> tcp",
            "service shop: health_check.path /healthz -> none",
            "service shop: health_check.host shop.example -> none",
            "service shop: health_check.expect_status 200-299, 304 -> none",
        ]
    );
    assert_eq!(
        changes(&[("health_check = \"web\"", "")]),
        ["service shop: health_check web -> none"]
    );
}

#[test]
fn another_order_is_a_change() {
    let mut after = example();
    after.services.reverse();
    after.services[1].backends.swap(0, 1);
    assert_eq!(
        diff(&example(), &after),
        ["service shop: order of the backends changed", "order of the services changed"]
    );
}

#[test]
fn what_is_set_up_once_needs_a_restart() {
    let edits = [
        ("shutdown = \"keep\"", "shutdown = \"detach\""),
        ("\"/var/lib/lb\"", "\"/srv/lb\""),
        ("\"/run/lb/lb.sock\"", "\"/run/lb2.sock\""),
        ("\"0660\"", "\"0600\""),
        ("127.0.0.1:9901", "127.0.0.1:9902"),
        ("[\"eth0\", \"eth1\"]", "[\"eth0\"]"),
        ("\"/sys/fs/bpf/lb\"", "\"/sys/fs/bpf/lb2\""),
        ("manage_addresses = true", "manage_addresses = false"),
        ("xdp_mode = \"auto\"", "xdp_mode = \"native\""),
        ("1_048_576", "2_048"),
        ("udp = \"60s\"", "udp = \"30s\""),
    ];
    assert_eq!(
        needs_restart(&example(), &edited(&edits)),
        [
            "agent.state_dir",
            "api.socket",
            "api.socket_mode",
            "metrics.listen",
            "datapath.interfaces",
            "datapath.pin_path",
            "datapath.xdp_mode",
        ]
    );
}

#[test]
fn replication_that_is_added_needs_a_restart_as_does_one_that_is_removed() {
    let without = Config { sync: None, ..example() };
    let keys = ["sync.listen", "sync.peers", "sync.key_file"];
    assert_eq!(needs_restart(&without, &example()), keys);
    assert_eq!(needs_restart(&example(), &without), keys);
}
