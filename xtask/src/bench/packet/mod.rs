//! Nanoseconds for a packet, by `BPF_PROG_TEST_RUN`, net of the harness.

mod cases;
mod measure;

use anyhow::Result;
use lb_tests::bpf_fs::ensure_mounted;
use lb_tests::namespace::Namespace;
use lb_tests::stale;

use super::Arguments;
use super::director::NIC;
use super::row::Row;
use cases::{Group, groups};
use measure::measure;

/// Measures all cases that are asked for.
pub(crate) fn run(arguments: &Arguments) -> Result<Vec<Row>> {
    ensure_mounted()?;
    let mut rows = Vec::new();
    for group in groups(arguments) {
        arguments.say(&group.to_string());
        rows.extend(measure_in_a_namespace(arguments, &group)?);
    }
    Ok(rows)
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
