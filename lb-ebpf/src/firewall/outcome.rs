//! Packets whose source is enough for the rules: the first program judges them by itself.
//!
//! What becomes of a plain packet of TCP or UDP is worked out beforehand for each class of sources, as far as no rule
//! asks about its destination port. The rules are asked only where that does not tell.

use lb_common::layout::firewall::{
    ASKED_WORDS, Firewall, NO_COUNT, OUTCOME_COUNTER, OUTCOME_DROPS, OUTCOME_KNOWN, OUTCOME_PAGES,
    OUTCOME_POLICY, PAGE, outcome_place,
};
use lb_common::verdict::Verdict;

use super::{address, word};
use crate::family::{Family, Ip, UDP};
use crate::tables::Tables;
use crate::transport::Transport;
use crate::verifier::at;

/// What the source of a packet tells.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BySource {
    /// The rules are to be asked.
    Nothing,
    /// It goes on, and a rule counts it, or none.
    Accepted(u32),
    /// It does not, by this verdict, and the rule counts it.
    Dropped(Verdict, u32),
}

/// What the source tells of a plain packet that is for no listener.
#[inline(always)]
pub(crate) fn of_source<A: Family, T: Tables>(
    tables: &T,
    ip: &Ip<A>,
    transport: &Transport,
) -> BySource {
    match word(tables) {
        None => BySource::Accepted(NO_COUNT),
        Some(word) => told(tables, word, ip, transport).unwrap_or(BySource::Nothing),
    }
}

/// What the source tells of a plain packet that may be for a listener and is of no flow that is known: nothing, if
/// there are services that not everyone may use.
#[inline(always)]
pub(crate) fn of_client<A: Family, T: Tables>(
    tables: &T,
    ip: &Ip<A>,
    transport: &Transport,
) -> BySource {
    let word = word(tables).filter(|word| word & Firewall::BY_SERVICE == 0);
    word.and_then(|word| told(tables, word, ip, transport)).unwrap_or(BySource::Nothing)
}

#[inline(always)]
fn told<A: Family, T: Tables>(
    tables: &T,
    word: u64,
    ip: &Ip<A>,
    transport: &Transport,
) -> Option<BySource> {
    let half = Firewall::half(word);
    let class = if word & Firewall::BY_SOURCE == 0 {
        0
    } else {
        address::class::<A, T>(tables, word, ip.source)
    };
    // Before all else, as the rules would: this is what most packets come to.
    if class == 0 && word & Firewall::STRANGERS_PASS != 0 {
        return Some(BySource::Accepted(NO_COUNT));
    }
    let port = u32::from(u16::from_be(transport.destination_port));
    let asked = tables.asked(half * ASKED_WORDS + port / 64)? >> (port % 64);
    if asked & 1 != 0 {
        return None;
    }
    let place = outcome_place(class, ip.protocol == UDP);
    let page = tables.outcomes(half * OUTCOME_PAGES + place / PAGE as u32)?;
    let outcome = at(page, place as usize);
    if outcome & OUTCOME_KNOWN == 0 {
        return None;
    }
    let counter = outcome & OUTCOME_COUNTER;
    if outcome & OUTCOME_DROPS == 0 {
        return Some(BySource::Accepted(counter));
    }
    let by_policy = outcome & OUTCOME_POLICY != 0;
    let verdict = if by_policy { Verdict::FirewallPolicy } else { Verdict::FirewallDrop };
    Some(BySource::Dropped(verdict, counter))
}

/// Has a rule count a packet.
#[inline(always)]
pub(crate) fn count<T: Tables>(tables: &T, counter: u32, bytes: u64) {
    if let Some(count) = tables.rule_count(counter) {
        count.update(|count| count.add(bytes));
    }
}
