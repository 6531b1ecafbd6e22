//! How many flows sources have open, for rules that limit them.
//!
//! The packet path sees a flow begin and, if FINs or a RST pass here, end. What it does not see, such as a flow that is
//! idle for too long, a sweep of the flow table puts right: its count takes the place of what was counted here. A source
//! has a word that is found as that of a token bucket is; if all that could be its own are in use, it takes that of the
//! source with the fewest flows.

use lb_common::cell::State;
use lb_common::layout::limit::{OPEN_BITS, SOURCE_BUCKETS, SOURCE_MASKS};
use lb_common::layout::{Bucket, CELLS_PER_BUCKET, HashKey};

use super::Maps;
use crate::family::Family;
use crate::flight::{Flight, Next};
use crate::flow::Tuple;
use crate::packet::{Frame, Packet};
use crate::tables::{Entry, Tables};
use crate::verifier::rolled;
use crate::{World, cookie};

/// How often a word is tried to be changed; other CPUs may be quicker each time.
const ATTEMPTS: usize = 4;

/// The bits of a word that are a number of flows.
const FLOWS: u64 = (1 << OPEN_BITS) - 1;

/// Notes that a flow of a source begins, or ends, where somebody asks.
#[inline(never)]
pub(crate) fn note<A: Family, T: Tables>(world: &World<'_, T>, source: &A::Address, begins: bool) {
    if let Some(hash) = hash_in::<A, T>(world.tables, &world.settings.hash_key, *source) {
        world.tables.change_open(hash, begins);
    }
}

/// Whether the packet is about to open a flow that its source has not open yet. A SYN that a cookie answers counts too:
/// its client would take the answer for a connection.
#[inline(always)]
pub(super) fn opens<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &mut Flight<A>,
) -> bool {
    let state = flight.found.cell.state();
    match flight.next {
        Next::TO_ANY_BACKEND => {
            matches!(state, None | Some(State::Closing)) && !flight.transport.closes()
        }
        // The client takes its port again.
        Next::TO_BACKEND => {
            state == Some(State::Closing)
                && flight.asks_cookies != 0
                && cookie::find_cookie(packet, world, flight)
        }
        _ => false,
    }
}

/// How many flows a source has.
#[inline(always)]
pub(super) fn flows<A: Family, T: Tables>(tables: &T, source: A::Address) -> u64 {
    let Some(settings) = tables.settings() else { return 0 };
    let Some(hash) = hash_in::<A, T>(tables, &settings.hash_key, source) else { return 0 };
    let Some(bucket) = tables.source_flows(bucket_of(hash)) else { return 0 };
    let slot = tables.open_place(bucket_of(hash), tag_of(hash));
    of_source(bucket.load(slot), tag_of(hash))
}

/// Adds a flow to those of the source with this hash, or takes one away.
#[inline(always)]
pub fn change<T: Tables>(tables: &T, hash: u64, begins: bool) {
    let Some(bucket) = tables.source_flows(bucket_of(hash)) else { return };
    let tag = tag_of(hash);
    for _ in rolled(ATTEMPTS) {
        let slot = tables.open_place(bucket_of(hash), tag);
        let old = bucket.load(slot);
        let flows = of_source(old, tag);
        let flows = if begins { flows + 1 } else { flows.wrapping_sub(1) };
        // There was none: a sweep has missed the flow, and so does nobody miss it.
        if flows > FLOWS || tables.swap(bucket, slot, old, word(tag, flows)) {
            return;
        }
    }
}

/// The hash of a source, where somebody asks about sources.
#[inline(always)]
fn hash_in<A: Family, T: Tables>(tables: &T, key: &HashKey, source: A::Address) -> Option<u64> {
    let masks = tables.source_flows(SOURCE_MASKS)?;
    let masks = [masks.load(0), masks.load(1), masks.load(2)];
    (masks[0] != 0).then(|| hash::<A>(key, masks, source))
}

/// The hash that names the place of a source; nobody without the key can tell two that share one.
#[inline(always)]
pub fn hash<A: Family>(key: &HashKey, masks: [u64; 3], source: A::Address) -> u64 {
    let [a, b, c, d] = A::to_words(source);
    let high = |mask: u64| (mask >> 32) as u32;
    let mask = if A::NUMBER == 4 {
        [masks[0] as u32, 0, 0, 0]
    } else {
        [masks[1] as u32, high(masks[1]), masks[2] as u32, high(masks[2])]
    };
    let masked = [a & mask[0], b & mask[1], c & mask[2], d & mask[3]];
    let source = A::from_words(&masked);
    let name = Tuple::<A> {
        source,
        destination: source,
        source_port: 0,
        destination_port: 0,
        protocol: 0,
    };
    name.hash(key)
}

