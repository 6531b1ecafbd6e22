//! Sets so large that the rules take a while to be made: everything else goes on meanwhile.

use std::fmt::Write;
use std::process::{Child, Stdio};

use lb_tests::clock::wait_for;
use lb_tests::world::Arms;

use super::*;

/// In a debug build the rules of so many take longer to be made than `SOON` of the agent, by far.
const N_PREFIXES: u32 = 400_000;
/// Answers to questions while they are made.
const N_ANSWERS: usize = 3;

/// Random enough for prefixes not to lie side by side; none is the client's.
fn lines(count: u32) -> String {
    let mut text = String::new();
    for n in 0..count {
        let address = std::net::Ipv4Addr::from_bits(n.wrapping_mul(0x9e37_79b9) >> 8 | 0x0b00_0000);
        // Writing to a string cannot fail.
        writeln!(text, "{address}").ok();
    }
    text
}

/// Begins a call of `lb-ctl`.
fn begin(stage: &Stage<'_>, line: &str) -> Child {
    let mut command = stage.agent.ctl_command();
    command.args(line.split(' ')).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What a call of `lb-ctl` has printed, which must succeed.
fn end(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Whether the agent says that a change is under way.
fn is_changing(stage: &Stage<'_>) -> bool {
    let status = stage.agent.ctl_json(&["status"]).unwrap();
    let warnings = status["warnings"].as_array().unwrap();
    warnings
        .iter()
        .any(|it| it.as_str().is_some_and(|it| it.contains("a change has been under way")))
}

#[test]
fn questions_are_answered_and_changes_wait_while_the_first_rule_of_a_large_set_is_made() {
    let world = World::new(Arms::Two, 1).unwrap();
    let file = world.folder().join("large.txt");
    std::fs::write(&file, lines(N_PREFIXES)).unwrap();
    let tables = format!(
        "[firewall]\nmax_prefixes = {}\n[firewall.set.bad]\nfile = '{}'",
        N_PREFIXES + 1_000,
        file.display()
    );
    let stage = Stage::set(&world, &with(&world, &tables)).unwrap();
    // The agent keeps a copy of the set first.
    wait_until("the start to be over", TIMEOUT, || Ok(!is_changing(&stage))).unwrap();
    let rule = begin(&stage, "firewall rule add bad --action drop --source @bad");
    let told = || Ok(is_changing(&stage).then_some(()));
    for _ in 0..N_ANSWERS {
        wait_for("the agent to tell of the change", TIMEOUT, told).unwrap();
    }
    // This one is made with the other's rules in force.
    let element = begin(&stage, "set add bad 198.51.100.10 2001:db8:1::/64");
    assert!(end(rule).contains("rule bad"));
    assert!(end(element).contains("198.51.100.10/32 added"));
    assert!(!is_changing(&stage) && !is_served(&stage));
    ctl(&stage, "set delete bad 198.51.100.10 2001:db8:1::/64");
    assert!(is_served(&stage));
}

#[test]
fn a_first_rule_that_there_is_no_room_for_is_refused_and_another_one_made() {
    let world = World::new(Arms::Two, 1).unwrap();
    let file = world.folder().join("small.txt");
    std::fs::write(&file, lines(5_000)).unwrap();
    let tables = format!(
        "[firewall]\nmax_prefixes = 1024\n[firewall.set.many]\nfile = '{}'\n[firewall.set.bad]\nelements = \
         ['198.51.100.10', '2001:db8:1::/64']",
        file.display()
    );
    let stage = Stage::set(&world, &with(&world, &tables)).unwrap();
    let said = ctl_ends(&stage, "firewall rule add many --action drop --source @many", 2);
    assert!(said.contains("more prefixes than `[firewall] max_prefixes` has room for"), "{said}");
    assert!(is_served(&stage));
    ctl(&stage, "firewall rule add bad --action drop --source @bad");
    assert!(!is_served(&stage));
}
