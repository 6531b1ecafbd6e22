//! What rules and sets cost: nanoseconds of a packet over those of one that no rules judge, in the same harness and the
//! same run; beside it a trie of the kernel, and over a wire a set of nftables. And what floods of SYNs cost clients.

mod cases;
mod flood;
mod live;
mod measure;
mod random;
mod served;
mod sets;

use anyhow::Result;
use lb_tests::bpf_fs::ensure_mounted;

use super::Arguments;
use super::budget::Budget;
use super::row::{Floor, Row};
use cases::Group;
use live::Wire;
use measure::Bench;
pub(crate) use served::{is_of_a_flood, table as table_of_floods};
use sets::Kind;

/// What is measured one after the other.
#[derive(Clone, Copy, Debug)]
enum Part {
    Prefixes,
    Wire,
    Rules,
    Floods,
}

impl Part {
    const ALL: [Self; 4] = [Self::Prefixes, Self::Wire, Self::Rules, Self::Floods];

    fn run(self, arguments: &Arguments, budget: Budget) -> Result<Vec<Row>> {
        match self {
            Self::Prefixes => by_prefixes(arguments, budget),
            Self::Wire => over_a_wire(arguments, budget),
            Self::Rules => by_rules(arguments, budget),
            Self::Floods => flood::run(arguments, budget),
        }
    }

    fn weight(self) -> u32 {
        match self {
            Self::Prefixes | Self::Floods => 4,
            Self::Wire | Self::Rules => 1,
        }
    }
}

/// Whether any case is asked for that the agent takes part in.
pub(crate) fn needs_agent(arguments: &Arguments) -> bool {
    !flood::rates(arguments).is_empty()
}

/// Measures all cases that are asked for.
pub(crate) fn run(arguments: &Arguments, budget: Budget) -> Result<Vec<Row>> {
    ensure_mounted()?;
    let mut rows = Vec::new();
    for (budget, part) in budget.divide("firewall", Part::ALL.to_vec(), |part| part.weight()) {
        rows.extend(part.run(arguments, budget.strictly())?);
    }
    Ok(rows)
}

fn by_prefixes(arguments: &Arguments, budget: Budget) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (budget, (kind, count)) in budget.divide("prefixes", cases::sizes(arguments), |_| 1) {
        rows.extend(measure(arguments, &cases::prefixes(arguments, kind, count), true, budget)?);
    }
    Ok(rows)
}

fn by_rules(arguments: &Arguments, budget: Budget) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (budget, group) in budget.divide("rules", cases::of_rules(arguments), |_| 1) {
        rows.extend(measure(arguments, &group, false, budget)?);
    }
    Ok(rows.iter().map(|row| beside_one_rule(row, &rows)).collect())
}

/// How many prefixes are loaded into a set of nftables too, which takes that some time and memory.
fn live_counts(quick: bool) -> &'static [u32] {
    if quick { &[100_000] } else { &[1_000, 100_000, 1_000_000] }
}

fn over_a_wire(arguments: &Arguments, budget: Budget) -> Result<Vec<Row>> {
    let counts = live_counts(arguments.quick).to_vec();
    let mut rows = Vec::new();
    for (budget, count) in budget.divide("nftables sets", counts, |_| 1) {
        rows.extend(beside_nftables(arguments, count, budget)?);
    }
    Ok(rows)
}

fn beside_nftables(arguments: &Arguments, count: u32, budget: Budget) -> Result<Vec<Row>> {
    let named = Arguments { case: None, ..arguments.clone() };
    let mut group = cases::prefixes(&named, Kind::Networks, count);
    group.cases.retain(|case| arguments.wants(&format!("veth {}", case.name)));
    if group.cases.is_empty() {
        return Ok(Vec::new());
    }
    let mut wire = Wire::new(&group)?;
    let mut rows = Vec::new();
    for (budget, case) in budget.divide("nftables sets", group.cases, |_| 1) {
        arguments.say(&format!("firewall: veth {}", case.name));
        rows.push(wire.case(&case, budget)?);
    }
    Ok(rows)
}

fn measure(
    arguments: &Arguments,
    group: &Group,
    has_trie: bool,
    budget: Budget,
) -> Result<Vec<Row>> {
    let mut bench = Bench::new(group, arguments.quick)?;
    let mut rows = Vec::new();
    for (budget, case) in budget.divide("firewall", group.cases.clone(), |_| 1) {
        arguments.say(&format!("firewall: {}", case.name));
        rows.push(bench.case(&case, has_trie && !group.prefixes.is_empty(), budget)?);
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