/// The bucket of a source with this hash.
#[inline(always)]
pub fn bucket_of(hash: u64) -> u32 {
    hash as u32 & (SOURCE_BUCKETS - 1)
}

/// The tag that tells it from others there.
#[inline(always)]
pub fn tag_of(hash: u64) -> u64 {
    hash >> OPEN_BITS
}

/// The word of a source with so many flows; of one without any, nobody's.
#[inline(always)]
pub fn word(tag: u64, flows: u64) -> u64 {
    if flows == 0 { 0 } else { (tag << OPEN_BITS) | flows }
}

/// How many flows a word tells of.
#[inline(always)]
pub fn flows_of(word: u64) -> u64 {
    word & FLOWS
}

/// How many of them are those of the source with this tag.
#[inline(always)]
pub fn of_source(word: u64, tag: u64) -> u64 {
    if word >> OPEN_BITS == tag { flows_of(word) } else { 0 }
}

/// The place of the source with this tag in a bucket; see [`place`].
#[inline(always)]
pub fn place_in<M: Maps>(maps: &M, bucket: u32, tag: u64) -> usize {
    maps.source_flows(bucket).map_or(0, |bucket| place(bucket, tag))
}

/// The place of the source with this tag: its own, or else that of the source with the fewest flows.
#[inline(always)]
pub fn place(bucket: Entry<Bucket>, tag: u64) -> usize {
    let mut lowest = u64::MAX;
    for slot in rolled(CELLS_PER_BUCKET) {
        let word = bucket.load(slot);
        let rank = if of_source(word, tag) != 0 { 0 } else { flows_of(word) + 1 };
        lowest = lowest.min((rank << 3) | slot as u64);
    }
    lowest as usize & 7
}

#[cfg(test)]
mod tests {
    use core::cell::Cell as Memory;

    use super::*;
    use crate::host::HostTables;
    use crate::v4::V4;
    use crate::v6::V6;

    const KEY: HashKey = [1, 2, 3, 4, 5];

    /// One bucket, so that all sources share it.
    fn tables() -> HostTables {
        let mut tables = HostTables::new(64, [1, 2]);
        tables.firewall.source_flows = vec![Memory::default()];
        tables
    }

    /// The hash of a source with this tag.
    fn source(tag: u64) -> u64 {
        tag << OPEN_BITS
    }

    fn flows(tables: &HostTables, tag: u64) -> u64 {
        let words = tables.firewall.source_flows[0].get();
        words.iter().map(|word| of_source(*word, tag)).max().unwrap()
    }

    #[test]
    fn a_source_has_the_flows_that_began_and_have_not_ended() {
        let tables = tables();
        (0..9).for_each(|_| change(&tables, source(0), true));
        (0..3).for_each(|_| change(&tables, source(7), true));
        (0..4).for_each(|_| change(&tables, source(0), false));
        assert_eq!((flows(&tables, 0), flows(&tables, 7)), (5, 3));
        (0..9).for_each(|_| change(&tables, source(7), false));
        assert_eq!((flows(&tables, 0), flows(&tables, 7)), (5, 0), "it had three");
    }

    #[test]
    fn who_has_most_flows_keeps_the_place() {
        let tables = tables();
        for tag in 0..CELLS_PER_BUCKET as u64 {
            (0..tag + 2).for_each(|_| change(&tables, source(tag), true));
        }
        for stranger in 100..200 {
            change(&tables, source(stranger), true);
        }
        assert_eq!((flows(&tables, 0), flows(&tables, 199)), (0, 1));
        assert!((1..8).all(|tag| flows(&tables, tag) == tag + 2));
    }

    #[test]
    fn sources_of_a_prefix_are_one() {
        let masks = [u64::from(u32::from_ne_bytes([255, 255, 255, 0])), u64::MAX, 0];
        let v4 = |address: [u8; 4]| hash::<V4>(&KEY, masks, u32::from_ne_bytes(address));
        assert_eq!(v4([10, 1, 2, 3]), v4([10, 1, 2, 9]));
        assert_ne!(v4([10, 1, 2, 3]), v4([10, 1, 3, 3]));
        let v6 = |address| hash::<V6>(&KEY, masks, address);
        assert_eq!(v6([1, 2, 3, 4]), v6([1, 2, 9, 9]));
        assert_ne!(v6([1, 2, 3, 4]), v6([1, 3, 3, 4]));
    }
}
