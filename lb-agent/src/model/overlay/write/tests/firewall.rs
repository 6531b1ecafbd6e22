//! Rules and elements written into the file, and into the files of sets.

use lb_common::api::{self, RuleChange, SetAction, SetChange};

use super::*;
use crate::model::overlay::sets::{self, Stock};

const HEAD: &str = "version = 1\n[datapath]\ninterfaces = [\"eth0\"]\n";

/// An agent's view of a file with changes over it.
struct Run {
    file: Checked,
    merged: Merged,
    sets: Sets,
}

impl Run {
    fn of(text: &str) -> Self {
        let file = parse("lb.toml", text, "host1").unwrap_or_else(|problems| panic!("{problems}"));
        let merged = merge(&file.config, &Overlay::default());
        let mut run = Self { file, merged, sets: Sets::new() };
        run.settle();
        run
    }

    fn settle(&mut self) {
        let overlay = &mut self.merged.overlay.firewall;
        self.sets = sets::lay(&self.merged.config.firewall, &Stock::new(), overlay);
    }

    fn change(mut self, asked: &Change) -> Self {
        let Merged { config: running, overlay, .. } = &self.merged;
        let now = Now { file: &self.file.config, overlay, running, sets: &self.sets };
        self.merged = change(now, asked).unwrap();
        self.settle();
        self
    }

    fn add(self, name: &str, before: Option<&str>) -> Self {
        let rule = api::Rule {
            name: name.into(),
            action: "drop".into(),
            source: vec!["10.0.0.0/8".into()],
            dport: vec!["22".into(), "80-90".into()],
            ..api::Rule::default()
        };
        let before = before.map(str::to_owned);
        self.change(&Change::Rule(RuleChange::Add { rule: Box::new(rule), before }))
    }

    fn delete(self, name: &str) -> Self {
        self.change(&Change::Rule(RuleChange::Delete { name: name.into() }))
    }

    fn elements(self, set: &str, action: SetAction, element: &str) -> Self {
        let elements = vec![element.to_owned()];
        self.change(&Change::Elements(SetChange { set: set.into(), action, elements }))
    }

    fn written(&self, text: &str) -> Result<Written, Unwritable> {
        let file = File { name: "lb.toml", text, checked: &self.file, host_name: "host1" };
        write(file, &self.merged.overlay)
    }
}

const RULES: &str = "# who comes first
[[firewall.rule]] # a
name = 'a' # the first
action = 'drop'

# the second rule
  [[firewall.rule]]
  name = 'b'
  action = 'accept' # b

[firewall.set.office] # ours
elements = [
  '198.51.100.0/24', # the office
  '10.1.2.3/8',
]
[firewall.set.bad]
file = '/etc/lb/bad.txt'
";

#[test]
fn rules_are_written_where_they_stand_and_all_else_stays() {
    let text = format!("{HEAD}{RULES}");
    let run = Run::of(&text).add("x", Some("b")).add("y", Some("a")).add("last", None);
    let rule = |name: &str, indent: &str| {
        let keys = ["action = \"drop\"", "source = \"10.0.0.0/8\"", "dport = [\"22\", \"80-90\"]"];
        let keys: String = keys.iter().flat_map(|key| [indent, key, "\n"]).collect();
        let outer = if indent.is_empty() { "" } else { "  " };
        format!("{outer}[[firewall.rule]]\n{indent}name = \"{name}\"\n{keys}")
    };
    let expected = text
        .replace("# who comes", &format!("{}\n# who comes", rule("y", "  ")))
        .replace("# the second", &format!("{}\n# the second", rule("x", "  ")))
        .replace(" # b\n", &format!(" # b\n\n{}", rule("last", "  ")));
    assert_eq!(run.written(&text).unwrap().text, expected);
}

#[test]
fn a_deleted_rule_goes_with_its_comment() {
    let text = format!("{HEAD}{RULES}");
    let written = Run::of(&text).delete("b").written(&text).unwrap();
    let kept = text.replace(
        "\n# the second rule\n  [[firewall.rule]]\n  name = 'b'\n  action = 'accept' # b\n",
        "",
    );
    assert_eq!(written.text, kept);
    let names: Vec<_> = written.checked.config.firewall.rules.iter().map(|it| &it.name).collect();
    assert_eq!(names, ["a"]);
}

#[test]
fn the_first_rule_of_a_file_is_its_last_table() {
    let written = Run::of(HEAD).add("x", None).written(HEAD).unwrap();
    assert_eq!(written.checked.config.firewall.rules.len(), 1);
    assert!(written.text.starts_with(&format!("{HEAD}\n[[firewall.rule]]\nname = \"x\"\n")));
}

#[test]
fn elements_come_and_go_in_their_list() {
    let text = format!("{HEAD}{RULES}");
    let run = Run::of(&text).elements("office", SetAction::Add, "203.0.113.7").elements(
        "office",
        SetAction::Delete,
        "10.0.0.0/8",
    );
    let expected = text.replace("  '10.1.2.3/8',\n", "  \"203.0.113.7/32\",\n");
    assert_eq!(run.written(&text).unwrap().text, expected);
}

#[test]
fn elements_of_a_set_with_a_file_are_written_into_that_file() {
    let text = format!("{HEAD}{RULES}");
    let run = Run::of(&text).elements("bad", SetAction::Add, "203.0.113.7");
    let written = run.written(&text).unwrap();
    assert_eq!(written.text, text);
    let [file] = written.set_files.as_slice() else { panic!("{written:?}") };
    assert_eq!(file.edit("# feed\n10.0.0.1"), "# feed\n10.0.0.1\n203.0.113.7/32\n");
    let changes =
        SetOverlay { deleted: ["10.0.0.1/32".parse().unwrap()].into(), ..SetOverlay::default() };
    let file = SetFile { changes, ..file.clone() };
    assert_eq!(file.edit("# feed\r\n10.0.0.1 # bad\r\n10.0.0.2\r\n"), "# feed\r\n10.0.0.2\r\n");
}

#[test]
fn rules_in_a_layout_that_is_not_mastered_are_refused() {
    let text = format!("firewall = {{ rule = [{{ name = 'a', action = 'drop' }}] }}\n{HEAD}");
    let refused = Run::of(&text).add("x", None).written(&text);
    assert!(matches!(refused, Err(Unwritable::Differs(lines)) if lines == ["rule x added"]));
}

#[test]
fn what_was_loaded_for_a_listed_set_is_refused() {
    let text = format!("{HEAD}{RULES}");
    let elements = ["10.0.0.0/8".parse().unwrap()].into_iter().collect();
    let run = Run::of(&text).change(&Change::Contents { set: "office".into(), elements });
    let refused = run.written(&text).unwrap_err().to_string();
    assert!(refused.contains("give it a file of its own"), "{refused}");
}
