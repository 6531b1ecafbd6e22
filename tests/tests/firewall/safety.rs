//! Nobody is locked out: protected ports, changes that are taken back, warnings.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use lb_tests::agent::{Settings, config_file, shop};
use lb_tests::clock::wait_until;
use lb_tests::load::TIMEOUT;
use lb_tests::process::Process;
use lb_tests::stage::Stage;
use lb_tests::world::{Arms, World};

use super::{connects, ctl, ctl_ends, is_served, met_by, wait_until_served, with};

const CLOSED: &str = "[firewall]\npolicy = 'drop'\n\
    [[firewall.rule]]\nname = 'web'\naction = 'accept'\nservice = 'shop'";

/// The kernel verifies nine programs before the first flow moves.
const RESIZED_WITHIN: Duration = Duration::from_mins(2);

/// The director's own addresses on the client's side.
fn host(port: u16) -> [SocketAddr; 2] {
    ["198.51.100.1", "2001:db8:1::1"].map(|at| (at.parse::<IpAddr>().unwrap(), port).into())
}

/// A server of the director's own, on these ports.
fn serve(stage: &Stage<'_>, ports: &[u16]) -> Process {
    let mut command: Command = stage.world.director.command(&stage.binaries.xtask);
    command.args(["serve", "--name", "host"]);
    for address in ports.iter().flat_map(|port| host(*port)) {
        command.arg("--listen").arg(address.to_string());
    }
    Process::start("host", &mut command, stage.world.folder()).unwrap()
}

fn reaches(stage: &Stage<'_>, port: u16) -> bool {
    let [v4, v6] = host(port).map(|address| connects(stage, address));
    assert_eq!(v4, v6, "IPv4 and IPv6 differ");
    v4
}

fn is_waiting(stage: &Stage<'_>) -> bool {
    ctl(stage, "status").contains("waits for `lb-ctl config confirm`")
}

#[test]
fn a_closed_firewall_leaves_ssh_the_services_and_the_probes() {
    let world = World::new(Arms::Two, 2).unwrap();
    let stage = Stage::set(&world, &with(&world, CLOSED)).unwrap();
    let _server = serve(&stage, &[22, 8080]);
    wait_until("the host's server to answer", TIMEOUT, || {
        Ok(host(22).iter().all(|address| connects(&stage, *address)))
    })
    .unwrap();
    assert!(!reaches(&stage, 8080));
    assert!(stage.packets("firewall_policy").unwrap() >= 2);
    assert!(is_served(&stage));
    assert!(met_by(&stage, "web") >= 2);
    assert_eq!(stage.answers(4).unwrap().len(), 2);
    ctl(&stage, "firewall rule add own --action accept --dport 8080 --protocol tcp");
    assert!(reaches(&stage, 8080));
}

#[test]
fn what_is_not_confirmed_is_taken_back() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = Stage::shop(&world).unwrap();
    let before = std::fs::read_to_string(config_file(&world)).unwrap();
    let draft = world.folder().join("draft.toml");
    std::fs::write(&draft, with(&world, "[firewall]\npolicy = 'drop'").file(&world)).unwrap();
    let draft = draft.display();
    let said = ctl_ends(&stage, &format!("config apply {draft} --confirm 3s"), 0);
    assert!(said.contains("firewall.policy accept -> drop"), "{said}");
    assert!(said.contains("config confirm"), "{said}");
    assert!(!is_served(&stage));
    assert!(is_waiting(&stage));
    let said = ctl_ends(&stage, &format!("config apply {draft}"), 1);
    assert!(said.contains("waits for its confirmation"), "{said}");
    wait_until_served(&stage, true);
    let is_back = || Ok(std::fs::read_to_string(config_file(&world))? == before);
    wait_until("the file to be as it was", TIMEOUT, is_back).unwrap();
    let said = ctl_ends(&stage, "config confirm", 1);
    assert!(said.contains("no configuration waits"), "{said}");
}

