//! `[[firewall.rule]]`

use super::value::{addresses, icmp_type, icmp_type_text, icmp_type_word, ports, ports_text};
use super::value::{protocol, protocol_text, tcp_flags, tcp_flags_text};
use crate::model::config::Word;
use crate::model::config::problem::{Fault, Report};
use crate::model::config::reader::{List, Located, Table};
use crate::model::config::value::{choice, interface, name};
use crate::model::firewall::{Action, IpProtocol, Match, Rule, TcpFlags};
use lb_common::api;
use toml::de::DeTable;

/// Keys that a later version will know.
const LATER_KEYS: &[&str] = &["over"];

/// A rule as far as it is valid, and the places of what must fit other tables.
pub(in crate::model::config) struct Draft {
    pub(super) name: Option<Located<String>>,
    pub(super) addresses: Vec<Located<Match>>,
    pub(super) interface: Option<Located<String>>,
    pub(super) service: Option<Located<String>>,
    pub(super) rule: Option<Rule>,
}

/// Reads a rule.
pub(super) fn draft(mut table: Table<'_>) -> Draft {
    let name = table.required("name", "\"drop-blocklist\"", name);
    let action = table.required("action", "\"drop\"", choice(&[]));
    let prefixes = "[\"198.51.100.0/24\"]";
    let sources = table.list("source", prefixes, addresses);
    let destinations = table.list("destination", prefixes, addresses);
    let interface = table.optional("interface", interface);
    let service = table.optional("service", name_of_service);
    let transport = transport(&mut table);
    table.finish(LATER_KEYS);
    let rule = || {
        let Transport { protocol, sports, dports, tcp_flags, icmp_types } = transport?;
        let (sources, destinations) = (values(sources.clone())?, values(destinations.clone())?);
        let (interface, service) = (value(interface.clone())?, value(service.clone())?);
        let (name, action) = (name.as_ref()?.value.clone(), action?.value);
        let first = Rule {
            name,
            action,
            sources,
            destinations,
            protocol,
            sports,
            dports,
            tcp_flags,
            icmp_types,
            interface,
            service,
        };
        Some(first)
    };
    let rule = rule();
    let lists = [sources, destinations].into_iter().flatten();
    let addresses = lists.flat_map(|list| list.items).collect();
    Draft { name, addresses, interface: interface.flatten(), service: service.flatten(), rule }
}

/// What a rule asks of the transport header.
struct Transport {
    protocol: Option<IpProtocol>,
    sports: Vec<std::ops::RangeInclusive<u16>>,
    dports: Vec<std::ops::RangeInclusive<u16>>,
    tcp_flags: Option<TcpFlags>,
    icmp_types: Vec<u8>,
}

fn transport(table: &mut Table<'_>) -> Option<Transport> {
    let protocol = table.optional("protocol", protocol);
    let sports = table.list("sport", "[\"1024-65535\"]", ports);
    let dports = table.list("dport", "[\"53\"]", ports);
    let tcp_flags = table.optional("tcp_flags", tcp_flags);
    let types = table.list("icmp_type", "[\"echo-request\"]", icmp_type_text);
    // A protocol that is wrong has been told already.
    let protocol = protocol?.map(|protocol| protocol.value);
    let ports = [&sports, &dports].into_iter().flatten();
    for range in ports.filter_map(|list| list.items.first()) {
        fits(table.report, range, "ports", protocol, &[IpProtocol::TCP, IpProtocol::UDP]);
    }
    if let Some(Some(flags)) = &tcp_flags {
        fits(table.report, flags, "TCP flags", protocol, &[IpProtocol::TCP]);
    }
    let icmp_types = types_of(table.report, types, protocol);
    let tcp_flags = value(tcp_flags)?;
    let implied = tcp_flags.map(|_| IpProtocol::TCP);
    let (sports, dports) = (values(sports)?, values(dports)?);
    Some(Transport {
        protocol: protocol.or(implied),
        sports,
        dports,
        tcp_flags,
        icmp_types: icmp_types?,
    })
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
    let words: Vec<String> = of.iter().map(|one| format!("\"{}\"", protocol_text(*one))).collect();
    let help = format!("remove it, or write `protocol = {}`", words.join("` or `protocol = "));
    report.add(Fault::new(message, help).at(&what.span));
}

/// The numbers of types of ICMP, which depend on the protocol.
fn types_of(
    report: &Report,
    types: Option<List<String>>,
    protocol: Option<IpProtocol>,
) -> Option<Vec<u8>> {
    let Some(types) = types else { return Some(Vec::new()) };
    let first = types.items.first()?;
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

fn name_of_service(value: &toml::de::DeValue<'_>) -> Result<String, Fault> {
    name(value)
}

fn value<T>(found: Option<Option<Located<T>>>) -> Option<Option<T>> {
    found.map(|found| found.map(|found| found.value))
}

/// The values of a list, none where it is missing; `None`: one is wrong.
fn values<T>(list: Option<List<T>>) -> Option<Vec<T>> {
    let Some(list) = list else { return Some(Vec::new()) };
    list.whole.then(|| list.items.into_iter().map(|item| item.value).collect())
}

/// A rule as it is written.
pub(in crate::model) fn to_text(rule: &Rule) -> api::Rule {
    let texts = |ports: &[std::ops::RangeInclusive<u16>]| ports.iter().map(ports_text).collect();
    let addresses = |list: &[Match]| list.iter().map(Match::to_string).collect();
    let type_text =
        |number: &u8| icmp_type_word(*number, rule.protocol.unwrap_or(IpProtocol::ICMP));
    api::Rule {
        name: rule.name.clone(),
        action: rule.action.word().to_owned(),
        source: addresses(&rule.sources),
        destination: addresses(&rule.destinations),
        protocol: rule.protocol.map(protocol_text),
        sport: texts(&rule.sports),
        dport: texts(&rule.dports),
        tcp_flags: rule.tcp_flags.map(tcp_flags_text),
        icmp_type: rule.icmp_types.iter().map(type_text).collect(),
        interface: rule.interface.clone(),
        service: rule.service.clone(),
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
