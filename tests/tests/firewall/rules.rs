//! Rules in the file and at run time.

use lb_tests::clock::wait_until;
use lb_tests::http_client::Connection;
use lb_tests::load::TIMEOUT;
use lb_tests::stage::Stage;
use lb_tests::web::PORT;
use lb_tests::world::{Arms, World, vips};

use super::{connects, ctl, ctl_ends, is_served, met_by, wait_until_served, with};

const DROP_CLIENTS: &str = "firewall rule add no-clients --action drop \
                            --source 198.51.100.0/24,2001:db8:1::/64 --service shop";

#[test]
fn a_rule_of_the_file_drops_whom_it_names_and_counts_it() {
    let world = World::new(Arms::Two, 1).unwrap();
    let settings = with(
        &world,
        "[[firewall.rule]]\nname = 'others'\naction = 'drop'\nsource = ['10.0.0.0/8', '2001:db8:9::/48']\n\
         [[firewall.rule]]\nname = 'clients'\naction = 'drop'\nsource = ['@bad']\ndport = [80]\n\
         [firewall.set.bad]\nelements = ['198.51.100.10']",
    );
    let stage = Stage::set(&world, &settings).unwrap();
    let [v4, v6] = vips(PORT);
    assert_eq!([v4, v6].map(|vip| connects(&stage, vip)), [false, true]);
    assert!(met_by(&stage, "clients") >= 1);
    assert_eq!(met_by(&stage, "others"), 0);
    assert!(stage.packets("firewall_drop").unwrap() >= 1);
    let counters = ctl(&stage, "firewall counters");
    assert!(counters.contains("clients ") && counters.contains("others "), "{counters}");
    let metrics = stage.agent.metrics().unwrap();
    assert!(metrics.contains(r#"lb_firewall_rule_packets_total{rule="others",action="drop"} 0"#));
    let of_set = stage.agent.ctl_json(&["firewall", "counters"]).unwrap()["sets"].clone();
    assert_eq!(of_set[0]["name"], "bad");
    assert!(of_set[0]["count"]["packets"].as_u64().unwrap() >= 1, "{of_set}");
}

#[test]
fn a_rule_with_a_limit_lets_so_many_connections_of_each_source_through() {
    let world = World::new(Arms::Two, 2).unwrap();
    let stage = Stage::shop(&world).unwrap();
    let said = ctl(
        &stage,
        "firewall rule add few --action drop --service shop --over 3/h --burst 3 --count new_flows \
         --per source --prefix-v4 24",
    );
    assert_eq!(said, "rule few added\n");
    let listed = ctl(&stage, "firewall rule list");
    assert!(listed.contains("over 3/h new_flows per source"), "{listed}");
    let mut open = Vec::new();
    for vip in vips(PORT) {
        for _ in 0..3 {
            let mut connection = stage.connect(vip).unwrap();
            connection.get("/").unwrap();
            open.push(connection);
        }
        assert!(!connects(&stage, vip));
    }
    for connection in &mut open {
        connection.get("/").unwrap();
    }
    assert!(met_by(&stage, "few") >= 2);
    ctl(&stage, "firewall rule delete few");
    assert!(is_served(&stage));
}

fn serve_all(open: &mut [Connection]) {
    for connection in open {
        connection.get("/").unwrap();
    }
}

#[test]
fn a_source_may_have_so_many_connections_open_and_another_when_one_has_ended() {
    for syn_cookies in ["auto", "always"] {
        let world = World::new(Arms::Two, 2).unwrap();
        let settings = with(&world, &format!("[firewall]\nsyn_cookies = '{syn_cookies}'"));
        let stage = Stage::set(&world, &settings).unwrap();
        stage.agent.wait_for_cookies().unwrap();
        lets_ten_be_open(&stage);
    }
}

fn lets_ten_be_open(stage: &Stage<'_>) {
    ctl(stage, "firewall rule add few --action drop --service shop --flows 10 --prefix-v4 24");
    let listed = ctl(stage, "firewall rule list");
    assert!(listed.contains("over 10 flows per source"), "{listed}");
    for vip in vips(PORT) {
        let mut open: Vec<_> = (0..10).map(|_| stage.connect(vip).unwrap()).collect();
        serve_all(&mut open);
        assert!(!connects(stage, vip), "the eleventh");
        open.pop();
        wait_until("another one", TIMEOUT, || Ok(connects(stage, vip))).unwrap();
        serve_all(&mut open);
    }
    assert!(met_by(stage, "few") >= 2);
    ctl(stage, "firewall rule delete few");
    wait_until_served(stage, true);
}

#[test]
fn open_connections_follow_a_rule_that_comes_and_goes() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = Stage::shop(&world).unwrap();
    for vip in vips(PORT) {
        let mut open = stage.connect(vip).unwrap();
        open.get("/").unwrap();
        let said = ctl(&stage, DROP_CLIENTS);
        assert_eq!(said, "rule no-clients added\n");
        assert!(open.get("/").is_err());
        assert!(!is_served(&stage));
        ctl(&stage, "firewall rule delete no-clients");
        assert!(is_served(&stage));
    }
}

#[test]
fn connections_that_a_rule_accepts_go_on_over_changes_of_other_rules() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = Stage::shop(&world).unwrap();
    let mut open = vips(PORT).map(|vip| stage.connect(vip).unwrap());
    for n in 0..8 {
        ctl(&stage, &format!("firewall rule add other{n} --action drop --source 10.{n}.0.0/16"));
        for connection in &mut open {
            connection.get("/").unwrap();
        }
    }
}

