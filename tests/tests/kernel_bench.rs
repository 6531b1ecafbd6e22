//! The benchmarks, shortly, on the real kernel. How long anything took is not looked at.
#![cfg(feature = "root")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::process::Command;

use lb_tests::binaries::Binaries;
use lb_tests::command::run;
use serde_json::Value;

/// What `cargo xtask bench` prints for scripts.
fn rows(words: &[&str]) -> Vec<Value> {
    let mut command = Command::new(Binaries::of_this_profile().unwrap().xtask);
    command.args(["bench", "--quick", "--json"]).args(words);
    // It fails unless packets, connections and requests ended as the case says.
    serde_json::from_str(&run(&mut command).unwrap()).unwrap()
}

/// The same in a single round, with the binaries of this profile.
fn short(words: &[&str]) -> Vec<Value> {
    let agent = Binaries::of_this_profile().unwrap().agent;
    let folder = agent.parent().unwrap().to_str().unwrap();
    rows(&[words, &["--rounds", "1", "--binaries", folder]].concat())
}

/// The only row of a case, of which all keys are there, beside another system; both were measured.
fn measured<'r>(rows: &'r [Value], case: &str, floor: &str) -> &'r Value {
    let is_it = |row: &&Value| {
        row["case"] == case && row.pointer("/floor/name").is_some_and(|name| name == floor)
    };
    let found: Vec<_> = rows.iter().filter(is_it).collect();
    assert_eq!(found.len(), 1, "{case} beside {floor} in {rows:#?}");
    let row = found.first().unwrap();
    for key in ["/bench", "/family", "/unit"] {
        assert!(row.pointer(key).is_some_and(Value::is_string), "{key} of {row}");
    }
    assert!(row["flows"].is_u64(), "{row}");
    for key in ["/value", "/floor/value", "/ratio", "/spread/median"] {
        let value = row.pointer(key).and_then(Value::as_f64);
        assert!(value.is_some_and(|value| value > 0.0), "{key} of {row}");
    }
    row
}

#[test]
fn a_known_flow_is_measured_for_both_families_beside_its_floors() {
    let rows = rows(&["packet", "--case", "nat known 131072"]);
    let of = |family: &str, floor: &str| {
        rows.iter()
            .find(|row| row["family"] == family && row["floor"]["name"] == floor)
            .unwrap_or_else(|| panic!("{family} beside {floor} in {rows:#?}"))
    };
    for family in ["IPv4", "IPv6"] {
        for floor in ["LRU hash, NAT", "LRU hash, IPIP"] {
            let row = of(family, floor);
            assert_eq!((&row["bench"], &row["case"]), (&"packet".into(), &"nat known".into()));
            assert_eq!((&row["flows"], &row["unit"]), (&131_072.into(), &"ns".into()));
            assert!(row["value"].as_f64().unwrap() > 0.0, "{row}");
            assert!(row["ratio"].as_f64().unwrap() > 0.0, "{row}");
        }
    }
    assert_eq!(of("IPv6", "IPv4")["value"], of("IPv6", "LRU hash, NAT")["value"]);
}

#[test]
fn packets_of_every_mode_and_kind_end_in_the_verdict_of_their_case() {
    for (case, name, floor) in [
        ("IPv4 ipip new 0", "ipip new", "LRU insert"),
        ("IPv6 gue closed port 1", "gue closed port", "drop"),
        ("IPv4 dsr not ours 1", "dsr not ours", "parse, send back"),
        ("IPv6 full-nat known 131072", "full-nat known", "LRU hash, NAT"),
        ("IPv4 nat known, first of a tick", "nat known, first of a tick", "LRU hash, NAT"),
        ("IPv6 nat new, table full", "nat new, table full", "LRU insert"),
    ] {
        let rows = rows(&["packet", "--rounds", "1", "--case", case]);
        let is_it = |row: &Value| row["case"] == name && row["floor"]["name"] == floor;
        assert!(rows.iter().any(is_it), "{case}: {rows:#?}");
        assert!(
            rows.iter().all(|row| row["case"] == name && row["bench"] == "packet"),
            "{rows:#?}"
        );
    }
}

#[test]
fn packets_cross_a_wire_through_every_contender() {
    let rows = short(&["wire", "--case", "nat 1024"]);
    assert_eq!(rows.len(), 2 * 3, "{rows:#?}");
    for family in ["IPv4", "IPv6"] {
        let of_family: Vec<_> =
            rows.iter().filter(|row| row["family"] == family).cloned().collect();
        for floor in ["XDP_TX", "XDP_DROP", "nftables DNAT"] {
            let row = measured(&of_family, "nat", floor);
            assert_eq!((&row["bench"], &row["unit"]), (&"wire".into(), &"kpps".into()));
            assert_eq!(row["flows"], 1_024);
        }
    }
}

#[test]
fn requests_are_answered_through_every_balancer() {
    let rows = short(&["http", "--case", "new"]);
    for metric in ["requests", "p50", "p99"] {
        for system in ["Sluice", "HAProxy", "nginx stream", "nftables DNAT"] {
            let case = format!("new connections, {system} {metric}");
            let row = measured(&rows, &case, "no balancer");
            assert_eq!((&row["bench"], &row["flows"]), (&"http".into(), &64.into()));
        }
    }
    measured(&rows, "new connections, Sluice own CPU", "HAProxy");
    // What bypasses the kernel's own forwarding may cost less than nothing over that.
    let costs = rows.iter().filter(|row| row["unit"] == "us/request");
    assert!(
        costs.clone().count() == 7 && costs.clone().all(|row| row["value"].is_f64()),
        "{rows:#?}"
    );
}

#[test]
fn clients_of_every_system_are_counted_during_a_flood() {
    let rows = short(&["firewall", "--case", "flood=100000"]);
    for system in ["HAProxy", "nftables synproxy"] {
        for metric in
            ["own port served", "own port p99", "shared port p99", "SYNs sent", "SYNs arrived"]
        {
            let row = measured(&rows, &format!("flood=100000 {metric}"), system);
            assert_eq!((&row["bench"], &row["family"]), (&"firewall".into(), &"IPv4".into()));
        }
    }
    assert_eq!(rows.len(), 2 * 6, "{rows:#?}");
}
