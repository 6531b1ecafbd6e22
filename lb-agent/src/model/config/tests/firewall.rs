//! `[firewall]`: what is read of it, and what is said about wrong ones.

use lb_common::api;

use super::{World, problems, valid};
use crate::model::config::{rule_from_text, rule_to_text};
use crate::model::firewall::{
    Action, Counted, IpProtocol, Match, Over, OverRate, Per, Rate, Rule, Source, TcpFlags, Unit,
};

fn world(more: &str) -> String {
    World { more, ..World::default() }.text()
}

fn rule(keys: &str) -> String {
    world(&format!("[[firewall.rule]]\nname = 'r'\naction = 'drop'\n{keys}"))
}

fn read(keys: &str) -> Rule {
    valid(&rule(keys)).config.firewall.rules.remove(0)
}

/// Exactly one problem is found, and it is shown with these words.
fn says(text: &str, words: &[&str]) {
    let problems = problems(text);
    let shown = problems.to_string();
    assert_eq!(problems.len(), 1, "{shown}");
    for words in words {
        assert!(shown.contains(words), "{words:?} is missing in\n{shown}");
    }
}

#[test]
fn without_a_firewall_all_is_accepted_and_ssh_is_protected() {
    let firewall = valid(&World::default().text()).config.firewall;
    assert_eq!((firewall.policy, firewall.protect_ports), (Action::Accept, vec![22]));
    assert!(firewall.rules.is_empty() && firewall.sets.is_empty());
}

#[test]
fn a_rule_has_its_conditions() {
    let text = rule(
        "source = ['@office', '10.1.2.3/8', '2001:db8::1']\ndestination = '203.0.113.10'\n\
         protocol = 'tcp'\nsport = '1024-65535'\ndport = [22, '80-81']\ntcp_flags = 'syn, !ack'\n\
         interface = 'eth0'\nservice = 'shop'\n[firewall.set.office]\nelements = []",
    );
    let firewall = valid(&text).config.firewall;
    let prefix = |text: &str| Match::Prefix(text.parse().unwrap());
    let expected = Rule {
        name: "r".into(),
        action: Action::Drop,
        sources: vec![Match::Set("office".into()), prefix("10.0.0.0/8"), prefix("2001:db8::1/128")],
        destinations: vec![prefix("203.0.113.10/32")],
        protocol: Some(IpProtocol::TCP),
        sports: vec![1024..=65_535],
        dports: vec![22..=22, 80..=81],
        tcp_flags: Some(TcpFlags { mask: 0b1_0010, value: 0b10 }),
        icmp_types: vec![],
        interface: Some("eth0".into()),
        service: Some("shop".into()),
        over: None,
    };
    assert_eq!(firewall.rules, [expected]);
    assert_eq!(firewall.sets["office"], Source::Listed(vec![]));
}

#[test]
fn flags_of_tcp_ask_for_tcp() {
    assert_eq!(read("tcp_flags = '!fin'").protocol, Some(IpProtocol::TCP));
    assert_eq!(read("dport = 53").protocol, None);
}

#[test]
fn a_type_of_icmp_has_the_number_of_its_family() {
    let types = |protocol| {
        read(&format!("protocol = '{protocol}'\nicmp_type = ['echo-request', 200]")).icmp_types
    };
    assert_eq!(types("icmp"), [8, 200]);
    assert_eq!(types("icmpv6"), [128, 200]);
    assert_eq!(read("protocol = 47").protocol, Some(IpProtocol(47)));
}

#[test]
fn sets_are_listed_or_in_a_file() {
    let firewall = valid(&world(
        "[firewall]\npolicy = 'drop'\nprotect_ports = []\nset.blocklist = { file = '/etc/lb/b.txt' }",
    ))
    .config
    .firewall;
    assert_eq!(firewall.sets["blocklist"], Source::File("/etc/lb/b.txt".into()));
    assert_eq!((firewall.policy, firewall.protect_ports), (Action::Drop, vec![]));
    says(&world("[firewall.set.a]"), &["without `elements` and without a `file`"]);
    says(&world("[firewall.set.a]\nfile = '/f'\nelements = []"), &["not both", "remove one"]);
    says(&world("[firewall.set.a]\nfile = 'f'"), &["\"f\" is not absolute"]);
    says(&world("[firewall.set.'a/b']\nelements = []"), &["contains '/'"]);
}

