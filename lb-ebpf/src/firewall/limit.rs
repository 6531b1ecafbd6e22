//! Limits of rules: a rule with one matches only what is beyond it.
//!
//! Each source has a token bucket of its own, in one word that is found by a keyed hash of rule and prefix. There are
//! places for so many; a source that comes when all places that could be its own are in use takes that of the source
//! which has used the fewest tokens. So whoever is at the limit stays known, unless as many others are, and nobody
//! pays for others.

use lb_common::layout::firewall::{KIND_LATER, MAX_RULES, PAGE, rule_limit};
use lb_common::layout::limit::{
    COUNTS_NEW_FLOWS, COUNTS_NOTHING, COUNTS_OPEN_FLOWS, COUNTS_PACKETS, Limit, MAX_LIMITS,
    MOST_ROOM, RULE_BUCKETS, SOURCE_BUCKETS, TIME_BITS, TIME_SHIFT,
};
use lb_common::layout::{CELLS_PER_BUCKET, Settings};

use super::maps::Maps;
use super::open;
use crate::draw::{begins, prefix};
use crate::family::Family;
use crate::flight::{Flight, Next, Watch};
use crate::flow::Tuple;
use crate::guard;
use crate::tables::Tables;
use crate::verifier::{at, rolled};

/// How often a source's word is tried to be changed; other CPUs may be quicker each time.
const ATTEMPTS: usize = 4;

/// The bits of a word that are time.
const TIME: u64 = (1 << TIME_BITS) - 1;

/// The word of no rule.
pub const NO_RULE: u32 = u32::MAX;

/// The word of the first rule that matches a packet with these rows, limits included, or [`NO_RULE`].
#[inline(always)]
pub fn deciding<M: Maps>(
    maps: &M,
    half: u32,
    (addresses_and_ports, others): (u64, u64),
    mut exceeds: impl FnMut(u32) -> bool,
) -> u32 {
    let mut from = 0;
    // One that has no limit ends it.
    for _ in rolled(MAX_LIMITS as usize + 1) {
        let rule = maps.first_rule(half, addresses_and_ports, others | (u64::from(from) << 48));
        let Some(rules) = maps.rules(half) else { break };
        if rule >= MAX_RULES as u32 {
            break;
        }
        let word = at(rules, rule as usize);
        let limit = rule_limit(word);
        if limit == 0 || exceeds(half * MAX_LIMITS + limit - 1) {
            return word;
        }
        from = rule + 1;
    }
    NO_RULE
}

/// Whether the packet is beyond the limit at this place.
#[inline(always)]
pub fn exceeds<A: Family, T: Tables>(tables: &T, flight: &mut Flight<A>, place: u32) -> bool {
    let Some(limit) = tables.limit(place) else { return false };
    if matches!(limit.counts, COUNTS_PACKETS | COUNTS_NOTHING) {
        flight.watch = Watch::EACH;
    }
    let counts = match limit.counts {
        // A reply is not what its client sent.
        COUNTS_PACKETS => flight.next != Next::TO_CLIENT,
        COUNTS_NEW_FLOWS => is_first(flight),
        COUNTS_OPEN_FLOWS => flight.opens_flow != 0,
        _ => false,
    };
    let is_over = counts
        && if limit.counts == COUNTS_OPEN_FLOWS {
            open::flows::<A, T>(tables, flight.subject.source) >= limit.room
        } else {
            is_over(tables, flight, limit)
        };
    flight.is_over = is_over.into();
    is_over
}

/// Whether the packet begins a flow, as far as that can be told of it.
#[inline(always)]
fn is_first<A: Family>(flight: &Flight<A>) -> bool {
    let is_known = matches!(flight.next, Next::TO_BACKEND | Next::TO_CLIENT);
    !is_known && flight.subject.kind / PAGE as u32 != KIND_LATER && begins(flight)
}

/// Takes a token for the packet; whether there was none.
#[inline(always)]
fn is_over<A: Family, T: Tables>(tables: &T, flight: &Flight<A>, limit: &Limit) -> bool {
    let now = tables.nanoseconds();
    if limit.per_source != 0 {
        return is_source_over::<A, T>(tables, limit, flight.subject.source, now >> TIME_SHIFT);
    }
    let Some(bucket) = tables.limited((limit.counter / 8) & (RULE_BUCKETS - 1)) else {
        return false;
    };
    !guard::take(tables, bucket, limit.counter as usize, now, (limit.cost, limit.room))
}

#[inline(always)]
fn is_source_over<A: Family, T: Tables>(
    tables: &T,
    limit: &Limit,
    source: A::Address,
    now: u64,
) -> bool {
    let Some(settings) = tables.settings() else { return false };
    let hash = source_hash::<A>(settings, limit, source);
    let number = RULE_BUCKETS + (hash as u32 & (SOURCE_BUCKETS - 1));
    let Some(bucket) = tables.limited(number) else { return false };
    let tag = hash >> TIME_BITS;
    for _ in rolled(ATTEMPTS) {
        let slot = tables.source_place(number, tag, now);
        let word = bucket.load(slot);
        let is_own = word >> TIME_BITS == tag;
        let used = if is_own { used(word, now) } else { 0 };
        // No source has used more than all tokens, unless the limit was another one then.
        let later = if used > limit.room { limit.cost } else { used + limit.cost };
        if later > limit.room {
            return true;
        }
        let new = (tag << TIME_BITS) | (now.wrapping_add(later) & TIME);
        if tables.swap(bucket, slot, word, new) {
            return false;
        }
    }
    true
}

