//! Wrong files, and what is said about each.

use super::{World, problems, valid};

/// Exactly one problem is found, and it is shown with these words.
fn says(world: World<'_>, words: &[&str]) {
    let text = world.text();
    let problems = problems(&text);
    let shown = problems.to_string();
    assert_eq!(problems.len(), 1, "{shown}");
    for words in words {
        assert!(shown.contains(words), "{words:?} is missing in\n{shown}");
    }
}

fn root(root: &str) -> World<'_> {
    World { root, ..World::default() }
}

fn datapath(datapath: &str) -> World<'_> {
    World { datapath, ..World::default() }
}

fn check(check: &str) -> World<'_> {
    World { check, ..World::default() }
}

fn service(service: &str) -> World<'_> {
    World { service, ..World::default() }
}

fn backend(backend: &str) -> World<'_> {
    World { backend, ..World::default() }
}

fn more(more: &str) -> World<'_> {
    World { more, ..World::default() }
}

#[test]
fn the_world_of_these_tests_is_valid() {
    valid(&World::default().text());
}

#[test]
fn values_of_the_daemon_are_checked() {
    says(root("agent = { node = '' }"), &["a name is empty"]);
    says(root("agent = { node = 'a/b' }"), &["the name \"a/b\" contains '/'"]);
    says(root("agent = { shutdown = 'detatch' }"), &["help: did you mean \"detach\"?"]);
    says(root("agent = { state_dir = 'lb' }"), &["\"lb\" is not absolute", "start it with '/'"]);
    says(root("agent = 'lb1'"), &["expected a table, found a string"]);
    let long = format!("api = {{ socket = '/run/{}/lb.sock' }}", "x".repeat(90));
    says(root(&long), &["the path of the socket has 103 bytes", "give one of at most 99 bytes"]);
    says(root("api = { socket_mode = 0o660 }"), &["expected a string", "as in \"0660\""]);
    says(root("api = { socket_mode = '0990' }"), &["\"0990\" are not permission bits"]);
    says(root("api = { socket = 1 }"), &["expected a string, found an integer"]);
    says(root("metrics = { listen = 9901 }"), &["expected a string, found an integer"]);
    says(root("metrics = { listen = 'localhost:9901' }"), &["host names are not resolved"]);
}

#[test]
fn values_of_the_datapath_are_checked() {
    says(datapath("pin_path = 'lb'"), &["the path \"lb\" is not absolute"]);
    says(datapath("xdp_mode = 'nativ'"), &["did you mean \"native\"?"]);
    says(datapath("manage_addresses = 'yes'"), &["expected true or false, found a string"]);
    says(datapath("max_flows = 1_023"), &["1023 is not within 1024 to 16777216"]);
    says(datapath("max_flows = 16_777_217"), &["16777217 is not within"]);
    says(datapath("max_flows = -1"), &["-1 is not within"]);
    says(datapath("max_flows = 99999999999999999999999"), &["is not within"]);
    says(datapath("timeouts = { udp = '4s' }"), &["\"4s\" is not within 4295ms to"]);
    says(datapath("timeouts = { tcp_established = '3h' }"), &["\"3h\" is not within"]);
    says(datapath("timeouts = { udp = '60' }"), &["has no unit", "write \"60s\""]);
    says(datapath("timeouts = { udp = '1 m' }"), &["\"1 m\" is not a duration"]);
    says(datapath("timeouts = { udp = 1.5 }"), &["expected a duration, found a number"]);
    says(datapath("timeouts = { upd = '9s' }"), &["unknown key `upd`", "did you mean `udp`?"]);
}

#[test]
fn interfaces_are_named_and_unique() {
    let with = |value: &str| {
        let text = World::default().text().replace("[\"eth0\"]", value);
        let problems = problems(&text);
        assert_eq!(problems.len(), 1, "{problems}");
        problems.to_string()
    };
    assert!(with("[]").contains("`interfaces` is empty"));
    assert!(with("['eth0', 'eth1', 'eth0']").contains("\"eth0\" is named twice"));
    assert!(with("['eth0', '']").contains("cannot be the name of an interface"));
    assert!(with("['sixteen-bytes-xx']").contains("1 to 15 bytes"));
    assert!(with("[1]").contains("expected a string, found an integer"));
}

