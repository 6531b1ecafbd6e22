//! Valid files: defaults, values and notes.

use std::time::Duration;

use super::super::{
    BackendState, CheckKind, Config, Forward, OnBackendDown, Protocol, Scheduler, Shutdown,
    XdpMode, to_toml,
};
use super::{EXAMPLE, World, valid};

fn config(text: &str) -> Config {
    valid(text).config
}

fn notes(world: World<'_>) -> Vec<String> {
    valid(&world.text()).notes
}

#[test]
fn a_small_file_gets_every_default() {
    let config = config(&World::default().text());
    assert_eq!(config.agent.node, "host1");
    assert_eq!(config.agent.shutdown, Shutdown::Keep);
    assert_eq!(config.agent.state_dir.to_str(), Some("/var/lib/lb"));
    assert_eq!(config.api.socket.to_str(), Some("/run/lb/lb.sock"));
    assert_eq!(config.api.socket_mode, 0o660);
    assert_eq!(config.metrics.listen, None);
    let datapath = config.datapath;
    assert_eq!(datapath.pin_path.to_str(), Some("/sys/fs/bpf/lb"));
    assert!(!datapath.manage_addresses);
    assert_eq!(datapath.xdp_mode, XdpMode::Auto);
    assert_eq!(datapath.max_flows, 1_048_576);
    assert_eq!(datapath.timeouts.tcp_syn, Duration::from_mins(1));
    assert_eq!(datapath.timeouts.tcp_established, Duration::from_hours(2));
    assert_eq!(datapath.timeouts.tcp_fin, Duration::from_secs(30));
    assert_eq!(datapath.timeouts.udp, Duration::from_mins(1));
    let shop = &config.services[0];
    assert_eq!(shop.protocol, Protocol::Tcp);
    assert_eq!(shop.forward, Forward::Nat);
    assert_eq!(shop.scheduler, Scheduler::RoundRobin);
    assert_eq!(shop.health_check, None);
    assert_eq!(shop.on_backend_down, OnBackendDown::Reset);
    assert_eq!((shop.slow_start, shop.drain_timeout, shop.affinity), (None, None, None));
    assert_eq!(shop.panic_threshold, None);
    let web1 = &shop.backends[0];
    assert_eq!((web1.weight, web1.state, web1.backup), (100, BackendState::Ready, false));
}

#[test]
fn the_example_is_valid_and_read_as_written() {
    let config = config(EXAMPLE);
    assert_eq!(config.agent.node, "lb1");
    assert_eq!(config.metrics.listen, Some("127.0.0.1:9901".parse().unwrap()));
    assert_eq!(config.datapath.interfaces, ["eth0", "eth1"]);
    let [shop, dns] = &config.services[..] else { panic!("two services") };
    assert_eq!((shop.name.as_str(), shop.scheduler), ("shop", Scheduler::WeightedRoundRobin));
    assert_eq!(shop.listen[1], "[2001:db8::10]:80".parse().unwrap());
    let web = shop.health_check.as_ref().unwrap();
    assert_eq!(web.name.as_deref(), Some("web"));
    let CheckKind::Http { path, host, expect_status } = &web.kind else { panic!("http") };
    assert_eq!((path.as_str(), host.as_deref()), ("/healthz", Some("shop.example")));
    assert_eq!(expect_status, &[200..=299, 304..=304]);
    let names: Vec<&str> = shop.backends.iter().map(|backend| backend.name.as_str()).collect();
    assert_eq!(names, ["web1", "web2", "sorry"]);
    assert!(shop.backends[2].backup);
    let inline = dns.health_check.as_ref().unwrap();
    assert_eq!((&inline.name, &inline.kind), (&None, &CheckKind::Tcp));
    assert_eq!(inline.timeout, Duration::from_millis(500));
}

#[test]
fn the_defaults_in_the_example_are_the_defaults() {
    // Without its own value each key that is marked as a default gives the same configuration.
    let with = config(EXAMPLE);
    let mut n_defaults = 0;
    for line in EXAMPLE.lines().filter(|line| line.contains('=') && line.contains("# default")) {
        let without = EXAMPLE.replacen(line, "", 1);
        let said = line.contains("default:");
        assert_eq!(config(&without) == with, !said, "{line}");
        n_defaults += 1;
    }
    assert!(n_defaults >= 15, "{n_defaults}");
}

#[test]
fn the_example_has_every_key() {
    let written = to_toml(&config(EXAMPLE));
    let key = |line: &str| line.split_once(" = ").map(|(key, _)| key.trim().to_owned());
    for key in written.lines().filter_map(key) {
        let stands = EXAMPLE.lines().any(|line| line.trim().starts_with(&format!("{key} = ")));
        assert!(stands, "{key}");
    }
}