/// Names the places of a source; nobody without the key can tell two that share one.
#[inline(always)]
fn source_hash<A: Family>(settings: &Settings, limit: &Limit, source: A::Address) -> u64 {
    let bits = if A::NUMBER == 4 { limit.prefix_v4 } else { limit.prefix_v6 };
    let source = A::from_words(&prefix(A::to_words(source), bits.into()));
    let name = Tuple::<A> {
        source,
        destination: source,
        source_port: limit.counter as u16,
        destination_port: 0,
        protocol: 0,
    };
    name.hash(&settings.hash_key)
}

/// The place of the source with this tag: its own, or else that of the source which has used the fewest tokens.
#[inline(always)]
pub fn place<M: Maps>(maps: &M, bucket: u32, tag: u64, now: u64) -> usize {
    let Some(bucket) = maps.limited(bucket) else { return 0 };
    let mut lowest = u64::MAX;
    for slot in rolled(CELLS_PER_BUCKET) {
        let word = bucket.load(slot);
        let rank = if word >> TIME_BITS == tag { 0 } else { used(word, now) + 1 };
        lowest = lowest.min((rank << 3) | slot as u64);
    }
    lowest as usize & 7
}

/// The time in which the tokens come that a source has used. A time beyond all limits is one that has passed.
#[inline(always)]
fn used(word: u64, now: u64) -> u64 {
    let time = word.wrapping_sub(now) & TIME;
    if time > MOST_ROOM { 0 } else { time }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell as Memory;

    use super::*;
    use crate::host::HostTables;
    use crate::v4::V4;

    /// Of each source: two a second, five at once.
    const LIMIT: Limit = Limit {
        cost: 500_000_000 >> TIME_SHIFT,
        room: 5 * (500_000_000 >> TIME_SHIFT),
        counter: 7,
        counts: COUNTS_PACKETS,
        per_source: 1,
        prefix_v4: 32,
        prefix_v6: 64,
    };
    const NOW: u64 = 1_000_000_000_000 >> TIME_SHIFT;
    const SECOND: u64 = 1_000_000_000 >> TIME_SHIFT;

    fn tables() -> HostTables {
        let mut tables = HostTables::new(64, [1, 2]);
        let buckets = (RULE_BUCKETS + SOURCE_BUCKETS) as usize;
        tables.firewall.limited = vec![Memory::default(); buckets];
        tables
    }

    fn is_over(tables: &HostTables, source: u32, now: u64) -> bool {
        is_source_over::<V4, HostTables>(tables, &LIMIT, source, now)
    }

    fn bucket_of(tables: &HostTables, source: u32) -> u32 {
        source_hash::<V4>(&tables.settings, &LIMIT, source) as u32 & (SOURCE_BUCKETS - 1)
    }

    /// Other sources that have the same places.
    fn neighbours(tables: &HostTables, source: u32) -> impl Iterator<Item = u32> {
        let bucket = bucket_of(tables, source);
        (source + 1..).filter(move |other| bucket_of(tables, *other) == bucket)
    }

    #[test]
    fn a_source_gets_its_burst_and_then_its_rate_also_when_the_clock_wraps() {
        for now in [NOW, TIME - SECOND, u64::MAX >> TIME_SHIFT] {
            let tables = tables();
            let passed = |now: u64| (0..100).filter(|_| !is_over(&tables, 9, now)).count();
            assert_eq!(passed(now), 5);
            assert_eq!((passed(now + SECOND), passed(now + 2 * SECOND)), (2, 2));
            assert_eq!(passed(now + 60 * SECOND), 5);
        }
    }

    #[test]
    fn a_flood_from_other_sources_frees_nobody_from_the_limit_and_none_of_them_is_refused() {
        let tables = tables();
        assert_eq!((0..100).filter(|_| is_over(&tables, 9, NOW)).count(), 95);
        for other in neighbours(&tables, 9).take(1_000) {
            assert!(!is_over(&tables, other, NOW));
            assert!(is_over(&tables, 9, NOW));
        }
    }

    #[test]
    fn who_has_all_tokens_back_makes_room_and_loses_nothing() {
        let tables = tables();
        let all: Vec<u32> = neighbours(&tables, 9).take(8).collect();
        for source in &all {
            assert!((0..5).all(|_| !is_over(&tables, *source, NOW)));
            assert!(is_over(&tables, *source, NOW));
        }
        // One in their midst, later: they all have their tokens back, as it has.
        let later = NOW + 60 * SECOND;
        assert!((0..5).all(|_| !is_over(&tables, 9, later)));
        assert!(is_over(&tables, 9, later));
        for source in &all {
            assert!(!is_over(&tables, *source, later));
        }
    }
}
