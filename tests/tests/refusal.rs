//! Starts that the agent refuses, with the reason, and without touching anything.
#![cfg(feature = "root")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::mem::offset_of;

use lb_common::LAYOUT_VERSION;
use lb_common::layout::Settings;
use lb_tests::agent::{config_file, shop, spawn, write_config};
use lb_tests::binaries::Binaries;
use lb_tests::command::run;
use lb_tests::link::End;
use lb_tests::load::TIMEOUT;
use lb_tests::stage::Stage;
use lb_tests::world::{Arms, World};
use lb_tests::xdp;

/// Starts an agent that must not come up; returns its exit code and what it said.
fn refused(world: &World, config: &str) -> (Option<i32>, String) {
    write_config(world, config).unwrap();
    let mut process = spawn(world, &Binaries::of_this_profile().unwrap()).unwrap();
    let status = process.wait(TIMEOUT).unwrap();
    (status.code(), process.log())
}

#[test]
fn a_wrong_file_is_refused_with_all_its_problems_at_once() {
    let world = World::new(Arms::Two, 1).unwrap();
    let text = shop(&world).file(&world);
    let wrong = text
        .replace("manage_addresses", "manage_adresses")
        .replace("interval = \"1s\"", "interval = \"1\"")
        .replace("\"rr\"", "\"lcc\"");
    let (code, said) = refused(&world, &wrong);
    assert_eq!(code, Some(5), "{said}");
    let line_of = |text: &str| wrong.lines().position(|line| line.contains(text)).unwrap() + 1;
    for at in [line_of("manage_adresses"), line_of("interval ="), line_of("\"lcc\"")] {
        let place = format!("{}:{at}:", config_file(&world).display());
        assert!(said.contains(&place), "{place} is not in\n{said}");
    }
    assert!(said.contains("help") && said.contains("manage_addresses"), "{said}");
    assert!(!world.pin_path().exists());
}

#[test]
fn a_foreign_program_on_an_interface_is_named_and_left_alone() {
    let world = World::new(Arms::Two, 1).unwrap();
    let back = End { namespace: &world.director, interface: "back" };
    xdp::attach(xdp::PASS, back, &world.link_path()).unwrap();
    let show = || run(world.director.command("ip").args(["link", "show"])).unwrap();
    let before = show();
    let (code, said) = refused(&world, &shop(&world).file(&world));
    assert_eq!(code, Some(1), "{said}");
    let id = before.split("prog/xdp id ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let named = format!("back already runs the XDP program {} (id {id})", xdp::NAME);
    assert!(said.contains(&named), "{named} is not in\n{said}");
    assert_eq!(show(), before);
}

#[test]
fn pinned_maps_of_another_layout_are_never_misread() {
    let world = World::new(Arms::Two, 1).unwrap();
    let mut stage = Stage::shop(&world).unwrap();
    stage.agent.process.terminate(TIMEOUT).unwrap();
    let text = shop(&world).file(&world);
    // As an agent of another version would have left it: settings with another layout number.
    let settings = world.pin_path().join("SETTINGS");
    let shown =
        run(world.director.command("bpftool").args(["map", "dump", "pinned"]).arg(&settings));
    let bytes: Vec<String> = value_bytes(&shown.unwrap());
    let version = format!("{LAYOUT_VERSION:02x}");
    let place = offset_of!(Settings, layout);
    assert_eq!(bytes[place], version, "where the layout number is: {bytes:?}");
    let mut other = bytes.clone();
    other[place] = "63".to_owned();
    let mut update = world.director.command("bpftool");
    update
        .args(["map", "update", "pinned"])
        .arg(&settings)
        .args(["key", "hex", "0", "0", "0", "0"]);
    run(update.args(["value", "hex"]).args(&other)).unwrap();
    let (code, said) = refused(&world, &text);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("version 99") && said.contains("of another layout"), "{said}");
}

#[test]
fn a_pinned_map_of_another_shape_is_named_with_the_remedy_that_helps() {
    let world = World::new(Arms::Two, 1).unwrap();
    let mut stage = Stage::shop(&world).unwrap();
    stage.agent.process.terminate(TIMEOUT).unwrap();
    // As an agent would have left it whose firewall knew fewer bits.
    let bits = world.pin_path().join("FIREWALL_BITS");
    std::fs::remove_file(&bits).unwrap();
    let mut create = world.director.command("bpftool");
    create.args(["map", "create"]).arg(&bits).args(["type", "array", "key", "4", "value", "8"]);
    run(create.args(["entries", "1024", "name", "FIREWALL_BITS", "flags", "0x400"])).unwrap();
    let (code, said) = refused(&world, &shop(&world).file(&world));
    assert_eq!(code, Some(1), "{said}");
    for part in ["FIREWALL_BITS is of another layout: it has 1024 entries", "`lb-agent detach`"] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    assert!(bits.exists());
    lb_tests::agent::detach(&world, &stage.binaries).unwrap();
    stage.agent.restart().unwrap();
    stage.answers(4).unwrap();
}

/// The value of the only entry of a map, from what bpftool shows of it.
fn value_bytes(dump: &str) -> Vec<String> {
    let value = dump.split("value:").nth(1).unwrap_or_default();
    let words = value.split_whitespace().take_while(|word| word.len() == 2);
    words.map(str::to_owned).collect()
}

#[test]
fn a_second_agent_on_the_same_socket_is_refused() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = Stage::shop(&world).unwrap();
    let pins = world.pin_path().display().to_string();
    let other_pins = shop(&world).file(&world).replace(&pins, &format!("{pins}-other"));
    let (code, said) = refused(&world, &other_pins);
    assert_eq!(code, Some(1));
    assert!(said.contains("another lb-agent listens on"), "{said}");
    stage.answers(4).unwrap();
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    let world = World::new(Arms::Two, 1).unwrap();
    let (code, said) = refused(&world, &shop(&world).file(&world).replace("\"back\"", "\"eth7\""));
    assert_eq!(code, Some(1));
    assert!(said.contains("there is no interface eth7"), "{said}");
    assert!(!run(world.director.command("ip").args(["link"])).unwrap().contains("xdp"));
}

#[test]
fn a_second_agent_on_the_same_pins_is_refused_and_so_is_detaching() {
    let world = World::new(Arms::Two, 1).unwrap();
    let stage = Stage::shop(&world).unwrap();
    let other = shop(&world)
        .file(&world)
        .replace("/lb.sock", "/other.sock")
        .replace("/state", "/other-state")
        .replace(":9901", ":9902");
    let (code, said) = refused(&world, &other);
    assert_eq!(code, Some(1), "{said}");
    let named = format!("another lb-agent uses the pins in {}", world.pin_path().display());
    assert!(said.contains(&named), "{named} is not in\n{said}");
    assert!(!world.folder().join("other.sock").exists());
    let error = lb_tests::agent::detach(&world, &stage.binaries).unwrap_err();
    assert!(format!("{error:#}").contains(&named), "{error:#}");
    assert_eq!(stage.answering(1).unwrap().len(), 1);
}
