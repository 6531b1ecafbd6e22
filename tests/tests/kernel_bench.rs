//! The benchmark of packets, on the real kernel. How long a packet took is not looked at.
#![cfg(feature = "root")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::process::Command;

use lb_tests::binaries::Binaries;
use lb_tests::command::run;
use serde_json::Value;

fn rows(case: &str) -> Vec<Value> {
    let mut command = Command::new(Binaries::of_this_profile().unwrap().xtask);
    command.args(["bench", "packet", "--quick", "--json", "--case", case]);
    // It fails unless the program met exactly the flows and the packets that the case is about.
    serde_json::from_str(&run(&mut command).unwrap()).unwrap()
}

#[test]
fn a_known_flow_is_measured_for_both_families_beside_its_floors() {
    let rows = rows("nat known 131072");
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
fn every_other_packet_ends_in_the_verdict_of_its_case() {
    let cases: Vec<_> = rows("IPv6 nat c").iter().map(|row| row["case"].clone()).collect();
    assert_eq!(cases, ["nat closed port"]);
    assert_eq!(rows("IPv4 nat new 0").len(), 1);
}
