//! The firewall: the first rule that matches a packet decides.
//!
//! What it costs does not depend on how many rules and prefixes there are: each property of the packet leads to a set
//! of rules, and the first rule in all of these sets is the one.

use lb_common::layout::firewall::{
    Firewall, KIND_ICMP, KIND_ICMPV6, KIND_LATER, KIND_PROTOCOL, KIND_TCP, KINDS, LinkKey,
    NO_LISTENER, PAGE, PORT_PAGES, RULE_DROPS, SERVICE_PAGES, destination_row, source_row,
};
use lb_common::verdict::Verdict;

use crate::family::{Family, Ip, Shape, TCP, UDP};
use crate::flight::{Flight, Next};
use crate::packet::{Frame, Packet};
use crate::tables::Tables;
use crate::verifier::at;
use crate::{World, fragment, identify};

pub mod address;
mod close;
pub mod maps;
pub mod rows;

pub use maps::Maps;
use rows::Rows;

/// What the rules ask about a packet besides its addresses and its interface.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Subject {
    /// [`PAGE`] times its kind, and its protocol, flags or type.
    pub kind: u32,
    /// 1 where it has ports.
    pub has_ports: u32,
    /// The listener that it is for, or [`NO_LISTENER`].
    pub listener: u32,
}

impl Subject {
    /// Looks at a packet whose transport header, if it is one with ports, is known. What does not name what rules
    /// ask about, although its receiver may find it there, is not to go on.
    #[inline(always)]
    pub fn of<A: Family, F: Frame>(
        packet: &Packet<F>,
        flight: &Flight<A>,
    ) -> Result<Self, Verdict> {
        let Ip { protocol, shape, payload, end, .. } = flight.ip;
        let is_served = matches!(flight.next, Next::TO_BACKEND | Next::TO_ANY_BACKEND);
        let listener = if is_served { flight.listener } else { NO_LISTENER };
        let of = |kind: u32, value: u8, has_ports| {
            let kind = kind * PAGE as u32 + u32::from(value);
            Self { kind, has_ports, listener }
        };
        if flight.is_truncated != 0 {
            return Err(Verdict::Malformed);
        }
        if shape == Shape::UNFOLLOWED {
            return Err(Verdict::ExtensionHeaders);
        }
        if shape == Shape::LATER_FRAGMENT {
            return Ok(of(KIND_LATER, protocol, 0));
        }
        match protocol {
            TCP => Ok(of(KIND_TCP, flight.transport.flags, 1)),
            UDP => Ok(of(KIND_PROTOCOL, UDP, 1)),
            _ if protocol == A::ICMP => {
                let first = packet.window::<1>(payload).filter(|_| payload < end);
                let kind = if A::NUMBER == 4 { KIND_ICMP } else { KIND_ICMPV6 };
                first.map(|first| of(kind, first.u8_at::<0>(), 0)).ok_or(Verdict::Malformed)
            }
            _ => Ok(of(KIND_PROTOCOL, protocol, 0)),
        }
    }
}

/// Whether there is a firewall.
#[inline(always)]
pub fn is_on<M: Maps>(maps: &M) -> bool {
    word(maps).is_some()
}

/// Whether the rules may have something to say of a packet of no flow. That of a stranger may pass by what is
/// quickly known.
#[inline(always)]
pub(crate) fn asks<A: Family, M: Maps>(maps: &M, flight: &Flight<A>) -> bool {
    let Some(word) = word(maps) else { return false };
    let is_whole = flight.ip.shape == Shape::WHOLE && flight.is_truncated == 0;
    word & Firewall::STRANGERS_PASS == 0
        || !is_whole
        || !A::is_stranger(maps, Firewall::half(word), flight.ip.source)
}

/// What becomes of a packet with which nothing is to be done any more: the rules refuse it, or it is not for us. A
/// flow that they accepted before goes on, until they change; so do its replies. A flow that they accept no more is
/// forgotten.
#[inline(always)]
pub(crate) fn stop<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &mut Flight<A>,
) -> Option<Verdict> {
    let is_known = flight.next == Next::TO_BACKEND
        && flight.found.cell.generation() == world.settings.generation;
    if is_known || flight.next == Next::TO_CLIENT {
        return None;
    }
    // What the rules said of the first fragment of a packet holds for the others.
    if flight.next == Next::FRAGMENT && fragment::is_known(world, flight) {
        return None;
    }
    flight.subject = match Subject::of(packet, flight) {
        Ok(subject) => subject,
        Err(verdict) => return Some(verdict),
    };
    let verdict = judge(world, flight);
    if verdict.is_some() && flight.next == Next::TO_BACKEND {
        close::close(world, flight);
    }
    if verdict.is_none() && flight.next == Next::NOTHING {
        return Some(identify::noted(flight));
    }
    verdict
}

