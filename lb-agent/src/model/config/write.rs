//! A complete file from a configuration: every key, defaults included.

use std::collections::BTreeMap;
use std::fmt;

use super::firewall::setting::{rule, set};
use super::setting::{self, Setting, quote};
use super::{Config, HealthCheck, Service, vrrp};
use crate::model::firewall::Firewall;

/// A file that [`parse`](super::parse) turns into an equal configuration.
pub fn to_toml(config: &Config) -> String {
    File(config).to_string()
}

struct File<'a>(&'a Config);

impl fmt::Display for File<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(config) = self;
        writeln!(f, "version = 1")?;
        let sections = setting::sections(config).into_iter();
        for (name, settings) in sections.filter(|(_, settings)| !settings.is_empty()) {
            writeln!(f, "\n[{name}]")?;
            lines(f, "", &settings)?;
        }
        write_firewall(f, &config.firewall)?;
        for (name, check) in named_checks(&config.services) {
            writeln!(f, "\n[health_check.{}]", quote(name))?;
            lines(f, "", &setting::health_check(check))?;
        }
        config.services.iter().try_for_each(|service| write_service(f, service))?;
        config.vrrp.iter().try_for_each(|entry| {
            writeln!(f, "\n[[vrrp]]")?;
            lines(f, "", &vrrp::settings(entry))
        })
    }
}

fn write_firewall(f: &mut fmt::Formatter<'_>, firewall: &Firewall) -> fmt::Result {
    for (name, source) in &firewall.sets {
        writeln!(f, "\n[firewall.set.{}]", quote(name))?;
        lines(f, "", &[set(source)])?;
    }
    for one in &firewall.rules {
        writeln!(f, "\n[[firewall.rule]]")?;
        lines(f, "", &rule(one))?;
    }
    Ok(())
}

fn named_checks(services: &[Service]) -> BTreeMap<&str, &HealthCheck> {
    let checks = services.iter().filter_map(|service| service.health_check.as_ref());
    checks.filter_map(|check| Some((check.name.as_deref()?, check))).collect()
}

fn write_service(f: &mut fmt::Formatter<'_>, service: &Service) -> fmt::Result {
    writeln!(f, "\n[[service]]")?;
    lines(f, "", &setting::service(service))?;
    match &service.health_check {
        Some(HealthCheck { name: Some(name), .. }) => {
            writeln!(f, "health_check = {}", quote(name))?;
        }
        Some(check) => {
            let settings = setting::health_check(check);
            let pairs: Vec<String> = settings.iter().filter_map(assignment).collect();
            writeln!(f, "health_check = {{ {} }}", pairs.join(", "))?;
        }
        None => {}
    }
    for backend in &service.backends {
        writeln!(f, "\n  [[service.backend]]")?;
        lines(f, "  ", &setting::backend(backend))?;
    }
    Ok(())
}

fn lines(f: &mut fmt::Formatter<'_>, indent: &str, settings: &[Setting]) -> fmt::Result {
    settings.iter().filter_map(assignment).try_for_each(|line| writeln!(f, "{indent}{line}"))
}

fn assignment(setting: &Setting) -> Option<String> {
    Some(format!("{} = {}", setting.key, setting.value.as_ref()?.to_toml()))
}