#[test]
fn what_cannot_be_written_is_taken_back_all_the_same_as_soon_as_it_can() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = Stage::shop(&world).unwrap();
    let before = std::fs::read_to_string(config_file(&world)).unwrap();
    let draft = world.folder().join("draft.toml");
    std::fs::write(&draft, with(&world, "[firewall]\npolicy = 'drop'").file(&world)).unwrap();
    // What the agent writes beside the file takes its place then.
    let name = config_file(&world).file_name().unwrap().to_str().unwrap().to_owned();
    let in_the_way = config_file(&world).with_file_name(format!(".{name}.new"));
    std::fs::create_dir(&in_the_way).unwrap();
    let said = ctl_ends(&stage, &format!("config apply {} --confirm 2s", draft.display()), 1);
    assert!(said.contains("running, but not in the file"), "{said}");
    wait_until_served(&stage, true);
    let is_tried = || Ok(ctl(&stage, "status").contains("put back what ran before: write "));
    wait_until("the agent to tell that it tries again", TIMEOUT, is_tried).unwrap();
    std::fs::remove_dir(&in_the_way).unwrap();
    wait_until("it to have worked", TIMEOUT, || Ok(!is_waiting(&stage))).unwrap();
    assert!(!ctl(&stage, "status").contains("put back"));
    assert_eq!(std::fs::read_to_string(config_file(&world)).unwrap(), before);
    ctl(&stage, "firewall rule add other --action drop --source 10.0.0.0/8");
    assert!(is_served(&stage));
}

#[test]
fn what_cannot_be_taken_back_while_the_flow_table_changes_is_taken_back_after_that() {
    let world = World::new(Arms::Two, 1).unwrap();
    let open =
        "[firewall]\nmax_prefixes = 1024\n[[firewall.rule]]\nname = 'all'\naction = 'accept'";
    let stage = Stage::set(&world, &with(&world, open)).unwrap();
    let before = std::fs::read_to_string(config_file(&world)).unwrap();
    let closed = with(&world, "[firewall]\nmax_prefixes = 2048\npolicy = 'drop'");
    let closed = Settings { datapath: "max_flows = 131072".to_owned(), ..closed };
    let draft = world.folder().join("draft.toml");
    std::fs::write(&draft, closed.file(&world)).unwrap();
    // The kernel takes longer to verify the programs of another flow table.
    ctl(&stage, &format!("config apply {} --confirm 1s", draft.display()));
    let told = "put back what ran before: maps of another size are being made";
    let is_tried = || Ok(ctl(&stage, "status").contains(told));
    wait_until("the agent to tell that it tries again", TIMEOUT, is_tried).unwrap();
    let is_back = || Ok(!is_waiting(&stage));
    wait_until("what ran before to be back", RESIZED_WITHIN, is_back).unwrap();
    assert!(is_served(&stage));
    assert_eq!(std::fs::read_to_string(config_file(&world)).unwrap(), before);
    let is_settled = || Ok(stage.agent.ctl_json(&["status"])?["warnings"] == serde_json::json!([]));
    wait_until("the flow table to have its size again", RESIZED_WITHIN, is_settled).unwrap();
    assert!(is_served(&stage));
}

#[test]
fn a_file_of_a_set_that_changed_meanwhile_is_read_again_when_what_ran_before_is_back() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = super::sets::stage(&world, super::sets::STRANGERS);
    let file = std::fs::read_to_string(config_file(&world)).unwrap();
    let closed = file.replacen("[firewall.set", "[firewall]\npolicy = 'drop'\n[firewall.set", 1);
    let draft = world.folder().join("draft.toml");
    std::fs::write(&draft, closed).unwrap();
    ctl(&stage, &format!("config apply {} --confirm 6s", draft.display()));
    super::sets::write(&world, "198.51.100.0/24\n2001:db8:1::/64\n10.0.0.0/8\n");
    let elements = || Ok(super::sets::row(&stage)["elements"] == 3);
    wait_until("the file to be read", TIMEOUT, elements).unwrap();
    wait_until("what ran before to be back", TIMEOUT, || Ok(!is_waiting(&stage))).unwrap();
    assert!(ctl(&stage, "config show").contains("[firewall.set"));
    assert!(!ctl(&stage, "config show").contains("policy = 'drop'"));
    wait_until("the file to be read again", TIMEOUT, elements).unwrap();
    assert!(!is_served(&stage));
}

