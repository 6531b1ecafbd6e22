//! From the text of a file to a configuration, or to everything that is wrong with it.

use toml::de::{DeTable, DeValue};

use super::problem::{Fault, Problems, Report};
use super::reader::Table;
use super::service::{Draft, HealthChecks, draft};
use super::value::{Parsed, check_name, type_name};
use super::{
    Config, Datapath, Service, across, daemon, datapath, forwarding, health_check, notes, sync,
};

/// A valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The configuration.
    pub config: Config,
    /// What is allowed but may surprise, a sentence each.
    pub notes: Vec<String>,
}

/// Reads a configuration. `name` is shown in problems; `host_name` is the default of `agent.node`.
pub fn parse(name: &str, text: &str, host_name: &str) -> Result<Checked, Problems> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(Problems::of_syntax(name, text, &errors));
    }
    let report = Report::default();
    let checked = read(Table::root(&report, table.get_ref()), host_name);
    let problems = report.into_problems(name, text);
    checked.filter(|_| problems.is_empty()).ok_or(problems)
}

fn read(mut root: Table<'_>, host_name: &str) -> Option<Checked> {
    root.required("version", "1", version);
    let agent = daemon::agent(root.section("agent", "[agent]"), host_name);
    let api = daemon::api(root.section("api", "[api]"));
    let metrics = daemon::metrics(root.section("metrics", "[metrics]"));
    let datapath = datapath::datapath(root.section("datapath", "[datapath]"));
    let checks = health_checks(&mut root);
    let services = services(&mut root, &checks, datapath.as_ref());
    let sync = sync::sync(&mut root);
    root.finish(&["pool", "firewall", "vrrp"]);
    let config = Config {
        agent: agent?,
        api: api?,
        metrics: metrics?,
        datapath: datapath?,
        services: services?,
        sync: sync?,
    };
    let notes = notes::notes(&config, checks.keys().map(String::as_str));
    Some(Checked { config, notes })
}

fn version(value: &DeValue<'_>) -> Parsed<()> {
    let found = match value.as_integer() {
        Some(number) if number.as_str() == "1" => return Ok(()),
        Some(number) => format!("version {number} of the file's format is not known"),
        None => format!("expected an integer, found {}", type_name(value)),
    };
    Err(Fault::new(found, "write `version = 1`"))
}

fn health_checks(root: &mut Table<'_>) -> HealthChecks {
    let mut checks = HealthChecks::new();
    for (name, table) in root.named_sections("health_check", "[health_check.NAME]") {
        if let Err(fault) = check_name(name.value) {
            root.report.add(fault.at(&name.span));
        }
        let check =
            table.and_then(|table| health_check::health_check(table, Some(name.value.to_owned())));
        checks.insert(name.value.to_owned(), check);
    }
    checks
}

fn services(
    root: &mut Table<'_>,
    checks: &HealthChecks,
    datapath: Option<&Datapath>,
) -> Option<Vec<Service>> {
    let tables = root.sections("service", "[[service]]");
    let drafts: Vec<Draft> = tables.into_iter().map(|table| draft(table, checks)).collect();
    across::check(root.report, &drafts);
    forwarding::check(root.report, &drafts, datapath);
    drafts.into_iter().map(Draft::finish).collect()
}
