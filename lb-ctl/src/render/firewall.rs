//! Rules, what they met, and sets.

use lb_common::api::{Firewall, Over, Rule, RuleCount, RuleStatus, Set, SetCount, SetElements};

use super::table::{Column, Tone, Word, table};
use super::units::bytes;
use super::{Look, prefixed};

/// The rules, and the policy below them.
pub(crate) fn rules(firewall: &Firewall, look: Look) -> String {
    let columns = [
        Column::new("NAME", |rule: &RuleStatus| Word::from(&rule.rule.name)),
        Column::new("ACTION", |rule: &RuleStatus| action(&rule.rule.action)),
        Column::new("MATCHES", |rule: &RuleStatus| conditions(&rule.rule).into()),
        Column::new("FROM", |rule: &RuleStatus| origin(rule.overlay).into()).wide(),
        Column::new("PACKETS", |rule: &RuleStatus| rule.count.packets.into()).right().wide(),
    ];
    let rules = table(&columns, &firewall.rules, look);
    format!("{rules}\npolicy: {}\n", firewall.policy)
}

/// A line for each rule, and one for the policy if it drops: what it accepts is not counted; then one for each set.
pub(crate) fn counters(firewall: &Firewall, look: Look) -> String {
    let columns = [
        Column::new("RULE", |row: &Row<'_>| Word::from(row.name)),
        Column::new("ACTION", |row: &Row<'_>| action(row.action)),
        Column::new("PACKETS", |row: &Row<'_>| row.count.packets.into()).right(),
        Column::new("BYTES", |row: &Row<'_>| bytes(row.count.bytes).into()).right(),
    ];
    let rules = firewall.rules.iter().map(|RuleStatus { rule, count, .. }| Row {
        name: &rule.name,
        action: &rule.action,
        count: *count,
    });
    let policy = Row { name: "(policy)", action: &firewall.policy, count: firewall.policy_count };
    let policy = (policy.action == "drop").then_some(policy);
    let rows: Vec<Row<'_>> = rules.chain(policy).collect();
    let rules = table(&columns, &rows, look);
    if firewall.sets.is_empty() {
        return rules;
    }
    let columns = [
        Column::new("SET", |set: &SetCount| Word::from(&set.name)),
        Column::new("PACKETS", |set: &SetCount| set.count.packets.into()).right(),
        Column::new("BYTES", |set: &SetCount| bytes(set.count.bytes).into()).right(),
    ];
    format!("{rules}\n{}", table(&columns, &firewall.sets, look))
}

struct Row<'a> {
    name: &'a str,
    action: &'a str,
    count: RuleCount,
}

fn action(action: &str) -> Word {
    Word::new(action, if action == "drop" { Tone::Warning } else { Tone::Plain })
}

fn origin(overlay: bool) -> &'static str {
    if overlay { "lb-ctl" } else { "file" }
}

/// `source @office  dport 22,80`, or `everything`.
fn conditions(rule: &Rule) -> String {
    let one = |value: &Option<String>| value.iter().cloned().collect::<Vec<_>>();
    let all = [
        ("source", rule.source.clone()),
        ("destination", rule.destination.clone()),
        ("protocol", one(&rule.protocol)),
        ("sport", rule.sport.clone()),
        ("dport", rule.dport.clone()),
        ("flags", one(&rule.tcp_flags)),
        ("type", rule.icmp_type.clone()),
        ("interface", one(&rule.interface)),
        ("service", one(&rule.service)),
        ("over", rule.over.iter().map(over).collect()),
    ];
    let given = all.iter().filter(|(_, values)| !values.is_empty());
    let words: Vec<String> =
        given.map(|(name, values)| format!("{name} {}", values.join(","))).collect();
    if words.is_empty() { "everything".to_owned() } else { words.join("  ") }
}

/// `2000/s packets per source`, `10 flows per source`.
fn over(over: &Over) -> String {
    let flows = over.flows.map(|flows| format!("{flows} flows"));
    let per = over.per.as_ref().map(|whose| format!("per {whose}"));
    let words = [over.rate.clone(), over.count.clone(), flows, per];
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

pub(crate) fn sets(sets: &[Set], look: Look) -> String {
    let columns = [
        Column::new("NAME", |set: &Set| Word::from(&set.name)),
        Column::new("ELEMENTS", |set: &Set| set.elements.into()).right(),
        Column::new("FROM", |set: &Set| from(set).into()),
        Column::new("CHANGES", |set: &Set| changes(set).into()),
        Column::new("PROBLEM", problem),
    ];
    table(&columns, sets, look)
}

fn from(set: &Set) -> &str {
    if set.loaded { "lb-ctl set load" } else { set.file.as_deref().unwrap_or("configuration") }
}

/// `+2 -1`, since the file was read.
fn changes(set: &Set) -> String {
    let part = |sign: char, n: usize| (n > 0).then(|| format!("{sign}{n}"));
    let parts: Vec<String> =
        [part('+', set.added), part('-', set.deleted)].into_iter().flatten().collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(" ") }
}

fn problem(set: &Set) -> Word {
    set.problem.as_deref().map_or("-".into(), |problem| Word::new(problem, Tone::Bad))
}

pub(crate) fn elements(list: &SetElements) -> String {
    prefixed("", &list.elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn firewall() -> Firewall {
        let rule = Rule {
            name: "no-ping".into(),
            action: "drop".into(),
            source: vec!["@bad".into(), "10.0.0.0/8".into()],
            protocol: Some("icmp".into()),
            ..Rule::default()
        };
        let count = RuleCount { packets: 7, bytes: 588 };
        let open = Rule { name: "rest".into(), action: "accept".into(), ..Rule::default() };
        Firewall {
            policy: "drop".into(),
            policy_count: RuleCount::default(),
            rules: vec![
                RuleStatus { rule, overlay: true, count },
                RuleStatus { rule: open, overlay: false, count: RuleCount::default() },
            ],
            sets: vec![SetCount { name: "bad".into(), count }],
        }
    }

    #[test]
    fn a_rule_reads_as_it_is_written() {
        assert_eq!(
            rules(&firewall(), Look::default()),
            "\
NAME     ACTION  MATCHES
no-ping  drop    source @bad,10.0.0.0/8  protocol icmp
rest     accept  everything

policy: drop
"
        );
    }

    #[test]
    fn a_limit_reads_as_it_is_meant() {
        let per = Some("source".to_owned());
        let open = Over { flows: Some(10), per: per.clone(), ..Over::default() };
        assert_eq!(over(&open), "10 flows per source");
        let (rate, count) = (Some("5/s".to_owned()), Some("packets".to_owned()));
        assert_eq!(over(&Over { rate, count, per, ..Over::default() }), "5/s packets per source");
    }

    #[test]
    fn a_policy_that_drops_counts_too() {
        assert_eq!(
            counters(&firewall(), Look::default()),
            "\
RULE      ACTION  PACKETS  BYTES
no-ping   drop          7  588 B
rest      accept        0    0 B
(policy)  drop          0    0 B

SET  PACKETS  BYTES
bad        7  588 B
"
        );
        let open = Firewall { policy: "accept".into(), sets: Vec::new(), ..firewall() };
        let shown = counters(&open, Look::default());
        assert!(!shown.contains("(policy)") && !shown.contains("SET"), "{shown}");
    }

    #[test]
    fn a_set_says_where_it_comes_from_and_what_was_changed() {
        let set = Set {
            name: "bad".into(),
            file: Some("/etc/lb/bad.txt".into()),
            loaded: false,
            elements: 3,
            added: 2,
            deleted: 1,
            problem: None,
        };
        let loaded = Set { name: "b".into(), loaded: true, added: 0, deleted: 0, ..set.clone() };
        assert_eq!(
            sets(&[set, loaded], Look::default()),
            "\
NAME  ELEMENTS  FROM             CHANGES  PROBLEM
bad          3  /etc/lb/bad.txt  +2 -1    -
b            3  lb-ctl set load  -        -
"
        );
    }
}
