//! Sets: changed one by one, loaded as a whole, followed on disk.

use std::fmt::Write;

use lb_tests::clock::wait_until;
use lb_tests::load::{TIMEOUT, failures};
use lb_tests::stage::Stage;
use lb_tests::world::{Arms, World};

use super::{ctl, ctl_ends, is_served, wait_until_served, with};

const CLIENTS: &str = "198.51.100.0/24\n2001:db8:1::/64 # the client\n";
pub(super) const STRANGERS: &str = "10.0.0.0/8\n2001:db8:9::/48\n";

/// A stage whose set `bad`, which is dropped, is read from a file with this text.
pub(super) fn stage<'w>(world: &'w World, text: &str) -> Stage<'w> {
    write(world, text);
    let settings = with(
        world,
        &format!(
            "[firewall.set.bad]\nfile = '{}'\n[[firewall.rule]]\nname = 'bad'\naction = 'drop'\nsource = '@bad'",
            world.folder().join("bad.txt").display()
        ),
    );
    Stage::set(world, &settings).unwrap()
}

/// Puts a file in the place of the set's, as careful writers do.
pub(super) fn write(world: &World, text: &str) {
    let (beside, file) = (world.folder().join("bad.new"), world.folder().join("bad.txt"));
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, file).unwrap();
}

pub(super) fn row(stage: &Stage<'_>) -> serde_json::Value {
    stage.agent.ctl_json(&["set", "list"]).unwrap()[0].clone()
}

#[test]
fn elements_come_and_go_at_once_and_lie_over_the_file() {
    let world = World::new(Arms::Two, 1).unwrap();
    let mut stage = stage(&world, STRANGERS);
    assert!(is_served(&stage));
    let said = ctl(&stage, "set add bad 198.51.100.10 2001:db8:1::/64");
    assert!(said.contains("set bad: 198.51.100.10/32 added"), "{said}");
    assert!(!is_served(&stage));
    stage.agent.process.kill().unwrap();
    stage.agent.restart().unwrap();
    assert!(!is_served(&stage));
    let shown = ctl(&stage, "set show bad");
    assert!(shown.contains("198.51.100.10/32\n") && shown.contains("10.0.0.0/8\n"), "{shown}");
    assert!(ctl(&stage, "config diff").contains("set bad: 198.51.100.10/32 added"));
    ctl(&stage, "set delete bad 198.51.100.10/32 2001:db8:1::/64");
    assert!(is_served(&stage));
    let said = ctl_ends(&stage, "set delete bad 10.1.2.3", 4);
    assert!(said.contains("its element 10.0.0.0/8 holds it"), "{said}");
}

#[test]
fn a_file_is_read_again_when_it_changes() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = stage(&world, STRANGERS);
    assert!(is_served(&stage));
    write(&world, CLIENTS);
    wait_until_served(&stage, false);
    assert_eq!(row(&stage)["elements"], 2);
    write(&world, STRANGERS);
    wait_until_served(&stage, true);
}

#[test]
fn a_wrong_file_is_named_with_its_lines_and_the_old_set_stays() {
    let world = World::new(Arms::Two, 1).unwrap();
    let mut stage = stage(&world, CLIENTS);
    assert!(!is_served(&stage));
    write(&world, "10.0.0.0/8\n10.0.0.300\n");
    wait_until("the problem to be told", TIMEOUT, || Ok(row(&stage)["problem"].is_string()))
        .unwrap();
    let problem = row(&stage)["problem"].as_str().unwrap().to_owned();
    assert!(problem.contains("line 2: \"10.0.0.300\" is neither"), "{problem}");
    assert!(ctl(&stage, "status").contains("line 2"));
    assert!(!is_served(&stage));
    let said = ctl_ends(&stage, "reload", 5);
    assert!(said.contains("set bad: ") && said.contains("bad.txt: line 2"), "{said}");
    assert!(!is_served(&stage));
    // The next agent has the last good one.
    stage.agent.process.kill().unwrap();
    stage.agent.restart().unwrap();
    assert!(!is_served(&stage));
    write(&world, STRANGERS);
    wait_until_served(&stage, true);
    assert!(row(&stage)["problem"].is_null());
}

