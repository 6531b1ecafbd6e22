//! Nanoseconds for a packet, by `BPF_PROG_TEST_RUN`, net of the harness.

mod cases;
mod measure;

use anyhow::Result;
use lb_tests::bpf_fs::ensure_mounted;
use lb_tests::namespace::Namespace;
use lb_tests::stale;

use super::Arguments;
use super::director::NIC;
use super::feed::Family;
use super::row::{Floor, Row};
use cases::{Group, Kind, groups};
use measure::measure;

/// Measures all cases that are asked for.
pub(crate) fn run(arguments: &Arguments) -> Result<Vec<Row>> {
    ensure_mounted()?;
    let mut rows = Vec::new();
    for group in groups(arguments) {
        arguments.say(&group.to_string());
        rows.extend(measure_in_a_namespace(arguments, &group)?);
    }
    let beside_v4 = rows.iter().filter_map(|row| beside_v4(row, &rows)).collect::<Vec<_>>();
    Ok([rows, beside_v4].concat())
}

/// The row of a known flow over IPv6, compared with the same over IPv4 instead of with its first floor.
fn beside_v4(row: &Row, rows: &[Row]) -> Option<Row> {
    let [v4, v6] = Family::ALL.map(Family::name);
    let is_known = row.case.ends_with(Kind::Known.name()) && row.family == v6;
    let same =
        |other: &&Row| other.family == v4 && (&other.case, other.flows) == (&row.case, row.flows);
    let other = rows.iter().find(same).filter(|_| is_known)?;
    let is_first =
        rows.iter().find(|it| it.family == v6 && it.case == row.case && it.flows == row.flows);
    is_first.filter(|first| *first == row)?;
    let floor = Some(Floor { name: v4.to_owned(), value: other.value });
    Some(Row { floor, ratio: Some(row.value / other.value), ..row.clone() })
}

fn measure_in_a_namespace(arguments: &Arguments, group: &Group) -> Result<Vec<Row>> {
    let namespace = Namespace::create(&stale::unique_name())?;
    namespace.ip(&format!(
        "link add {NIC} type veth peer name peer\nlink set {NIC} up\nlink set peer up"
    ))?;
    namespace.enter(|| {
        super::stay_on_one_cpu()?;
        measure(namespace.name(), group, arguments.quick)
    })?
}