#[test]
fn values_of_a_rule_are_checked() {
    says(&rule("source = []"), &["`source` is empty"]);
    says(&rule("source = '10.0.0.0/33'"), &["neither an IP address nor a prefix", "\"@office\""]);
    says(&rule("source = '@'"), &["a name is empty"]);
    says(&rule("protocol = 'tpc'"), &["no protocol \"tpc\"", "did you mean \"tcp\"?"]);
    says(&rule("protocol = 256"), &["no protocol \"256\"", "from 0 to 255"]);
    says(&rule("dport = 65536"), &["\"65536\" is neither a port nor a range"]);
    says(&rule("dport = '20-10'"), &["\"20-10\" is neither"]);
    says(&rule("dport = '+1'"), &["\"+1\" is neither"]);
    says(&rule("dport = true"), &["expected a string or an integer, found true or false"]);
    says(&rule("tcp_flags = 'syn,syn'"), &["syn is named twice"]);
    says(&rule("tcp_flags = ''"), &["no TCP flag \"\"", "fin, syn, rst, psh, ack"]);
    says(&rule("dprot = 53"), &["did you mean `dport`?"]);
    says(&world("[firewall]\nprotect_ports = [0]"), &["0 is not within 1 to 65535"]);
    says(&world("[firewall]\npolicy = 'deny'"), &["this version knows \"accept\", \"drop\""]);
}

#[test]
fn a_limit_has_a_rate_and_may_be_that_of_each_source() {
    let over = |keys: &str| match read(&format!("over = {{ {keys} }}")).over {
        Some(Over::Rate(over)) => over,
        other => panic!("{other:?}"),
    };
    let rate = |amount, unit| Rate { amount, unit };
    let whole = over("rate = '10/m'");
    assert_eq!((whole.rate, whole.burst, whole.per), (rate(10, Unit::Minute), 1, None));
    assert_eq!(whole.count, Counted::Packets);
    let each = over("rate = '2000/s', burst = 4000, per = 'source', count = 'new_flows'");
    let expected = OverRate {
        rate: rate(2_000, Unit::Second),
        burst: 4_000,
        count: Counted::NewFlows,
        per: Some(Per { prefix_v4: 32, prefix_v6: 64 }),
    };
    assert_eq!(each, expected);
    for (keys, words) in [
        ("burst = 5", ["missing key `rate`", "`rate = \"2000/s\"`"]),
        ("rate = '5/d'", ["\"5/d\" is not a rate", "\"5/h\""]),
        ("rate = '+5/s'", ["\"+5/s\" is not a rate", "\"10/m\""]),
        ("rate = '0/s'", ["\"0/s\" is not a rate", "in a second"]),
        ("rate = '5/s', per = 'flow'", ["\"flow\"", "\"source\""]),
        ("rate = '5/s', prefix_v4 = 24", ["without `per`", "add `per = \"source\"`"]),
        ("rate = '2000000/s', per = 'source'", ["more than 1000000 a second", "lower `rate`"]),
        ("rate = '1/h', burst = 3", ["gives in 146 minutes", "lower `burst`"]),
    ] {
        says(&rule(&format!("over = {{ {keys} }}")), &words);
    }
}

#[test]
fn a_limit_may_be_how_many_flows_each_source_has_open() {
    let over = |keys: &str| read(&format!("over = {{ {keys} }}")).over.unwrap();
    let per = Per { prefix_v4: 32, prefix_v6: 64 };
    assert_eq!(over("flows = 10, per = 'source'"), Over::Flows { most: 10, per });
    let per = Per { prefix_v4: 24, prefix_v6: 56 };
    let keys = "flows = 1, per = 'source', prefix_v4 = 24, prefix_v6 = 56";
    assert_eq!(over(keys), Over::Flows { most: 1, per });
    for (keys, words) in [
        ("flows = 10", ["missing key `per`", "`per = \"source\"`"]),
        ("flows = 0, per = 'source'", ["0 is not within 1 to 16777216", "over ="]),
        ("flows = 9, per = 'source', rate = '5/s'", ["`rate` what comes in a time", "or `flows`"]),
        ("flows = 9, per = 'source', burst = 5", ["`burst` what comes in a time", "or `flows`"]),
    ] {
        says(&rule(&format!("over = {{ {keys} }}")), &words);
    }
    let two = |prefix: u8| {
        let rule = |name: &str, prefix: u8| {
            format!(
                "[[firewall.rule]]\nname = '{name}'\naction = 'drop'\n\
                 over = {{ flows = 9, per = 'source', prefix_v4 = {prefix} }}\n"
            )
        };
        world(&(rule("a", 24) + &rule("b", prefix)))
    };
    assert_eq!(valid(&two(24)).config.firewall.rules.len(), 2);
    says(&two(32), &["by different prefixes", "the first one", "write the same `prefix_v4`"]);
}

