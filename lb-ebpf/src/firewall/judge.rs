//! The rule that decides on a packet.

use lb_common::layout::firewall::{
    Firewall, KINDS, LinkKey, MAX_RULES, PAGE, PORT_PAGES, RULE_COUNTER, RULE_DROPS, SERVICE_PAGES,
    destination_row, rule_limit, source_row,
};
use lb_common::verdict::Verdict;

use super::maps::Maps;
use super::rows::{self, Rows};
use super::{Subject, address, limit, word};
use crate::family::Family;
use crate::flight::Flight;
use crate::verifier::at;

/// Finds the rule that decides on a packet and counts it; `None` where the packet may go on.
#[inline(never)]
pub(super) fn judge<A: Family, M: Maps>(maps: &M, flight: &mut Flight<A>) -> Option<Verdict> {
    let subject = &flight.subject;
    let word = word(maps)?;
    let half = Firewall::half(word);
    let mut rows = Rows::ALL;
    if word & Firewall::BY_SOURCE != 0 {
        let class = address::class::<A, M>(maps, word, subject.source);
        if class == 0 && word & Firewall::STRANGERS_PASS != 0 {
            return None;
        }
        rows.source = source_row(class);
    }
    if word & Firewall::BY_SERVICE != 0 && !may_use(maps, half, subject.listener, &mut rows) {
        return Some(Verdict::ServiceNotAllowed);
    }
    if word & Firewall::BY_DESTINATION != 0 {
        rows.destination = destination_row(address::class::<A, M>(maps, word, subject.destination));
    }
    find_rows(maps, word, subject, &mut rows);
    let rule = deciding(maps, half, &rows, flight);
    let (counter, verdict) = decide(word, rule)?;
    flight.rule = counter;
    if let Some(count) = maps.rule_count(counter) {
        count.update(|count| count.add(flight.bytes));
    }
    verdict
}

/// Finds the row of the packet's service; whether it lets the packet's source use it.
#[inline(always)]
fn may_use<M: Maps>(maps: &M, half: u32, listener: u32, rows: &mut Rows) -> bool {
    let page = maps.services(half * SERVICE_PAGES + listener / PAGE as u32);
    let service = page.map_or(0, |page| at(page, listener as usize));
    rows.service = service & 0xffff;
    let list = service >> 16;
    list == 0 || rows::contains(maps, half, rows.source, list - 1)
}

/// The rows of what needs no search.
#[inline(always)]
fn find_rows<A: Family, M: Maps>(maps: &M, word: u64, subject: &Subject<A>, rows: &mut Rows) {
    let half = Firewall::half(word);
    if word & Firewall::BY_KIND != 0 {
        let page = maps.kind_rows(half * KINDS + subject.kind / PAGE as u32);
        rows.kind = page.map_or(0, |page| u32::from(at(page, subject.kind as usize)));
    }
    if subject.has_ports != 0 {
        if word & Firewall::BY_SOURCE_PORT != 0 {
            rows.source_port = port_row(maps, half * 2, u16::from_be(subject.source_port));
        }
        if word & Firewall::BY_DESTINATION_PORT != 0 {
            let port = u16::from_be(subject.destination_port);
            rows.destination_port = port_row(maps, half * 2 + 1, port);
        }
    }
    if word & Firewall::BY_INTERFACE != 0 {
        let row = |interface| maps.link_row(&LinkKey { half, interface });
        rows.interface = row(subject.interface).or_else(|| row(0)).unwrap_or(0);
    }
}

#[inline(always)]
fn port_row<M: Maps>(maps: &M, direction: u32, port: u16) -> u32 {
    let page = maps.port_rows(direction * PORT_PAGES + u32::from(port >> 8));
    page.map_or(0, |page| u32::from(at(page, usize::from(port))))
}

/// The word of the rule that decides.
#[inline(always)]
fn deciding<A: Family, M: Maps>(
    maps: &M,
    half: u32,
    rows: &Rows,
    flight: &mut Flight<A>,
) -> Option<u32> {
    let (addresses_and_ports, others) = rows.packed();
    let rule = maps.first_rule(half, addresses_and_ports, others);
    if rule >= MAX_RULES as u32 {
        return None;
    }
    let word = at(maps.rules(half)?, rule as usize);
    if rule_limit(word) == 0 {
        return Some(word);
    }
    let word = maps.deciding(flight, half, (addresses_and_ports, others));
    (word != limit::NO_RULE).then_some(word)
}

/// The counter of what decides, and the verdict where the packet is dropped.
#[inline(always)]
fn decide(word: u64, rule: Option<u32>) -> Option<(u32, Option<Verdict>)> {
    if let Some(rule) = rule {
        let verdict = (rule & RULE_DROPS != 0).then_some(Verdict::FirewallDrop);
        return Some((rule & RULE_COUNTER, verdict));
    }
    (word & Firewall::POLICY_DROP != 0).then_some((0, Some(Verdict::FirewallPolicy)))
}