#[test]
fn values_of_a_health_check_are_checked() {
    says(check("interval = '99ms'"), &["\"99ms\" is not within 100ms to 24h"]);
    says(check("timeout = '3s'"), &["longer than the interval of 2s", "at most \"2s\""]);
    says(check("timeout = '0s'"), &["is not within 1ms"]);
    says(check("jitter = '51%'"), &["\"51%\" is not a share from 0% to 50%"]);
    says(check("jitter = 0.1"), &["expected a string, found a number with a fraction"]);
    says(check("rise = 0"), &["0 is not within 1 to"]);
    says(check("fall = 0"), &["0 is not within 1 to"]);
    says(check("path = 'healthz'"), &["does not start with '/'"]);
    says(check("path = \"/a b\""), &["more than visible ASCII"]);
    says(check("host = \"a\\r\\nX: y\""), &["more than visible ASCII"]);
    says(check("expect_status = []"), &["`expect_status` is empty"]);
    says(check("expect_status = ['2xx']"), &["\"2xx\" is not an HTTP status", "\"200-299\""]);
    says(check("expect_status = ['299-200']"), &["is not an HTTP status"]);
    says(check("expect_status = [600]"), &["\"600\" is not an HTTP status"]);
    says(check("expect_status = [true]"), &["expected an HTTP status, found true or false"]);
}

#[test]
fn a_health_check_has_a_type_and_its_keys() {
    let plain = World::default().text();
    let typed = |line: &str| problems(&plain.replace("type = \"http\"", line));
    let shown = typed("path = '/x'").to_string();
    assert!(shown.contains("missing key `type` in [health_check.web]"), "{shown}");
    assert_eq!(typed("path = '/x'").len(), 1, "{shown}");
    let shown = typed("type = 'tcp'\npath = '/x'\nexpect_status = 200").to_string();
    assert!(shown.contains("`path` has no meaning for a check of type \"tcp\""), "{shown}");
    assert!(shown.contains("`expect_status` has no meaning"), "{shown}");
    let shown = problems(&plain.replace("[health_check.web]", "[health_check.'a/b']")).to_string();
    assert!(shown.contains("the name \"a/b\" contains '/'"), "{shown}");
}

#[test]
fn values_of_a_service_are_checked() {
    says(service("protocol = 'quic'"), &["unknown value \"quic\"", "\"tcp\", \"udp\""]);
    says(service("health_check = 'wbe'"), &["no health check \"wbe\"", "did you mean \"web\"?"]);
    says(service("health_check = 5"), &["the name of a health check or a table, found an integer"]);
    says(service("health_check = { type = 'tcp', rise = 0 }"), &["0 is not within"]);
    says(service("on_backend_down = 'kep'"), &["did you mean \"keep\"?"]);
    says(more("[service.x]"), &["unknown key `x` in [[service]]"]);
}

#[test]
fn listen_addresses_are_checked() {
    let with = |value: &str, words: &str| {
        let text = World::default().text().replace("\"203.0.113.10:80\"", value);
        let problems = problems(&text);
        assert!(problems.len() == 1 && problems.to_string().contains(words), "{problems}");
    };
    with("", "`listen` is empty");
    with("'0.0.0.0:80'", "0.0.0.0 is the unspecified address");
    with("'127.0.0.1:80'", "127.0.0.1 is a loopback address");
    with("'224.0.0.1:80'", "224.0.0.1 is a multicast address");
    with("'255.255.255.255:80'", "is the broadcast address");
    with("'203.0.113.10:0'", "the port of \"203.0.113.10:0\" is 0");
    with("'203.0.113.10:65536'", "give a port from 1 to 65535");
    with("'203.0.113.10'", "add the port, as in \"203.0.113.10:80\"");
    with("'2001:db8::10:80'", "add the port, as in \"[2001:db8::10:80]:80\"");
    with("'203.0.113.10:80', '203.0.113.10:80'", "listened on twice with the same protocol");
    with(
        "'203.0.113.10:80', '[2001:db8::10]:80'",
        "no backend of this service has an IPv6 address",
    );
}

#[test]
fn backends_are_checked() {
    says(backend("weight = 65_536"), &["65536 is not within 0 to 65535"]);
    says(backend("weight = '5'"), &["expected an integer, found a string"]);
    says(backend("state = 'down'"), &["unknown value \"down\"", "\"ready\", \"drain\", \"maint\""]);
    says(backend("backup = 1"), &["expected true or false, found an integer"]);
    says(more("[[service.backend]]\nname = 'web2'"), &["missing key `address`"]);
    let second = |name: &str, address: &str| {
        format!("[[service.backend]]\nname = '{name}'\naddress = {address}")
    };
    says(more(&second("web1", "'192.0.2.12:80'")), &["the backend name \"web1\" is used twice"]);
    says(more(&second("web2", "'192.0.2.11:80'")), &["the address 192.0.2.11:80 is used twice"]);
    says(more(&second("web2", "'203.0.113.10:81'")), &["203.0.113.10 is a VIP", "a VIP here"]);
    says(
        more(&second("web2", "['192.0.2.12:80', '192.0.2.13:80']")),
        &["a second IPv4 address for the same backend", "the first one"],
    );
}