#[test]
fn conditions_that_no_packet_can_meet_are_wrong() {
    says(&rule("protocol = 'icmp'\ndport = 53"), &["of protocol icmp have no ports"]);
    says(&rule("protocol = 'udp'\ntcp_flags = 'syn'"), &["of protocol udp have no TCP flags"]);
    says(&rule("icmp_type = 8"), &["differ between IPv4 and IPv6"]);
    says(&rule("protocol = 'tcp'\nicmp_type = 8"), &["write `protocol = \"icmp\"`"]);
    says(
        &rule("protocol = 'icmpv6'\nicmp_type = 'echo-reqest'"),
        &["icmpv6 has no type \"echo-reqest\"", "did you mean \"echo-request\"?"],
    );
}

#[test]
fn what_a_rule_names_is_there() {
    let set = "\n[firewall.set.office]\nelements = []";
    says(&rule(&format!("source = '@ofice'{set}")), &["no set \"ofice\"", "mean \"office\"?"]);
    says(&rule("destination = '@x'"), &["add a table `[firewall.set.x]`"]);
    says(&rule("service = 'shp'"), &["no service \"shp\"", "did you mean \"shop\"?"]);
    says(&rule("interface = 'wlan0'"), &["add \"wlan0\" to `interfaces` in [datapath]"]);
    let service = World { service: "allow = ['@x']", ..World::default() };
    says(&service.text(), &["no set \"x\""]);
}

#[test]
fn rules_have_names_of_their_own_and_a_bound() {
    let named = |n: usize| format!("[[firewall.rule]]\nname = 'r{n}'\naction = 'drop'\n");
    let twice = named(1) + &named(1);
    says(&world(&twice), &["\"r1\" is used twice", "first used here"]);
    let all: String = (0..1_026).map(named).collect();
    says(&world(&all), &["more than 1024 rules", "several prefixes, ports or a set"]);
}

#[test]
fn a_service_may_be_for_some_addresses_only() {
    let text = World { service: "allow = '198.51.100.0/24'", ..World::default() }.text();
    let allow = &valid(&text).config.services[0].allow;
    assert_eq!(allow, &[Match::Prefix("198.51.100.0/24".parse().unwrap())]);
}

#[test]
fn what_may_surprise_is_noted() {
    let notes = |more: &str| valid(&world(more)).notes.join("\n");
    let closed = notes("[firewall]\npolicy = 'drop'\nset.idle = { elements = [] }");
    assert!(closed.contains("set idle: no rule and no service names it"), "{closed}");
    assert!(closed.contains("TCP ports of the host that stay open: 22"), "{closed}");
    let open = notes(
        "[firewall]\nset.used = { elements = [] }\nrule = [{ name = 'r', action = 'drop', source = '@used' }]",
    );
    assert!(!open.contains("set used") && !open.contains("stay open:"), "{open}");
}

#[test]
fn a_rule_is_read_as_it_is_written() {
    let text = api::Rule {
        name: "r".into(),
        action: "drop".into(),
        source: vec!["@office".into(), "198.51.100.0/24".into()],
        protocol: Some("icmpv6".into()),
        icmp_type: vec!["packet-too-big".into(), "99".into()],
        ..api::Rule::default()
    };
    assert_eq!(rule_to_text(&rule_from_text(&text).unwrap()), text);
    let wrong = api::Rule { dport: vec!["x".into()], action: "reject".into(), ..text };
    let reasons = rule_from_text(&wrong).unwrap_err();
    assert!(reasons.contains("unknown value \"reject\""), "{reasons}");
    assert!(reasons.contains("\"x\" is neither a port nor a range of ports"), "{reasons}");
}
