//! `[[firewall.rule]]`

use std::ops::RangeInclusive;

use lb_common::api;
use toml::de::{DeTable, DeValue};

use super::over;
use super::value::{addresses, icmp_type, icmp_type_text, icmp_type_word, ports, ports_text};
use super::value::{protocol, protocol_text, tcp_flags, tcp_flags_text};
use crate::model::config::Word;
use crate::model::config::problem::{Fault, Report};
use crate::model::config::reader::{List, Located, Table};
use crate::model::config::value::{self, Parsed, choice, interface};
use crate::model::firewall::{Action, IpProtocol, Match, Over, Per, Rule, TcpFlags};

/// A rule as far as it is valid, and the places of what must fit other tables.
pub(in crate::model::config) struct Draft {
    pub(super) name: Option<Located<String>>,
    pub(super) addresses: Vec<Located<Match>>,
    pub(super) interface: Option<Located<String>>,
    pub(super) service: Option<Located<String>>,
    /// How sources are told apart whose open flows count.
    pub(super) per: Option<Located<Per>>,
    pub(super) rule: Option<Rule>,
}

/// Reads a rule.
pub(super) fn draft(mut table: Table<'_>) -> Draft {
    let name = table.required("name", "\"drop-blocklist\"", value::name);
    let action = table.required("action", "\"drop\"", choice(&[]));
    let sources = list(&mut table, "source", "[\"198.51.100.0/24\"]", addresses);
    let destinations = list(&mut table, "destination", "[\"203.0.113.10\"]", addresses);
    let interface = table.optional("interface", interface);
    let service = table.optional("service", value::name);
    let transport = transport(&mut table);
    let place = table.raw("over");
    let over = match place {
        Some(value) => over::over(&table, value).map(Some),
        None => Some(None),
    };
    let per = place.zip(over.flatten()).and_then(|(place, over)| match over {
        Over::Flows { per, .. } => Some(Located { value: per, span: place.span() }),
        Over::Rate(_) => None,
    });
    table.finish(&[]);
    let value = |found: &Located<String>| found.value.clone();
    let rule = || {
        let Transport { protocol, sports, dports, tcp_flags, icmp_types } = transport?;
        Some(Rule {
            name: value(name.as_ref()?),
            action: action?.value,
            sources: values(&sources)?,
            destinations: values(&destinations)?,
            protocol,
            sports,
            dports,
            tcp_flags,
            icmp_types,
            interface: interface.as_ref()?.as_ref().map(value),
            service: service.as_ref()?.as_ref().map(value),
            over: over?,
        })
    };
    let rule = rule();
    let addresses = sources.items.into_iter().chain(destinations.items).collect();
    let (interface, service) = (interface.flatten(), service.flatten());
    Draft { name, addresses, interface, service, per, rule }
}

/// What a rule asks of the transport header.
struct Transport {
    protocol: Option<IpProtocol>,
    sports: Vec<RangeInclusive<u16>>,
    dports: Vec<RangeInclusive<u16>>,
    tcp_flags: Option<TcpFlags>,
    icmp_types: Vec<u8>,
}

fn transport(table: &mut Table<'_>) -> Option<Transport> {
    let protocol = table.optional("protocol", protocol);
    let sports = list(table, "sport", "[\"1024-65535\"]", ports);
    let dports = list(table, "dport", "[\"53\"]", ports);
    let flags = table.optional("tcp_flags", tcp_flags);
    let types = list(table, "icmp_type", "[\"echo-request\"]", icmp_type_text);
    // A protocol that is wrong has been told already.
    let protocol = protocol?.map(|protocol| protocol.value);
    for range in [&sports, &dports].into_iter().filter_map(|list| list.items.first()) {
        fits(table.report, range, "ports", protocol, &[IpProtocol::TCP, IpProtocol::UDP]);
    }
    if let Some(Some(flags)) = &flags {
        fits(table.report, flags, "TCP flags", protocol, &[IpProtocol::TCP]);
    }
    let icmp_types = types_of(table.report, &types, protocol);
    let tcp_flags = flags?.map(|flags| flags.value);
    let protocol = protocol.or(tcp_flags.map(|_| IpProtocol::TCP));
    let (sports, dports) = (values(&sports)?, values(&dports)?);
    Some(Transport { protocol, sports, dports, tcp_flags, icmp_types: icmp_types? })
}