/// The word of the firewall, if there is one that is on.
#[inline(always)]
pub fn word<M: Maps>(maps: &M) -> Option<u64> {
    let firewall = core::ptr::from_ref(maps.firewall()?);
    // SAFETY: a field of a value that lives as long as the packet is worked on.
    let word = unsafe { &raw const (*firewall).word };
    // SAFETY: as above; volatile, since the agent changes it.
    let word = unsafe { word.read_volatile() };
    (word & Firewall::ON != 0).then_some(word)
}

/// Finds the rule that decides on a packet and counts it; `None` where the packet may go on. The flight is told
/// the generation of the rules.
#[inline(always)]
pub fn judge<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &mut Flight<A>,
) -> Option<Verdict> {
    let word = word(world.tables)?;
    let half = Firewall::half(word);
    let mut rows = Rows::ALL;
    if word & Firewall::BY_SOURCE != 0 {
        let class = A::class(world.tables, half, flight.ip.source);
        if class == 0 && word & Firewall::STRANGERS_PASS != 0 {
            return None;
        }
        rows.source = source_row(class);
    }
    if word & Firewall::BY_SERVICE != 0 && !may_use(world.tables, half, flight, &mut rows) {
        return Some(Verdict::ServiceNotAllowed);
    }
    if word & Firewall::BY_DESTINATION != 0 {
        rows.destination = destination_row(A::class(world.tables, half, flight.ip.destination));
    }
    find_rows(world.tables, word, flight, &mut rows);
    decide(world.tables, word, rows.first(world.tables, half), flight.bytes)
}

/// Finds the row of the packet's service; whether it lets the packet's source use it.
#[inline(always)]
fn may_use<A: Family, M: Maps>(maps: &M, half: u32, flight: &Flight<A>, rows: &mut Rows) -> bool {
    let listener = flight.subject.listener;
    let page = maps.services(half * SERVICE_PAGES + listener / PAGE as u32);
    let service = page.map_or(0, |page| at(page, listener as usize));
    rows.service = service & 0xffff;
    let list = service >> 16;
    list == 0 || rows::contains(maps, half, rows.source, list - 1)
}

/// The rows of what needs no search.
#[inline(always)]
fn find_rows<A: Family, M: Maps>(maps: &M, word: u64, flight: &Flight<A>, rows: &mut Rows) {
    let (half, Subject { kind, has_ports, .. }) = (Firewall::half(word), flight.subject);
    if word & Firewall::BY_KIND != 0 {
        let page = maps.kind_rows(half * KINDS + kind / PAGE as u32);
        rows.kind = page.map_or(0, |page| u32::from(at(page, kind as usize)));
    }
    if has_ports != 0 {
        let (source, destination) =
            (flight.transport.source_port, flight.transport.destination_port);
        if word & Firewall::BY_SOURCE_PORT != 0 {
            rows.source_port = port_row(maps, half * 2, u16::from_be(source));
        }
        if word & Firewall::BY_DESTINATION_PORT != 0 {
            rows.destination_port = port_row(maps, half * 2 + 1, u16::from_be(destination));
        }
    }
    if word & Firewall::BY_INTERFACE != 0 {
        let row = |interface| maps.link_row(&LinkKey { half, interface });
        rows.interface = row(flight.interface).or_else(|| row(0)).unwrap_or(0);
    }
}

#[inline(always)]
fn port_row<M: Maps>(maps: &M, direction: u32, port: u16) -> u32 {
    let page = maps.port_rows(direction * PORT_PAGES + u32::from(port >> 8));
    page.map_or(0, |page| u32::from(at(page, usize::from(port))))
}

#[inline(always)]
fn decide<M: Maps>(maps: &M, word: u64, rule: Option<u32>, bytes: u64) -> Option<Verdict> {
    let (drops, counter, verdict) = match rule {
        Some(rule) => {
            let rules = maps.rules(Firewall::half(word))?;
            let rule = at(rules, rule as usize);
            (rule & RULE_DROPS != 0, rule & !RULE_DROPS, Verdict::FirewallDrop)
        }
        None if word & Firewall::POLICY_DROP == 0 => return None,
        None => (true, 0, Verdict::FirewallPolicy),
    };
    if let Some(count) = maps.rule_count(counter) {
        count.update(|count| count.add(bytes));
    }
    drops.then_some(verdict)
}
