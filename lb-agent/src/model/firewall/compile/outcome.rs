//! What the source of a packet is enough to tell, for each class: see `lb_ebpf::firewall::outcome`.

use std::ops::RangeInclusive;

use lb_common::layout::firewall::{
    ASKED_WORDS, MAX_CLASSES, NO_COUNT, OUTCOME_DROPS, OUTCOME_KNOWN, OUTCOME_PAGES,
    OUTCOME_POLICY, PAGE, Row, outcome_place,
};

use super::row::Rules;
use super::{Names, counter};
use crate::model::firewall::{Action, IpProtocol, Rule};

/// Whether a rule matches a packet whose source it does not mind, of this protocol, to a port about which no rule asks.
enum Fit {
    Never,
    Always,
    /// As its other conditions say.
    Perhaps,
}

fn fit(rule: &Rule, protocol: IpProtocol) -> Fit {
    let is_of_another = rule.protocol.is_some_and(|wanted| wanted != protocol);
    if is_of_another || !rule.dports.is_empty() || !rule.icmp_types.is_empty() {
        return Fit::Never;
    }
    let asks_more = !rule.destinations.is_empty()
        || !rule.sports.is_empty()
        || rule.tcp_flags.is_some()
        || rule.interface.is_some()
        || rule.service.is_some()
        || rule.over.is_some();
    if asks_more { Fit::Perhaps } else { Fit::Always }
}

/// The outcomes of all classes, whose rows as sources these are.
pub(super) fn pages<'r>(
    rules: &Rules,
    policy: Action,
    names: &Names,
    rows: impl Iterator<Item = &'r Row>,
) -> Vec<[u32; PAGE]> {
    let mut pages = vec![[0; PAGE]; usize::try_from(OUTCOME_PAGES).unwrap_or_default()];
    for (class, row) in (0..u32::from(MAX_CLASSES)).zip(rows) {
        for (is_udp, protocol) in [(false, IpProtocol::TCP), (true, IpProtocol::UDP)] {
            let place = usize::try_from(outcome_place(class, is_udp)).unwrap_or(usize::MAX);
            if let Some(entry) = pages.as_flattened_mut().get_mut(place) {
                *entry = outcome(rules, row, protocol, (policy, names));
            }
        }
    }
    pages
}

fn outcome(rules: &Rules, row: &Row, protocol: IpProtocol, rest: (Action, &Names)) -> u32 {
    let (policy, names) = rest;
    for rule in rules.in_row(row) {
        match fit(rule, protocol) {
            Fit::Never => {}
            Fit::Perhaps => return 0,
            Fit::Always => return OUTCOME_KNOWN | drops(rule.action) | counter(rule, names),
        }
    }
    match policy {
        Action::Accept => OUTCOME_KNOWN | NO_COUNT,
        Action::Drop => OUTCOME_KNOWN | OUTCOME_DROPS | OUTCOME_POLICY,
    }
}

fn drops(action: Action) -> u32 {
    if action == Action::Drop { OUTCOME_DROPS } else { 0 }
}

/// A bit for each destination port about which a rule asks.
pub(super) fn asked_ports(rules: &Rules) -> Vec<u64> {
    let mut words = vec![0; usize::try_from(ASKED_WORDS).unwrap_or_default()];
    for port in rules.iter().flat_map(|rule| &rule.dports).flat_map(RangeInclusive::clone) {
        if let Some(word) = words.get_mut(usize::from(port / 64)) {
            *word |= 1 << (port % 64);
        }
    }
    words
}
