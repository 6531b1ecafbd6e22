//! What rules and sets cost: nanoseconds of a packet over those of one that no rules judge, in the same harness and the
//! same run; beside it a trie of the kernel, and over a wire a set of nftables.

mod cases;
mod live;
mod measure;
mod random;
mod sets;

use anyhow::Result;
use lb_tests::bpf_fs::ensure_mounted;

use super::Arguments;
use super::row::{Floor, Row};
use cases::Group;
use live::Wire;
use measure::Bench;
use sets::Kind;

/// Measures all cases that are asked for.
pub(crate) fn run(arguments: &Arguments) -> Result<Vec<Row>> {
    ensure_mounted()?;
    let mut rows = Vec::new();
    for group in cases::of_prefixes(arguments) {
        rows.extend(measure(arguments, &group, true)?);
    }
    for count in live_counts(arguments.quick) {
        rows.extend(over_a_wire(arguments, *count)?);
    }
    let mut by_rules = Vec::new();
    for group in cases::of_rules(arguments) {
        by_rules.extend(measure(arguments, &group, false)?);
    }
    let by_rules: Vec<_> = by_rules.iter().map(|row| beside_one_rule(row, &by_rules)).collect();
    rows.extend(by_rules);
    Ok(rows)
}

/// How many prefixes are loaded into a set of nftables too, which takes that some time and memory.
fn live_counts(quick: bool) -> &'static [u32] {
    if quick { &[100_000] } else { &[1_000, 100_000, 1_000_000] }
}

fn over_a_wire(arguments: &Arguments, count: u32) -> Result<Vec<Row>> {
    let named = Arguments { case: None, ..arguments.clone() };
    let mut group = cases::prefixes(&named, Kind::Networks, count);
    group.cases.retain(|case| arguments.wants(&format!("veth {}", case.name)));
    if group.cases.is_empty() {
        return Ok(Vec::new());
    }
    let mut wire = Wire::new(&group)?;
    let rounds = if arguments.quick { 5 } else { 15 };
    let mut rows = Vec::new();
    for case in &group.cases {
        arguments.say(&format!("firewall: veth {}", case.name));
        rows.push(wire.case(case, rounds)?);
    }
    Ok(rows)
}

fn measure(arguments: &Arguments, group: &Group, has_trie: bool) -> Result<Vec<Row>> {
    let mut bench = Bench::new(group, arguments.quick)?;
    let mut rows = Vec::new();
    for case in &group.cases {
        arguments.say(&format!("firewall: {}", case.name));
        rows.push(bench.case(case, has_trie && !group.prefixes.is_empty())?);
    }
    Ok(rows)
}

/// A row of many rules, compared with that of one.
fn beside_one_rule(row: &Row, rows: &[Row]) -> Row {
    let end = row.case.split_once(' ').map_or("", |(_, end)| end);
    let name = format!("rules=1 {end}");
    let one = rows.iter().find(|other| other.case == name && row.case != name);
    let floor = one.map(|one| Floor { name: "one rule".to_owned(), value: one.value });
    let ratio = one.map(|one| row.value / one.value);
    Row { floor, ratio, ..row.clone() }
}