#[test]
fn the_first_rule_that_matches_decides_wherever_it_was_put() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = Stage::shop(&world).unwrap();
    ctl(&stage, DROP_CLIENTS);
    assert!(!is_served(&stage));
    ctl(&stage, "firewall rule add web --action accept --dport 80 --before no-clients");
    assert!(is_served(&stage));
    let list = ctl(&stage, "firewall rule list");
    let place = |name: &str| list.find(name).unwrap();
    assert!(place("web ") < place("no-clients "), "{list}");
    assert!(list.contains("source 198.51.100.0/24,2001:db8:1::/64  service shop"), "{list}");
}

#[test]
fn rules_made_at_run_time_survive_a_restart_and_end_when_they_are_discarded() {
    let world = World::new(Arms::Two, 1).unwrap();
    let mut stage = Stage::shop(&world).unwrap();
    ctl(&stage, DROP_CLIENTS);
    assert!(!is_served(&stage));
    let met = met_by(&stage, "no-clients");
    assert!(met >= 2);
    stage.agent.process.kill().unwrap();
    assert!(!is_served(&stage), "the packet path goes on");
    stage.agent.restart().unwrap();
    assert!(!is_served(&stage));
    assert!(met_by(&stage, "no-clients") > met, "counters go on");
    let diff = ctl(&stage, "config diff");
    assert!(diff.contains("rule no-clients added"), "{diff}");
    ctl(&stage, "reload --discard");
    assert!(is_served(&stage));
}

#[test]
fn a_rule_that_cannot_be_is_refused_with_the_reason_and_changes_nothing() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = Stage::shop(&world).unwrap();
    for (line, code, words) in [
        ("rule add x --action drop --source 10.0.0.0/99", 2, "neither an IP address nor a prefix"),
        ("rule add x --action drop --source @none", 2, "there is no set none"),
        ("rule add x --action drop --dport 80 --protocol icmp", 2, "have no ports"),
        ("rule add x --action drop --before none", 4, "no rule is named none"),
        ("rule delete none", 4, "no rule is named none"),
    ] {
        let said = ctl_ends(&stage, &format!("firewall {line}"), code);
        assert!(said.contains(words), "{line}: {said}");
    }
    let said = ctl(&stage, &format!("{DROP_CLIENTS} --dry-run"));
    assert_eq!(said, "would change: rule no-clients added\n");
    assert!(is_served(&stage));
    assert_eq!(ctl(&stage, "config diff"), "no differences\n");
}

#[test]
fn a_service_is_for_its_allow_list_alone() {
    let world = World::new(Arms::Two, 1).unwrap();
    let mut settings = with(&world, "[firewall.set.office]\nelements = ['198.51.100.77']");
    let allowing = |list: &str| format!("protocol = \"tcp\"\nallow = {list}");
    let plain = settings.tables.clone();
    settings.tables = plain.replacen("protocol = \"tcp\"", &allowing("['@office']"), 1);
    let stage = Stage::set(&world, &settings).unwrap();
    assert!(!is_served(&stage));
    assert!(stage.packets("service_not_allowed").unwrap() >= 2);
    ctl(&stage, "set add office 198.51.100.10 2001:db8:1::/64");
    assert!(is_served(&stage));
    let mut open = stage.connect(vips(PORT)[0]).unwrap();
    open.get("/").unwrap();
    ctl(&stage, "set delete office 198.51.100.10");
    assert!(open.get("/").is_err());
    assert!(!connects(&stage, vips(PORT)[0]));
    settings.tables = plain;
    stage.agent.write_config(&settings).unwrap();
    ctl(&stage, "reload");
    assert!(is_served(&stage));
}
