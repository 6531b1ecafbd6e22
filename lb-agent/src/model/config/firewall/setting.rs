//! Firewall, rules and sets as keys and values.

use std::fmt;

use lb_common::api;

use super::over;
use super::rule::to_text;
use crate::model::config::setting::{Literal, list};
use crate::model::config::setting::{Setting, bare, list_if_any, optional, path, text, word};
use crate::model::firewall::{Firewall, Match, Rule, Source};

/// `[firewall]` without its sets and rules.
pub(in crate::model::config) fn firewall(firewall: &Firewall) -> Vec<Setting> {
    let ports: Vec<String> = firewall.protect_ports.iter().map(u16::to_string).collect();
    vec![
        word("policy", firewall.policy),
        bare("protect_ports", format!("[{}]", ports.join(", "))),
        bare("max_prefixes", firewall.max_prefixes),
        word("syn_cookies", firewall.syn_cookies),
        bare("syn_cookies_above", firewall.syn_cookies_above),
    ]
}

/// What the table of a set has.
pub(in crate::model::config) fn set(source: &Source) -> Setting {
    match source {
        Source::Listed(elements) => list("elements", elements),
        Source::File(file) => path("file", file),
    }
}

/// A rule.
pub(in crate::model::config) fn rule(rule: &Rule) -> Vec<Setting> {
    let api::Rule {
        name,
        action,
        source,
        destination,
        protocol,
        sport,
        dport,
        tcp_flags,
        icmp_type,
        interface,
        service,
        over,
    } = to_text(rule);
    let text_if_any = |key, value: Option<String>| optional(key, value.map(Literal::Text));
    vec![
        text("name", name),
        text("action", action),
        list_if_any("source", &source),
        list_if_any("destination", &destination),
        text_if_any("protocol", protocol),
        list_if_any("sport", &sport),
        list_if_any("dport", &dport),
        text_if_any("tcp_flags", tcp_flags),
        list_if_any("icmp_type", &icmp_type),
        text_if_any("interface", interface),
        text_if_any("service", service),
        optional("over", over.as_ref().map(over::literal)),
    ]
}

/// As it is written.
impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(prefix) => prefix.fmt(f),
            Self::Set(name) => write!(f, "@{name}"),
        }
    }
}