#[test]
fn what_is_confirmed_stays() {
    let world = World::new(Arms::Two, 1).unwrap();
    let mut stage = Stage::shop(&world).unwrap();
    let draft = world.folder().join("draft.toml");
    let closed = with(&world, CLOSED).file(&world);
    std::fs::write(&draft, &closed).unwrap();
    ctl(&stage, &format!("config apply {} --confirm 1h", draft.display()));
    let change = "firewall rule add other --action drop --source 10.0.0.0/8";
    let said = ctl_ends(&stage, change, 1);
    assert!(said.contains("waits for its confirmation"), "{said}");
    assert!(said.contains("lb-ctl config confirm"), "{said}");
    ctl(&stage, &format!("{change} --dry-run"));
    ctl(&stage, "config confirm");
    ctl(&stage, change);
    stage.agent.process.kill().unwrap();
    stage.agent.restart().unwrap();
    assert_eq!(std::fs::read_to_string(config_file(&world)).unwrap(), closed);
    assert!(ctl(&stage, "config show").contains("policy = 'drop'"));
}

#[test]
fn an_agent_that_starts_takes_back_what_nobody_has_confirmed() {
    let world = World::new(Arms::Two, 1).unwrap();
    let mut stage = Stage::shop(&world).unwrap();
    ctl(&stage, "firewall rule add other --action drop --source 10.0.0.0/8");
    let draft = world.folder().join("draft.toml");
    std::fs::write(&draft, with(&world, "[firewall]\npolicy = 'drop'").file(&world)).unwrap();
    ctl(&stage, &format!("config apply {} --confirm 1h", draft.display()));
    assert!(!is_served(&stage));
    stage.agent.process.kill().unwrap();
    stage.agent.restart().unwrap();
    assert!(is_served(&stage));
    assert_eq!(std::fs::read_to_string(config_file(&world)).unwrap(), shop(&world).file(&world));
    assert!(ctl(&stage, "firewall rule list").contains("other"));
}

#[test]
fn whoever_would_cut_the_own_connection_is_warned() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = Stage::shop(&world).unwrap();
    let warned = |line: &str, session: &str| {
        let mut command = stage.agent.ctl_command();
        let output = command.args(line.split(' ')).env("SSH_CONNECTION", session).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let rule =
        "firewall rule add x --action drop --source 198.51.100.0/24 --dport 22,8080 --dry-run";
    let said = warned(rule, "198.51.100.10 50022 198.51.100.1 8080");
    assert!(said.contains("warning: your own connection from 198.51.100.10:50022"), "{said}");
    assert!(said.contains("rule x drops its packets"), "{said}");
    let said = warned(rule, "198.51.100.10 50022 198.51.100.1 22");
    assert!(!said.contains("warning"), "port 22 is protected: {said}");
    let said = warned(rule, "192.0.2.7 50022 198.51.100.1 8080");
    assert!(!said.contains("warning"), "another source: {said}");
    let draft = world.folder().join("draft.toml");
    std::fs::write(&draft, with(&world, "[firewall]\npolicy = 'drop'").file(&world)).unwrap();
    let check = format!("config check {}", draft.display());
    let said = warned(&check, "198.51.100.10 50022 198.51.100.1 8080");
    assert!(
        said.contains("note: your own connection") && said.contains("the policy drops"),
        "{said}"
    );
}
