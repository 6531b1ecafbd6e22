//! Rules and sets at run time, over a file that changes too.

use lb_common::api::{self, RuleChange, SetAction, SetChange};

use super::super::sets::{self, Stock};
use super::*;
use crate::model::firewall::{Action, Elements, Rule, Source};

/// The shop with rules of these names, a set from a list and one from a file.
fn file(rules: &[&str]) -> Config {
    let mut file = config(vec![shop(1)]);
    let rule = |name: &&str| Rule { name: (*name).to_owned(), ..Rule::any(Action::Drop) };
    file.firewall.rules = rules.iter().map(rule).collect();
    let listed = Source::Listed(vec!["198.51.100.0/24".parse().unwrap()]);
    let sets = [("office", listed), ("bad", Source::File("/etc/lb/bad.txt".into()))];
    file.firewall.sets = sets.map(|(name, source)| (name.to_owned(), source)).into();
    file
}

fn stock() -> Stock {
    let bad: Elements =
        ["192.0.2.0/24", "192.0.2.9/32"].map(|one| one.parse().unwrap()).into_iter().collect();
    [("bad".to_owned(), bad)].into()
}

/// What runs after changes over a file.
struct Run {
    file: Config,
    stock: Stock,
    merged: Merged,
    sets: Sets,
}

impl Run {
    fn of(file: Config) -> Self {
        let merged = merge(&file, &Overlay::default());
        let mut run = Self { file, stock: stock(), merged, sets: Sets::new() };
        run.settle();
        run
    }

    fn settle(&mut self) {
        let overlay = &mut self.merged.overlay.firewall;
        self.sets = sets::lay(&self.merged.config.firewall, &self.stock, overlay);
    }

    fn change(&mut self, change: &Change) -> Result<(), Refusal> {
        let Merged { config: running, overlay, .. } = &self.merged;
        let now = Now { file: &self.file, overlay, running, sets: &self.sets };
        self.merged = change::change(now, change)?;
        self.settle();
        Ok(())
    }

    fn add(&mut self, name: &str, before: Option<&str>) -> Result<(), Refusal> {
        let rule = api::Rule { name: name.into(), action: "drop".into(), ..Default::default() };
        self.add_rule(rule, before)
    }

    fn add_rule(&mut self, rule: api::Rule, before: Option<&str>) -> Result<(), Refusal> {
        let before = before.map(str::to_owned);
        self.change(&Change::Rule(RuleChange::Add { rule: Box::new(rule), before }))
    }

    fn delete(&mut self, name: &str) -> Result<(), Refusal> {
        self.change(&Change::Rule(RuleChange::Delete { name: name.to_owned() }))
    }

    fn elements(&mut self, set: &str, action: SetAction, elements: &[&str]) -> Result<(), Refusal> {
        let elements = elements.iter().map(|one| (*one).to_owned()).collect();
        self.change(&Change::Elements(SetChange { set: set.to_owned(), action, elements }))
    }

    /// The file has become another one.
    fn reload(&mut self, file: Config) {
        self.merged = merge(&file, &self.merged.overlay);
        self.file = file;
        self.settle();
    }

    fn rules(&self) -> Vec<&str> {
        self.merged.config.firewall.rules.iter().map(|rule| rule.name.as_str()).collect()
    }

    fn set(&self, name: &str) -> Vec<String> {
        self.sets[name].iter().map(|one| one.to_string()).collect()
    }
}

#[test]
fn an_added_rule_stands_where_it_was_asked_to() {
    let mut run = Run::of(file(&["a", "b"]));
    run.add("last", None).unwrap();
    run.add("first", Some("a")).unwrap();
    run.add("second", Some("a")).unwrap();
    assert_eq!(run.rules(), ["first", "second", "a", "b", "last"]);
    run.reload(file(&["a", "new", "b"]));
    assert_eq!(run.rules(), ["first", "second", "a", "new", "b", "last"]);
}

#[test]
fn a_rule_keeps_its_place_when_the_one_behind_it_is_deleted() {
    let mut run = Run::of(file(&["a", "b"]));
    run.add("x", Some("a")).unwrap();
    run.delete("a").unwrap();
    assert_eq!(run.rules(), ["x", "b"]);
    run.add("y", Some("b")).unwrap();
    run.delete("b").unwrap();
    assert_eq!(run.rules(), ["x", "y"]);
}

#[test]
fn what_is_added_and_deleted_again_leaves_no_overlay() {
    let mut run = Run::of(file(&["a"]));
    run.add("x", None).unwrap();
    run.delete("x").unwrap();
    run.elements("office", SetAction::Add, &["203.0.113.7"]).unwrap();
    run.elements("office", SetAction::Delete, &["203.0.113.7/32"]).unwrap();
    run.elements("bad", SetAction::Delete, &["192.0.2.9"]).unwrap();
    run.elements("bad", SetAction::Add, &["192.0.2.9", "192.0.2.0/24"]).unwrap();
    assert_eq!(run.merged.overlay, Overlay::default());
    assert_eq!(run.set("bad"), ["192.0.2.0/24", "192.0.2.9/32"]);
}

