//! What rules and sets cost: nanoseconds of a packet over those of one that no rules judge, in the same harness and the
//! same run; beside it a trie of the kernel, and over a wire a set of nftables. How long sets take to be loaded and swapped.
//! And what floods of SYNs cost clients.

mod cases;
mod flood;
mod live;
mod load;
mod measure;
mod random;
mod served;
mod sets;
mod swaps;

use anyhow::Result;
use lb_tests::bpf_fs::ensure_mounted;

use super::Arguments;
use super::budget::Budget;
use super::results::Results;
use super::row::{Floor, Row};
use cases::{Case, Group};
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
    Load,
    Swaps,
    Floods,
}

impl Part {
    const ALL: [Self; 6] =
        [Self::Prefixes, Self::Wire, Self::Rules, Self::Load, Self::Swaps, Self::Floods];

    fn name(self) -> &'static str {
        match self {
            Self::Prefixes => "prefixes",
            Self::Wire => "sets over a wire",
            Self::Rules => "rules",
            Self::Load => "load of sets",
            Self::Swaps => "swaps of sets",
            Self::Floods => "floods",
        }
    }

    fn run(self, arguments: &Arguments, budget: Budget, results: &mut Results) -> Result<()> {
        match self {
            Self::Prefixes => by_prefixes(arguments, budget, results),
            Self::Wire => over_a_wire(arguments, budget, results),
            Self::Rules => by_rules(arguments, budget, results),
            Self::Load => load::run(arguments, budget, results),
            Self::Swaps => swaps::run(arguments, budget, results)?,
            Self::Floods => flood::run(arguments, budget, results)?,
        }
        Ok(())
    }

    fn weight(self) -> u32 {
        match self {
            Self::Prefixes | Self::Floods => 4,
            Self::Wire | Self::Rules | Self::Load | Self::Swaps => 1,
        }
    }
}

/// Whether any case is asked for that the agent takes part in.
pub(crate) fn needs_agent(arguments: &Arguments) -> bool {
    !flood::rates(arguments).is_empty() || !load::counts(arguments).is_empty()
}

/// Measures all cases that are asked for.
pub(crate) fn run(arguments: &Arguments, budget: Budget, results: &mut Results) -> Result<()> {
    ensure_mounted()?;
    let parts = Part::ALL.map(|part| (part.name().to_owned(), part)).to_vec();
    results.of_each(
        budget,
        parts,
        |part| part.weight(),
        |results, budget, part| part.run(arguments, budget.strictly(), results),
    );
    Ok(())
}

fn by_prefixes(arguments: &Arguments, budget: Budget, results: &mut Results) {
    let sizes = cases::sizes(arguments).into_iter();
    let sizes = sizes.map(|(kind, count)| (cases::name(kind, count), (kind, count))).collect();
    results.of_each(
        budget,
        sizes,
        |_| 1,
        |results, budget, (kind, count)| {
            let group = cases::prefixes(arguments, kind, count);
            measure(arguments, &group, true, budget, results)
        },
    );
}

fn by_rules(arguments: &Arguments, budget: Budget, results: &mut Results) {
    let first = results.rows.len();
    let groups = cases::of_rules(arguments).into_iter();
    let named = |group: Group| {
        let names: Vec<_> = group.cases.iter().map(|case| case.name.as_str()).collect();
        (names.join(", "), group)
    };
    results.of_each(
        budget,
        groups.map(named).collect(),
        |_| 1,
        |results, budget, group| measure(arguments, &group, false, budget, results),
    );
    let rows = results.rows.split_off(first);
    results.rows.extend(rows.iter().map(|row| beside_one_rule(row, &rows)));
}

/// How many prefixes are loaded into a set of nftables too, which takes that some time and memory.
fn live_counts(quick: bool) -> &'static [u32] {
    if quick { &[100_000] } else { &[1_000, 100_000, 1_000_000] }
}

fn over_a_wire(arguments: &Arguments, budget: Budget, results: &mut Results) {
    let counts = live_counts(arguments.quick).iter();
    let counts = counts.map(|count| (format!("veth prefixes={count}"), *count)).collect();
    results.of_each(
        budget,
        counts,
        |_| 1,
        |results, budget, count| beside_nftables(arguments, count, budget, results),
    );
}

fn beside_nftables(
    arguments: &Arguments,
    count: u32,
    budget: Budget,
    results: &mut Results,
) -> Result<()> {
    let named = Arguments { case: None, ..arguments.clone() };
    let mut group = cases::prefixes(&named, Kind::Networks, count);
    group.cases.retain(|case| arguments.wants(&format!("veth {}", case.name)));
    if group.cases.is_empty() {
        return Ok(());
    }
    budget.step()?;
    let mut wire = Wire::new(&group)?;
    let named = |case: Case| (format!("veth {}", case.name), case);
    let cases = group.cases.into_iter().map(named).collect();
    results.of_each(
        budget,
        cases,
        |_| 1,
        |results, budget, case| {
            arguments.say(&format!("firewall: veth {}", case.name));
            results.rows.push(wire.case(&case, budget)?);
            Ok(())
        },
    );
    Ok(())
}

fn measure(
    arguments: &Arguments,
    group: &Group,
    has_trie: bool,
    budget: Budget,
    results: &mut Results,
) -> Result<()> {
    let mut bench = Bench::new(group, arguments.quick)?;
    let cases = group.cases.iter().map(|case| (case.name.clone(), case)).collect();
    results.of_each(
        budget,
        cases,
        |_| 1,
        |results, budget, case| {
            arguments.say(&format!("firewall: {}", case.name));
            results.rows.push(bench.case(case, has_trie && !group.prefixes.is_empty(), budget)?);
            Ok(())
        },
    );
    Ok(())
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