/// A list of conditions; one that is missing has no items.
fn list<T>(
    table: &mut Table<'_>,
    key: &'static str,
    example: &str,
    parse: impl Fn(&DeValue<'_>) -> Parsed<T>,
) -> List<T> {
    table.list(key, example, parse).unwrap_or(List { items: Vec::new(), whole: true })
}

/// The values of a list; `None`: one of them is wrong.
fn values<T: Clone>(list: &List<T>) -> Option<Vec<T>> {
    list.whole.then(|| list.items.iter().map(|item| item.value.clone()).collect())
}

/// Reports a condition that no packet of the rule's protocol can meet.
fn fits<T>(
    report: &Report,
    what: &Located<T>,
    kind: &str,
    protocol: Option<IpProtocol>,
    of: &[IpProtocol],
) {
    let Some(protocol) = protocol.filter(|protocol| !of.contains(protocol)) else { return };
    let message = format!("packets of protocol {} have no {kind}", protocol_text(protocol));
    let words: Vec<String> =
        of.iter().map(|one| format!("`protocol = \"{}\"`", protocol_text(*one))).collect();
    let help = format!("remove it, or write {}", words.join(" or "));
    report.add(Fault::new(message, help).at(&what.span));
}

/// The numbers of types of ICMP, which depend on the protocol.
fn types_of(
    report: &Report,
    types: &List<String>,
    protocol: Option<IpProtocol>,
) -> Option<Vec<u8>> {
    let Some(first) = types.items.first() else { return types.whole.then(Vec::new) };
    let of = protocol.filter(|it| matches!(*it, IpProtocol::ICMP | IpProtocol::ICMPV6));
    let Some(of) = of else {
        let help = "write `protocol = \"icmp\"` or `protocol = \"icmpv6\"` beside it";
        let fault = Fault::new("types of ICMP differ between IPv4 and IPv6", help);
        report.add(fault.at(&first.span));
        return None;
    };
    let mut numbers = Vec::new();
    for Located { value, span } in &types.items {
        match icmp_type(value, of) {
            Ok(number) => numbers.push(number),
            Err(fault) => report.add(fault.at(span)),
        }
    }
    (types.whole && numbers.len() == types.items.len()).then_some(numbers)
}

/// A rule as it is written.
pub(in crate::model) fn to_text(rule: &Rule) -> api::Rule {
    let texts = |ports: &[RangeInclusive<u16>]| ports.iter().map(ports_text).collect();
    let addresses = |list: &[Match]| list.iter().map(Match::to_string).collect();
    let of = rule.protocol.unwrap_or(IpProtocol::ICMP);
    api::Rule {
        name: rule.name.clone(),
        action: rule.action.word().to_owned(),
        source: addresses(&rule.sources),
        destination: addresses(&rule.destinations),
        protocol: rule.protocol.map(protocol_text),
        sport: texts(&rule.sports),
        dport: texts(&rule.dports),
        tcp_flags: rule.tcp_flags.map(tcp_flags_text),
        icmp_type: rule.icmp_types.iter().map(|number| icmp_type_word(*number, of)).collect(),
        interface: rule.interface.clone(),
        service: rule.service.clone(),
        over: rule.over.map(over::to_text),
    }
}

/// Reads a rule that came at run time, by the rules of the file; says everything that is wrong with it.
pub(in crate::model) fn from_text(text: &api::Rule) -> Result<Rule, String> {
    let toml = toml::to_string(text).map_err(|error| error.to_string())?;
    let table = DeTable::parse(&toml).map_err(|error| error.message().to_owned())?;
    let report = Report::default();
    let draft = draft(Table::root(&report, table.get_ref()));
    let messages = report.into_messages();
    draft.rule.filter(|_| messages.is_empty()).ok_or_else(|| messages.join("; "))
}

impl Word for Action {
    const ALL: &'static [Self] = &[Self::Accept, Self::Drop];

    fn word(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Drop => "drop",
        }
    }
}
