//! From the text of a file to a configuration, or to everything that is wrong with it.

use toml::de::{DeTable, DeValue};

use super::firewall::across::Known;
use super::problem::{Fault, Problems, Report};
use super::reader::Table;
use super::service::{Draft, HealthChecks, draft};
use super::value::{Parsed, check_name, type_name};
use super::{
    Config, Datapath, across, daemon, datapath, firewall, forwarding, health_check, notes, sync,
    vrrp,
};
use crate::model::firewall::Firewall;

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
    let drafts = services(&mut root, &checks, datapath.as_ref());
    let firewall = firewall(&mut root, datapath.as_ref(), &drafts);
    let sync = sync::sync(&mut root);
    let has_key = sync.as_ref().is_none_or(Option::is_some);
    let vrrp = vrrp::read(&mut root, &names(&drafts), has_key);
    let services = drafts.into_iter().map(Draft::finish).collect::<Option<_>>();
    root.finish(&["pool"]);
    let config = Config {
        agent: agent?,
        api: api?,
        metrics: metrics?,
        datapath: datapath?,
        firewall: firewall?,
        services: services?,
        vrrp: vrrp?,
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

/// The services, and the names of all of them, those of wrong ones included.
fn services(
    root: &mut Table<'_>,
    checks: &HealthChecks,
    datapath: Option<&Datapath>,
) -> Vec<Draft> {
    let tables = root.sections("service", "[[service]]");
    let drafts: Vec<Draft> = tables.into_iter().map(|table| draft(table, checks)).collect();
    across::check(root.report, &drafts);
    forwarding::check(root.report, &drafts, datapath);
    drafts
}

/// The names of services, wrong ones too.
fn names(services: &[Draft]) -> Vec<&str> {
    services.iter().filter_map(|it| Some(it.name.as_ref()?.value.as_str())).collect()
}

fn firewall(
    root: &mut Table<'_>,
    datapath: Option<&Datapath>,
    services: &[Draft],
) -> Option<Firewall> {
    let draft = firewall::draft(root.section("firewall", "[firewall]"));
    let interfaces = datapath.into_iter().flat_map(|datapath| &datapath.interfaces);
    let known = Known {
        services: names(services),
        interfaces: interfaces.map(String::as_str).collect(),
        allowed: services.iter().flat_map(|service| &service.allow.items).collect(),
    };
    firewall::across::check(root.report, &draft, &known);
    draft.finish()
}