#[test]
fn services_share_no_listener_and_no_name() {
    let second = "[[service]]\nname = 'api'\nlisten = '203.0.113.10:80'\n";
    says(more(second), &["203.0.113.10:80 is listened on twice"]);
    valid(&more(&format!("{second}protocol = 'udp'")).text());
    says(more("[[service]]\nname = 'shop'\nlisten = '203.0.113.10:81'"), &["used twice"]);
}

#[test]
fn what_does_not_fit_into_the_maps_is_refused() {
    let ports: Vec<String> = (1..=32_769).map(|port| format!("'203.0.113.9:{port}'")).collect();
    let many =
        |n: usize| format!("[[service]]\nname = 'many'\nlisten = [{}]", ports[..n].join(","));
    says(more(&many(32_768)), &["more than 32768 listen addresses do not fit"]);
    valid(&more(&many(32_767)).text());
    let backend = |n| format!("[[service.backend]]\nname = 'b{n}'\naddress = '192.0.2.1:{n}'");
    let backends = (1..=9).map(backend).collect::<Vec<_>>().join("\n");
    says(more(&format!("{}\n{backends}", many(32_000))), &["more than 262144 backends"]);
    let uneven = |n| {
        let backends = format!("{}\nweight = 65535\n{}\nweight = 1", backend(1), backend(2));
        format!("{}\nscheduler = 'wrr'\n{backends}", many(n))
    };
    says(
        more(&uneven(128)),
        &["more than 2097152 turns in all rotations (2097153 here)", "common divisor"],
    );
    valid(&more(&uneven(127)).text());
}

#[test]
fn how_backends_come_and_go_is_held_to_its_bounds() {
    for (line, wanted) in [
        ("scheduler = 'lru'", "unknown value \"lru\""),
        ("scheduler = 'maglv'", "did you mean \"maglev\"?"),
        ("slow_start = '2h'", "\"2h\" is not within 1s to 1h"),
        ("slow_start = 30", "the duration 30 has no unit"),
        ("drain_timeout = '10ms'", "\"10ms\" is not within 1s to 24h"),
        ("panic_threshold = 30", "expected a share from 0 to 1, found 30"),
        ("panic_threshold = '30%'", "expected a share from 0 to 1, found a string"),
        ("affinity = 'source'", "expected a table, found a string"),
        ("affinity = { by = 'cookie' }", "unknown value \"cookie\""),
        ("affinity = { prefix_v4 = 33 }", "33 is not within 1 to 32"),
        ("affinity = { prefix_v6 = 0 }", "0 is not within 1 to 128"),
        ("affinity = { timeout = '4s' }", "\"4s\" is not within 5s to 24h"),
        ("affinity = { prefix = 32 }", "unknown key `prefix`"),
        ("limits = {}", "new_connections_per_second"),
        ("limits = { new_connections_per_second = 0 }", "0 is not within 1 to 10000000"),
        ("limits = { new_connections_per_second = 5, burst = 0 }", "0 is not within 1 to"),
    ] {
        says(service(line), &[wanted, "lb.toml:"]);
    }
}

#[test]
fn the_other_directors_are_named_once_each_and_have_a_key() {
    let sync = |peers: &str| {
        let line =
            format!("sync = {{ listen = '10.0.0.2:8848', key_file = '/k', peers = {peers} }}");
        move |words: &[&str]| says(root(&line), words)
    };
    sync("'10.0.0.3'")(&["add the port"]);
    sync("'127.0.0.1:8848'")(&["127.0.0.1 is a loopback address"]);
    sync("['10.0.0.3:8848', '10.0.0.3:9000']")(&["10.0.0.3 is named twice", "first named here"]);
    sync("['10.0.0.3:8848', '10.0.0.2:8849']")(&[
        "10.0.0.2 is this director itself",
        "listens here",
    ]);
    sync("[]")(&["`peers` is empty"]);
    let many: Vec<_> = (3..12).map(|last| format!("'10.0.0.{last}:8848'")).collect();
    sync(&format!("[{}]", many.join(", ")))(&["more than 8 peers"]);
    says(
        root("sync = { listen = '10.0.0.2:8848', peers = '10.0.0.3:8848' }"),
        &["missing key `key_file` in [sync]"],
    );
}