#[test]
fn a_share_may_be_written_without_a_fraction() {
    for (text, wanted) in [("0", 0.0), ("0.3", 0.3), ("1.0", 1.0), ("1", 1.0)] {
        let line = format!("panic_threshold = {text}");
        let world = World { service: &line, ..World::default() };
        assert_eq!(config(&world.text()).services[0].panic_threshold, Some(wanted), "{text}");
    }
}

#[test]
fn a_tenth_of_a_second_s_connections_may_begin_at_once_unless_it_is_said_otherwise() {
    for (rate, burst) in [(20_000, 2_000), (5, 1)] {
        let line = format!("limits = {{ new_connections_per_second = {rate} }}");
        let world = World { service: &line, ..World::default() };
        let limits = config(&world.text()).services[0].limits.unwrap();
        assert_eq!((limits.new_connections_per_second, limits.burst), (rate, burst));
    }
}

#[test]
fn an_empty_affinity_has_every_default() {
    let world = World { service: "affinity = {}", ..World::default() };
    let affinity = config(&world.text()).services[0].affinity.unwrap();
    assert_eq!((affinity.prefix_v4, affinity.prefix_v6), (32, 64));
    assert_eq!(affinity.timeout, Duration::from_mins(5));
}

#[test]
fn a_short_interval_shortens_the_usual_timeout() {
    let world =
        World { service: "health_check = 'web'", check: "interval = '200ms'", ..World::default() };
    let check = config(&world.text()).services[0].health_check.clone().unwrap();
    assert_eq!(check.timeout, Duration::from_millis(200));
}

#[test]
fn a_single_value_is_a_list_of_one() {
    let text =
        World { check: "expect_status = 204", service: "health_check = 'web'", ..World::default() }
            .text()
            .replace("[\"203.0.113.10:80\"]", "\"203.0.113.10:80\"");
    let shop = &config(&text).services[0];
    assert_eq!(shop.listen.len(), 1);
    let Some(CheckKind::Http { expect_status, .. }) =
        shop.health_check.as_ref().map(|check| check.kind.clone())
    else {
        panic!("http")
    };
    assert_eq!(expect_status, [204..=204]);
}

#[test]
fn notes_say_which_ports_answer() {
    let open = notes(World { service: "health_check = 'web'", ..World::default() });
    assert_eq!(
        open,
        [
            "VIP 203.0.113.10: the host must have it already (manage_addresses is false); its ports other \
          than tcp 80 stay open"
        ]
    );
    let closed = notes(World {
        datapath: "manage_addresses = true",
        service: "health_check = 'web'",
        ..World::default()
    });
    assert_eq!(closed, ["VIP 203.0.113.10: put on the interface; every port but tcp 80 is closed"]);
}

#[test]
fn notes_tell_what_may_surprise() {
    let notes = notes(World {
        more: "[[service.backend]]\nname = 'web2'\nweight = 50\n\
               address = ['192.0.2.12:80', '[2001:db8::12]:80']\n\
               [[service]]\nname = 'empty'\nlisten = '203.0.113.10:81'\n",
        ..World::default()
    });
    assert_eq!(
        notes[1..],
        [
            "service shop: it has no health check, so every backend counts as healthy",
            "service shop: scheduler rr gives all weights but 0 the same share; wrr follows them",
            "service shop: [2001:db8::12]:80 of backend web2 is not used, for no listen address is IPv6",
            "service empty: it has no backend, so its packets are dropped as no_backend",
            "health check web: no service uses it",
        ]
    );
}

#[test]
fn a_note_names_services_whose_rings_are_smaller_than_they_should_be() {
    let rings = |n: usize| {
        let service = |n| {
            format!(
                "[[service]]\nname = 'ring{n}'\nlisten = '203.0.113.10:{n}'\nscheduler = 'maglev'\n\
                 backend = [{{ name = 'a', address = '192.0.2.21:1' }}]\n"
            )
        };
        let more: String = (1_000..).take(n).map(service).collect();
        notes(World { more: &more, ..World::default() })
    };
    let is_about_rings = |note: &&String| note.contains("rings of the usual size");
    assert_eq!(rings(31).iter().find(is_about_rings), None);
    let notes = rings(32);
    let note = notes.iter().find(is_about_rings).unwrap();
    assert!(note.contains("16381 slots are the most here, and 32 services"), "{note}");
    assert!(note.contains("(ring1000, ring1001, ring1002, ...)"), "{note}");
}

#[test]
fn a_file_without_services_says_so() {
    let checked = valid("version = 1\n[datapath]\ninterfaces = ['eth0']\n");
    assert_eq!(checked.notes, ["there is no service, so every packet is passed to the host"]);
}