#[test]
fn a_rule_that_cannot_be_is_refused() {
    let mut run = Run::of(file(&["a"]));
    let before = run.merged.clone();
    assert!(matches!(run.add("a", None), Err(Refusal::Conflict(_))));
    assert!(
        matches!(run.delete("ab"), Err(Refusal::NotFound(reason)) if reason.contains("nearest name is a"))
    );
    assert!(matches!(run.add("x", Some("b")), Err(Refusal::NotFound(_))));
    let rule = api::Rule { name: "x".into(), action: "drop".into(), ..Default::default() };
    let wrong = [
        (api::Rule { source: vec!["@none".into()], ..rule.clone() }, "there is no set none"),
        (api::Rule { service: Some("none".into()), ..rule.clone() }, "there is no service none"),
        (api::Rule { interface: Some("eth9".into()), ..rule.clone() }, "eth9 is not one of"),
        (api::Rule { dport: vec!["0-x".into()], ..rule }, "\"0-x\" is neither a port nor"),
    ];
    for (rule, words) in wrong {
        let Err(Refusal::Invalid(reason)) = run.add_rule(rule, None) else { panic!("{words}") };
        assert!(reason.contains(words) && reason.contains("rule x is not added"), "{reason}");
    }
    assert_eq!(run.merged, before);
}

#[test]
fn what_does_not_fit_another_file_is_dropped_and_named() {
    let mut run = Run::of(file(&["a", "b"]));
    run.delete("b").unwrap();
    run.add("x", Some("a")).unwrap();
    run.elements("office", SetAction::Add, &["203.0.113.7"]).unwrap();
    let mut other = file(&["c"]);
    other.firewall.sets.remove("office");
    run.reload(other);
    assert_eq!(
        run.merged.dropped,
        [
            "rule b is not deleted: it is not in the file",
            "rule x is not added: there is no rule a that it could stand before",
            "set office loses its changes: it is not in the file",
        ]
    );
    assert_eq!((run.rules(), &run.merged.overlay), (vec!["c"], &Overlay::default()));
}

#[test]
fn elements_lie_over_what_the_file_holds_whatever_it_becomes() {
    let mut run = Run::of(file(&[]));
    run.elements("bad", SetAction::Add, &["203.0.113.0/24"]).unwrap();
    run.elements("bad", SetAction::Delete, &["192.0.2.9"]).unwrap();
    assert_eq!(run.set("bad"), ["192.0.2.0/24", "203.0.113.0/24"]);
    let read: Elements =
        ["203.0.113.0/24", "10.0.0.0/8"].map(|one| one.parse().unwrap()).into_iter().collect();
    run.stock.insert("bad".to_owned(), read);
    run.settle();
    assert_eq!(run.set("bad"), ["10.0.0.0/8", "203.0.113.0/24"]);
    assert_eq!(run.merged.overlay, Overlay::default());
}

#[test]
fn an_element_that_is_not_there_is_not_deleted_and_what_holds_it_is_named() {
    let mut run = Run::of(file(&[]));
    let all = ["192.0.2.9", "192.0.2.7"];
    let Err(Refusal::NotFound(reason)) = run.elements("bad", SetAction::Delete, &all) else {
        panic!("not refused")
    };
    assert_eq!(reason, "set bad has no element 192.0.2.7/32; its element 192.0.2.0/24 holds it");
    assert_eq!(run.set("bad").len(), 2);
    assert!(matches!(
        run.elements("bda", SetAction::Add, &["10.0.0.1"]),
        Err(Refusal::NotFound(_))
    ));
    assert!(matches!(run.elements("bad", SetAction::Add, &["x"]), Err(Refusal::Invalid(_))));
}

#[test]
fn what_is_loaded_holds_in_the_place_of_the_file() {
    let mut run = Run::of(file(&[]));
    run.elements("bad", SetAction::Add, &["203.0.113.7"]).unwrap();
    let elements: Elements = [IpNet::from(IpAddr::from([10, 0, 0, 1]))].into_iter().collect();
    run.change(&Change::Contents { set: "bad".into(), elements: elements.clone() }).unwrap();
    run.stock.insert("bad".to_owned(), elements);
    run.settle();
    assert_eq!(run.set("bad"), ["10.0.0.1/32"]);
    assert!(run.merged.overlay.firewall.is_loaded("bad"));
    assert_eq!(sets::files(&run.file, &run.merged.overlay.firewall).count(), 0);
    assert_eq!(run.merged.overlay.firewall.set_lines(), ["set bad loaded at run time"]);
}

#[test]
fn an_overlay_is_kept_as_it_is() {
    let mut run = Run::of(file(&["a"]));
    run.add("x", Some("a")).unwrap();
    run.delete("a").unwrap();
    run.elements("bad", SetAction::Delete, &["192.0.2.9"]).unwrap();
    let kept = serde_json::to_string(&run.merged.overlay).unwrap();
    assert_eq!(serde_json::from_str::<Overlay>(&kept).unwrap(), run.merged.overlay);
    assert_eq!(serde_json::from_str::<Overlay>(r#"{"services":{}}"#).unwrap(), Overlay::default());
}

#[test]
fn differences_of_sets_are_told_one_by_one_where_they_are_few() {
    let mut run = Run::of(file(&[]));
    let before = run.sets.clone();
    run.elements("bad", SetAction::Add, &["203.0.113.7"]).unwrap();
    run.elements("bad", SetAction::Delete, &["192.0.2.9"]).unwrap();
    assert_eq!(
        sets::diff(&before, &run.sets),
        ["set bad: 203.0.113.7/32 added", "set bad: 192.0.2.9/32 deleted"]
    );
    let many: Elements = (0..100_u8).map(|n| IpNet::from(IpAddr::from([10, 0, 0, n]))).collect();
    let after = Sets::from([("bad".to_owned(), many)]);
    assert_eq!(sets::diff(&before, &after), ["set bad: 2 elements -> 100"]);
}
