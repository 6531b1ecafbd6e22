//! Nanoseconds for a packet, by `BPF_PROG_TEST_RUN`, net of the harness.

mod cases;
mod measure;

use anyhow::Result;
use lb_tests::bpf_fs::ensure_mounted;
use lb_tests::namespace::Namespace;
use lb_tests::stale;

use super::Arguments;
use super::budget::Budget;
use super::director::NIC;
use super::feed::Family;
use super::results::Results;
use super::row::{Floor, Row};
use cases::{Group, IPIP, Kind, NAT, groups};
use measure::measure;

/// Measures all cases that are asked for.
pub(crate) fn run(arguments: &Arguments, budget: Budget, results: &mut Results) -> Result<()> {
    ensure_mounted()?;
    let groups = groups(arguments).into_iter().map(|group| (group.to_string(), group)).collect();
    results.of_each(budget, groups, Group::weight, |results, budget, group| {
        arguments.say(&format!("packet: {group}"));
        measure_in_a_namespace(&group, (arguments.quick, budget), results)
    });
    let known = first_of_each(&results.of_this_bench());
    let compared = known.iter().flat_map(|row| [beside_v4(row, &known), beside_ipip(row, &known)]);
    results.rows.extend(compared.flatten());
    Ok(())
}

/// The rows of known flows, each once and not once for each floor.
fn first_of_each(rows: &[Row]) -> Vec<Row> {
    let mut firsts: Vec<Row> = Vec::new();
    for row in rows {
        let is_same =
            |it: &Row| (&it.case, it.family, it.flows) == (&row.case, row.family, row.flows);
        if !firsts.iter().any(is_same) {
            firsts.push(row.clone());
        }
    }
    firsts.retain(|row| row.case.ends_with(&Kind::Known.of("")));
    firsts
}

/// A row over IPv6, compared with the same over IPv4 instead of with its floor.
fn beside_v4(row: &Row, rows: &[Row]) -> Option<Row> {
    let [v4, v6] = Family::ALL.map(Family::name);
    let is_same = |other: &&Row| other.family == v4 && other.case == row.case;
    beside(row, rows.iter().filter(is_same), v4).filter(|_| row.family == v6)
}

/// A row of NAT, compared with the same of IPIP.
fn beside_ipip(row: &Row, rows: &[Row]) -> Option<Row> {
    let [nat, ipip] = [NAT, IPIP].map(|mode| Kind::Known.of(mode));
    let is_same = |other: &&Row| other.family == row.family && other.case == ipip;
    beside(row, rows.iter().filter(is_same), IPIP).filter(|_| row.case == nat)
}

/// A row, compared with the first of others with as many flows.
fn beside<'r>(row: &Row, mut others: impl Iterator<Item = &'r Row>, name: &str) -> Option<Row> {
    let other = others.find(|other| other.flows == row.flows)?;
    let floor = Some(Floor { name: name.to_owned(), value: other.value });
    Some(Row { floor, ratio: Some(row.value / other.value), ..row.clone() })
}

fn measure_in_a_namespace(
    group: &Group,
    (is_quick, budget): (bool, Budget),
    results: &mut Results,
) -> Result<()> {
    let namespace = Namespace::create(&stale::unique_name())?;
    namespace.ip(&format!(
        "link add {NIC} type veth peer name peer\nlink set {NIC} up\nlink set peer up"
    ))?;
    namespace.enter(|| {
        super::stay_on_one_cpu()?;
        measure(namespace.name(), group, (is_quick, budget), results)
    })?
}
