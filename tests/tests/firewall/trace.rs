//! Single packets: what would become of one, and those that are dropped.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use aya::maps::{Array, Map, MapData};
use lb_common::map;
use lb_tests::clock::wait_until;
use lb_tests::load::TIMEOUT;
use lb_tests::stage::Stage;
use lb_tests::web::PORT;
use lb_tests::world::{Arms, World, vips};
use serde_json::Value;

use super::{connects, ctl, ctl_ends, met_by};

fn explained(stage: &Stage<'_>, line: &str) -> Value {
    let words = format!("explain {line}");
    stage.agent.ctl_json(&words.split(' ').collect::<Vec<_>>()).unwrap()
}

/// The first line with a packet or a source that `lb-ctl` prints while the client tries to connect.
fn first_line(stage: &Stage<'_>, line: &str) -> String {
    let mut command = stage.agent.ctl_command();
    let mut child: Child = command.args(line.split(' ')).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let reader = std::thread::spawn(move || {
        lines.map_while(Result::ok).find(|it| !it.starts_with("SOURCE"))
    });
    while !reader.is_finished() {
        for vip in vips(PORT) {
            connects(stage, vip);
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap().unwrap_or_default()
}

#[test]
fn a_packet_is_explained_by_rules_services_and_backends_and_changes_nothing() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = Stage::shop(&world).unwrap();
    for (client, vip) in [("198.51.100.10", "203.0.113.10"), ("2001:db8:1::10", "2001:db8:f::10")] {
        let line = format!("--src {client} --dst {vip} --proto tcp --dport 80");
        let before = ctl(&stage, "conn count");
        let told = explained(&stage, &line);
        assert_eq!(told["verdict"], "to_backend", "{told}");
        assert_eq!(
            (&told["service"], &told["backend"]),
            (&"shop".into(), &"web1".into()),
            "{told}"
        );
        assert!(told["rule"].is_null(), "{told}");
        assert_eq!(ctl(&stage, "conn count"), before);
    }
    ctl(&stage, "firewall rule add web --action drop --dport 80-90 --source 198.51.100.0/24");
    let from = |source: &str, port: u16| {
        explained(&stage, &format!("--src {source} --dst 203.0.113.10 --proto tcp --dport {port}"))
    };
    let told = from("198.51.100.10", 80);
    assert_eq!(
        (&told["verdict"], &told["rule"]),
        (&"firewall_drop".into(), &"web".into()),
        "{told}"
    );
    assert_eq!(from("192.0.2.11", 80)["verdict"], "to_backend");
    assert_eq!(from("198.51.100.10", 79)["verdict"], "port_closed");
    assert_eq!(met_by(&stage, "web"), 0);
    let said = ctl_ends(&stage, "explain --src ::1 --dst 10.0.0.1 --proto tcp --dport 80", 2);
    assert!(said.contains("different families"), "{said}");
    let said =
        ctl_ends(&stage, "explain --src 10.0.0.2 --dst 10.0.0.1 --proto gre --interface lo", 2);
    assert!(said.contains("lo is not one of the interfaces in [datapath]: front, back"), "{said}");
}

#[test]
fn dropped_packets_are_shown_with_their_rule_and_counted_by_source() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = Stage::shop(&world).unwrap();
    ctl(&stage, "firewall rule add web --action drop --dport 80 --interface front");
    let line = first_line(&stage, "drops --follow");
    assert!(line.contains("Z firewall_drop rule web service shop front tcp "), "{line}");
    assert!(line.contains(":80 ") && line.ends_with(" B"), "{line}");
    let line = first_line(&stage, "drops --by source --for 3s");
    assert!(line.starts_with("198.51.100.10 ") || line.starts_with("2001:db8:1::10 "), "{line}");
    let json = first_line(&stage, "drops --follow -j");
    let packet: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&packet["rule"], &packet["destination_port"]), (&"web".into(), &80.into()));
    let by_service = ctl(&stage, "drops --by service --all");
    assert!(by_service.contains("shop"), "{by_service}");
    let asked = || -> anyhow::Result<bool> {
        let data = MapData::from_pin(world.pin_path().join(map::SAMPLE_UNTIL))?;
        Ok(Array::<_, u64>::try_from(Map::from_map_data(data)?)?.get(&0, 0)? != 0)
    };
    assert!(asked().unwrap());
    wait_until("no more samples to be taken", 2 * TIMEOUT, || Ok(!asked()?)).unwrap();
}