#[test]
fn a_file_that_there_is_no_room_for_is_told_of_until_there_is() {
    let world = World::new(Arms::Two, 1).unwrap();
    write(&world, STRANGERS);
    let tables = format!(
        "[firewall]\nmax_prefixes = 1024\n[firewall.set.bad]\nfile = '{}'\n[firewall.set.more]\nelements = []\n\
         [[firewall.rule]]\nname = 'bad'\naction = 'drop'\nsource = ['@bad', '@more']",
        world.folder().join("bad.txt").display()
    );
    let stage = Stage::set(&world, &with(&world, &tables)).unwrap();
    let more = world.folder().join("more.txt");
    std::fs::write(&more, lines(900, 20)).unwrap();
    ctl(&stage, &format!("set load more {}", more.display()));
    write(&world, &format!("{CLIENTS}{}", lines(900, 30)));
    wait_until("the problem to be told", TIMEOUT, || Ok(row(&stage)["problem"].is_string()))
        .unwrap();
    let problem = row(&stage)["problem"].as_str().unwrap().to_owned();
    assert!(
        problem.contains("bad.txt: ") && problem.contains("`[firewall] max_prefixes`"),
        "{problem}"
    );
    assert!(ctl(&stage, "status").contains("max_prefixes"));
    let is_stale = "lb_firewall_set_stale{set=\"bad\"} 1";
    assert!(stage.agent.metrics().unwrap().contains(is_stale));
    assert!(is_served(&stage));
    // Another change makes room.
    std::fs::write(&more, lines(10, 20)).unwrap();
    ctl(&stage, &format!("set load more {}", more.display()));
    wait_until_served(&stage, false);
    wait_until("no problem to be left", TIMEOUT, || Ok(row(&stage)["problem"].is_null())).unwrap();
    assert!(!stage.agent.metrics().unwrap().contains(is_stale));
}

/// So many prefixes that have nothing in common, none of them the client's.
fn lines(count: u32, first: u32) -> String {
    let line = |n: u32| format!("{}.{}.1.1\n", first + n / 256, n % 256);
    (0..count).map(line).collect::<Vec<_>>().concat()
}

#[test]
fn a_set_is_loaded_as_a_whole_and_holds_in_the_place_of_its_file() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = stage(&world, STRANGERS);
    let file = world.folder().join("load.txt");
    let mut text = CLIENTS.to_owned();
    for n in 0..10_000 {
        // Writing to a string cannot fail.
        writeln!(text, "10.{}.{}.0/24", n / 256, n % 256).ok();
    }
    std::fs::write(&file, &text).unwrap();
    let said = ctl(&stage, &format!("set load bad {}", file.display()));
    assert_eq!(said, "set bad: 2 elements -> 10002\n");
    assert!(!is_served(&stage));
    std::fs::write(&file, "10.0.0.0/8\nx\ny/3\n").unwrap();
    let said = ctl_ends(&stage, &format!("set load bad {}", file.display()), 5);
    assert!(said.contains("line 2: \"x\"") && said.contains("line 3: \"y/3\""), "{said}");
    assert!(!is_served(&stage));
    ctl(&stage, "reload");
    assert_eq!(row(&stage)["loaded"], true);
    assert!(!is_served(&stage));
    ctl(&stage, "reload --discard");
    assert_eq!(row(&stage)["elements"], 2);
    assert!(is_served(&stage));
}

#[test]
fn sets_are_swapped_under_load_without_one_failed_request() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = stage(&world, STRANGERS);
    let files = [("one.txt", "10.0.0.0/8\n"), ("two.txt", "172.16.0.0/12\n2001:db8:7::/48\n")];
    let files = files.map(|(name, text)| {
        let file = world.folder().join(name);
        std::fs::write(&file, text).unwrap();
        file
    });
    let load = stage.load().unwrap();
    for _ in 0..10 {
        for file in &files {
            ctl(&stage, &format!("set load bad {}", file.display()));
            load.wait_for_more(5).unwrap();
            // One prefix more, and one less, beside the client's: a patch of what is in force.
            for change in ["add", "delete"] {
                ctl(&stage, &format!("set {change} bad 198.51.100.11 2001:db8:1::11"));
                load.wait_for_more(5).unwrap();
            }
        }
    }
    assert_eq!(failures(&load.stop().unwrap()), Vec::<&String>::new());
}

#[test]
fn what_was_changed_is_written_into_the_files_that_it_belongs_to() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = stage(&world, "# feed\n10.0.0.0/8\n10.0.0.1\n");
    ctl(&stage, "set add bad 198.51.100.10 2001:db8:1::/64");
    ctl(&stage, "set delete bad 10.0.0.1");
    ctl(&stage, "firewall rule add web --action accept --dport 443 --before bad");
    let said = ctl(&stage, "reload --save");
    assert!(said.contains("+name = \"web\"\n"), "{said}");
    assert!(said.contains("set bad is written into"), "{said}");
    let text = std::fs::read_to_string(world.folder().join("bad.txt")).unwrap();
    assert_eq!(text, "# feed\n10.0.0.0/8\n198.51.100.10/32\n2001:db8:1::/64\n");
    assert_eq!(ctl(&stage, "config diff"), "no differences\n");
    assert!(!is_served(&stage));
    let list = ctl(&stage, "firewall rule list -o wide");
    assert!(list.contains("web ") && !list.contains("lb-ctl"), "{list}");
}