#[test]
fn keys_of_later_versions_are_not_supported_yet() {
    let not_yet = "is not supported yet";
    says(more("[pool]"), &[&format!("`pool` {not_yet}")]);
    let keys = "pool role role_fallback";
    for key in keys.split(' ') {
        says(service(&format!("{key} = 1")), &[&format!("`{key}` {not_yet}")]);
    }
    for kind in ["https", "dns", "grpc", "postgresql", "mysql", "redis", "exec"] {
        let line = format!("health_check = {{ type = '{kind}' }}");
        says(service(&line), &[&format!("\"{kind}\" {not_yet}")]);
    }
}

#[test]
fn a_way_of_forwarding_has_what_it_needs() {
    says(
        service("forward = 'full-nat'"),
        &["full-nat has no IPv4 source for 203.0.113.10:80", "full_nat]`", "lb.toml:11:11"],
    );
    for way in ["ipip", "gue"] {
        let line = format!("forward = '{way}'");
        let problem = format!("{way} has no IPv4 source towards 192.0.2.11:80");
        says(service(&line), &[&problem, "lb.toml:15:11"]);
    }
    for way in ["dsr", "ipip", "gue"] {
        let line = format!("forward = '{way}'");
        let world = World {
            service: &line,
            datapath: "tunnel = { sources = '192.0.2.2' }",
            more: "[[service.backend]]\nname = 'web2'\naddress = '192.0.2.12:8080'",
            ..World::default()
        };
        let problem =
            format!("with {way} the backend's port 8080 cannot differ from the listen port 80");
        says(world, &[&problem, "use nat or full-nat", "lb.toml:19:11"]);
    }
}

#[test]
fn sources_are_checked() {
    for (lines, problem) in [
        ("full_nat = { sources = ['192.0.2.2:80'] }", "is not an IP address"),
        ("full_nat = { sources = ['127.0.0.1'] }", "is a loopback address"),
        ("full_nat = { sources = ['192.0.2.2', '192.0.2.2'] }", "192.0.2.2 is named twice"),
        ("full_nat = { ports = '60000-20000' }", "is not a range of ports"),
        ("full_nat = { ports = '0-9' }", "is not a range of ports"),
        ("tunnel = { sources = ['192.0.2.0/33'] }", "is neither an IP address nor a prefix"),
        ("tunnel = { sources = ['192.0.2.2', '192.0.2.3'] }", "a second source of the same family"),
        ("tunnel = { gue_port = 0 }", "0 is not within 1 to 65535"),
        ("fragments = 'keep'", "unknown value \"keep\""),
    ] {
        says(datapath(lines), &[problem]);
    }
    let many: Vec<String> = (1..=17).map(|last| format!("'192.0.2.{last}'")).collect();
    let many = format!("full_nat = {{ sources = [{}] }}", many.join(", "));
    says(datapath(&many), &["more than 16 sources of one family"]);
}

#[test]
fn a_problem_has_no_consequences() {
    // The check that is named exists, although it is wrong.
    says(
        World { service: "health_check = 'web'", check: "rise = 0", ..World::default() },
        &["0 is not within"],
    );
    // The address that is wrong may have been the one of IPv6.
    let text = World::default()
        .text()
        .replace("\"203.0.113.10:80\"", "\"203.0.113.10:80\", \"[2001:db8::10]:80\"")
        .replace("\"192.0.2.11:80\"", "[\"192.0.2.11:80\", \"2001:db8::11:80\"]");
    assert_eq!(problems(&text).len(), 1, "{}", problems(&text));
}

#[test]
fn tables_are_where_tables_belong() {
    let says = |text: &str, words: &str| {
        let text = format!("version = 1\ndatapath.interfaces = ['eth0']\n{text}\n");
        let problems = problems(&text);
        assert!(problems.len() == 1 && problems.to_string().contains(words), "{problems}");
    };
    says("[service]\nname = 'shop'", "expected a list of tables, found a table");
    says("service = [1]", "expected a table, found an integer");
    says("health_check = 'web'", "expected a table, found a string");
    says("[health_check]\nweb = 'http'", "expected a table, found a string");
}

#[test]
fn another_version_is_not_read() {
    for (version, words) in [("2", "version 2 of the file's format"), ("'1'", "found a string")] {
        let text =
            World::default().text().replacen("version = 1", &format!("version = {version}"), 1);
        let shown = problems(&text).to_string();
        assert!(shown.contains(words) && shown.contains("write `version = 1`"), "{shown}");
    }
}
