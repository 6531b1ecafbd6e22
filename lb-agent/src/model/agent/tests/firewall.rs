//! The firewall as the agent keeps it: compiled when it changes, and safe in the order of writes.

use lb_common::api::{Rule as RuleText, RuleChange, SetAction, SetChange};

use super::*;
use crate::model::cast::{VIP, at};
use crate::model::firewall::{Action, Elements, Match, Rule, Source};

fn elements(texts: &[&str]) -> Elements {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// The shop with a rule that drops a set from a file.
fn guarded() -> Config {
    let mut file = config(vec![shop(2)]);
    file.firewall.sets = [("bad".to_owned(), Source::File("/etc/lb/bad.txt".into()))].into();
    let sources = vec![Match::Set("bad".to_owned())];
    file.firewall.rules = vec![Rule { name: "bad".into(), sources, ..Rule::any(Action::Drop) }];
    file
}

fn world() -> World {
    let mut world = World::begin(config(vec![shop(2)]));
    world.load_with(guarded(), [("bad".to_owned(), elements(&["10.0.0.0/8"]))].into()).unwrap();
    world.run(seconds(5));
    world
}

fn add_rule(world: &mut World, name: &str) -> Result<Applied, Refusal> {
    let source = vec!["@bad".to_owned()];
    let rule = RuleText { name: name.into(), action: "drop".into(), source, ..RuleText::default() };
    world.change_any(Change::Rule(RuleChange::Add { rule: Box::new(rule), before: None }))
}

fn change_set(world: &mut World, action: SetAction, element: &str) -> Result<Applied, Refusal> {
    let elements = vec![element.to_owned()];
    world.change_any(Change::Elements(SetChange { set: "bad".into(), action, elements }))
}

#[test]
fn the_firewall_is_written_when_it_changes_and_not_with_every_event() {
    let mut world = world();
    let before = world.kernel.firewall.clone();
    assert!(before.as_ref().unwrap().is_on());
    world.kill(v4(1));
    world.run(seconds(60));
    assert_eq!(world.rotation(), ["web2"]);
    assert_eq!(world.kernel.firewall, before);
    let applied = change_set(&mut world, SetAction::Add, "192.0.2.0/24").unwrap();
    assert_eq!(applied.changes, ["set bad: 192.0.2.0/24 added"]);
    assert_ne!(world.kernel.firewall, before);
    change_set(&mut world, SetAction::Delete, "192.0.2.0/24").unwrap();
    assert_eq!(world.kernel.firewall, before);
}

#[test]
fn a_change_waits_for_its_rules_and_all_else_goes_on_meanwhile() {
    let mut world = world();
    let before = world.kernel.firewall.clone();
    let (set, elements) = ("bad".to_owned(), elements(&["192.0.2.0/24"]));
    let change = Change::Contents { set, elements };
    let change = Event::Change { change, terms: Terms::default(), request: 1 };
    world.begin_event(change.clone());
    let order = world.compiling.take().unwrap();
    world.kill(v4(1));
    world.run(seconds(60));
    assert_eq!(world.rotation(), ["web2"]);
    assert_eq!((&world.kernel.firewall, world.reply.is_none()), (&before, true));
    // Meanwhile the host has got another address, so that what is made now is not what is needed.
    world.event(Event::Host(["198.51.100.1".parse().unwrap()].into()));
    let with_host = world.kernel.firewall.clone();
    let (compiled, recipe) = (order.recipe.compile(), Box::new(order.recipe));
    world.begin_event(Event::Compiled { recipe, compiled });
    assert_eq!(world.kernel.firewall, with_host);
    world.ask(change).unwrap();
    assert_ne!(world.kernel.firewall, with_host);
}

#[test]
fn rules_that_could_not_be_made_are_asked_for_again() {
    let mut world = world();
    let before = world.kernel.firewall.clone();
    let host = ["198.51.100.1".parse().unwrap()];
    world.begin_event(Event::Host(host.into()));
    assert!(world.compiling.take().is_some());
    let installed = Event::Installed(Box::new(world.kernel.clone()));
    world.begin_event(installed.clone());
    assert!(world.compiling.is_none(), "they are being made");
    world.begin_event(Event::NotCompiled);
    assert_eq!((&world.kernel.firewall, world.compiling.is_none()), (&before, true));
    world.event(installed);
    assert_ne!(world.kernel.firewall, before);
}

#[test]
fn a_file_that_there_is_no_room_for_is_refused_and_told_of() {
    let mut world = world();
    let mut file = guarded();
    file.firewall.max_prefixes = 1024;
    let read = elements(&["10.0.0.0/8"]);
    world.load_with(file, [("bad".to_owned(), read.clone())].into()).unwrap();
    let before = world.kernel.firewall.clone();
    let many = (0..5_000_u32).map(|n| format!("{}.{}.1.1/32", 11 + n / 256, n % 256));
    let elements = many.map(|text| text.parse().unwrap()).collect();
    world.event(Event::SetRead { set: "bad".into(), elements });
    assert!(world.kernel.firewall == before && world.agent.sets()["bad"] == read);
    let told = world.warnings.last().unwrap();
    assert!(told.starts_with("set bad: ") && told.contains("max_prefixes"), "{told}");
}

#[test]
fn a_file_that_changes_changes_the_set_and_is_kept() {
    let mut world = world();
    let before = world.kernel.firewall.clone();
    change_set(&mut world, SetAction::Add, "192.0.2.0/24").unwrap();
    let read = elements(&["172.16.0.0/12"]);
    world.event(Event::SetRead { set: "bad".into(), elements: read.clone() });
    assert_ne!(world.kernel.firewall, before);
    assert_eq!(world.stock["bad"], read);
    assert_eq!(world.agent.sets()["bad"], elements(&["172.16.0.0/12", "192.0.2.0/24"]));
    world.restart();
    assert_eq!(world.agent.sets()["bad"], elements(&["172.16.0.0/12", "192.0.2.0/24"]));
}

#[test]
fn what_is_loaded_is_not_changed_by_the_file_until_it_is_discarded() {
    let mut world = world();
    let loaded = elements(&["203.0.113.0/24"]);
    world.change_any(Change::Contents { set: "bad".into(), elements: loaded.clone() }).unwrap();
    world.event(Event::SetRead { set: "bad".into(), elements: elements(&["10.0.0.0/8"]) });
    assert_eq!(world.agent.sets()["bad"], loaded);
    assert!(world.notices.last().unwrap().contains("goes on to hold"), "{:?}", world.notices);
    let read = [("bad".to_owned(), elements(&["10.0.0.0/8"]))];
    world.load_with(guarded(), read.clone().into()).unwrap();
    assert_eq!(world.agent.sets()["bad"], loaded);
    let (config, read, overlay) = (Box::new(guarded()), read.into(), Laid::Discard);
    let terms = Terms::default();
    world.ask(Event::Load { config, read, overlay, terms, request: 1 }).unwrap();
    assert_eq!(world.agent.sets()["bad"], elements(&["10.0.0.0/8"]));
}

#[test]
fn a_file_that_was_not_read_refuses_a_load() {
    let mut world = World::begin(config(vec![shop(2)]));
    let Err(Refusal::Invalid(reason)) = world.load(guarded()) else { panic!("not refused") };
    assert_eq!(reason, "set bad: /etc/lb/bad.txt was not read");
}

#[test]
fn what_ran_before_comes_back_with_its_overlay_and_its_sets() {
    let mut world = world();
    add_rule(&mut world, "more").unwrap();
    let loaded = elements(&["203.0.113.0/24"]);
    world.change_any(Change::Contents { set: "bad".into(), elements: loaded.clone() }).unwrap();
    let (before, overlay) = (world.kernel.firewall.clone(), world.agent.overlay().clone());
    let read = world.agent.stock().clone();
    world.load(config(vec![shop(2)])).unwrap();
    assert!(!world.kernel.firewall.as_ref().unwrap().is_on());
    let (config, terms) = (Box::new(guarded()), Terms::default());
    let put = Laid::Put(Box::new(overlay));
    world.ask(Event::Load { config, read, overlay: put, terms, request: 1 }).unwrap();
    assert_eq!((&world.kernel.firewall, &world.agent.sets()["bad"]), (&before, &loaded));
}

#[test]
fn a_counter_is_cleared_before_another_rule_has_it() {
    let mut world = world();
    assert_eq!(world.agent.rule_numbers().get("bad"), Some(1));
    add_rule(&mut world, "more").unwrap();
    assert_eq!(world.cleared, [1, 2]);
    world.change_any(Change::Rule(RuleChange::Delete { name: "more".into() })).unwrap();
    add_rule(&mut world, "other").unwrap();
    assert_eq!(world.cleared, [1, 2, 2]);
    world.restart();
    assert_eq!(world.cleared, [1, 2, 2]);
}

#[test]
fn the_hosts_own_addresses_open_the_protected_ports() {
    let mut world = world();
    let before = world.kernel.firewall.clone();
    world.event(Event::Host(["198.51.100.1".parse().unwrap()].into()));
    let with_host = world.kernel.firewall.clone();
    assert_ne!(with_host, before);
    // A VIP that is put there and closed is not the host's own.
    let vip = at(VIP).ip();
    world.event(Event::Host(["198.51.100.1".parse().unwrap(), vip].into()));
    assert_eq!(world.kernel.firewall, with_host);
}

#[test]
fn a_change_that_cuts_the_own_session_is_made_and_warned_of() {
    let mut world = world();
    let change = SetChange {
        set: "bad".into(),
        action: SetAction::Add,
        elements: vec!["198.51.100.0/24".into()],
    };
    let session = Some("198.51.100.7 50022 203.0.113.2 22".parse().unwrap());
    let terms = Terms { dry_run: false, session };
    let change = Change::Elements(change);
    let applied = world.ask(Event::Change { change, terms, request: 1 }).unwrap();
    assert_eq!(applied.warnings.len(), 1);
    assert!(applied.warnings[0].contains("rule bad drops its packets"), "{applied:?}");
}
