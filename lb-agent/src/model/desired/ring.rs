//! A ring of slots on which a hash finds the same member as before, whoever else came or went.
//!
//! Maglev's population (Eisenbud et al., NSDI 2016, section 3.4), with weights: each member walks over all
//! slots in an order of its own, and in turn they take the next that is free. The size is a prime, so that
//! every walk reaches every slot. All configured members populate the ring, and what is then taken from
//! those that do not serve, or not fully, is populated again by those that do: so no other slot moves when
//! a member fails, is drained or comes back.

use std::net::SocketAddr;

use lb_common::layout;
use lb_ebpf::family::mix;

/// The greatest primes below powers of two, and the Maglev paper's 65,537.
const SIZES: [u32; 17] = [
    31, 61, 127, 251, 509, 1_021, 2_039, 4_093, 8_191, 16_381, 32_749, 65_537, 131_071, 262_139,
    524_287, 1_048_573, 2_097_143,
];
/// Slots that each member has at least.
const SLOTS_EACH: u64 = 100;
/// Each of many members has more: when one of them is removed from the configuration, the part of the others'
/// slots that moves without need was measured with 100 members as 2.3% for 16,381 slots, 0.9% for 32,749
/// and 0.6% for 65,537. Few members move many slots with need.
const SLOTS_EACH_OF_MANY: u64 = 400;
const MANY: u64 = 50;
/// Beyond this size, members of little weight get fewer.
const ENOUGH: u64 = 65_537;
/// Slots that each member keeps, on average, where a ring is made smaller for want of room.
const LEAST_EACH: u64 = 4;
/// More often no ring is halved: the largest is of the least size by then.
pub(super) const MOST_HALVINGS: u32 = 16;

const FREE: u32 = u32::MAX;

/// The size of a ring for members of these weights, of which some may not serve now; halved so many times.
pub(super) fn size(weights: &[u32], halvings: u32) -> u32 {
    let weights = weights.iter().filter(|weight| **weight > 0).map(|weight| u64::from(*weight));
    let n_members = weights.clone().map(|_| 1).sum::<u64>();
    let least = weights.clone().min().unwrap_or(1);
    let for_the_least = SLOTS_EACH * weights.sum::<u64>() / least;
    let for_many = if n_members < MANY { 0 } else { SLOTS_EACH_OF_MANY * n_members };
    let wanted = (SLOTS_EACH * n_members).max(for_the_least.max(for_many).min(ENOUGH));
    let wanted = (wanted >> halvings).max(LEAST_EACH * n_members).min(wanted);
    let fits = SIZES.into_iter().find(|size| u64::from(*size) >= wanted);
    fits.or(SIZES.last().copied()).unwrap_or(FREE)
}

/// A configured member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Member {
    /// Its server.
    pub(super) address: SocketAddr,
    /// Above zero.
    pub(super) weight: u32,
    /// The part of its weight that counts now; 0: it does not serve.
    pub(super) percent: u32,
}

/// The member in each slot of a ring, as an index of those that serve; empty if there is none.
pub(super) fn ring(members: &[Member], size: u32) -> Vec<u32> {
    let mut ring = vec![FREE; usize::try_from(size).unwrap_or_default()];
    let mut walks: Vec<_> = members.iter().map(|member| Walk::new(member, size)).collect();
    populate(&mut ring, &mut walks);
    walks.retain_mut(|walk| walk.leave(&mut ring));
    for (place, walk) in (0..).zip(&mut walks) {
        walk.rename(place, &mut ring);
    }
    populate(&mut ring, &mut walks);
    ring.retain(|member| *member != FREE);
    ring
}

/// Gives all free slots to the members.
fn populate(ring: &mut [u32], walks: &mut [Walk]) {
    let mut n_free = ring.iter().filter(|slot| **slot == FREE).count();
    let heaviest = walks.iter().map(|walk| walk.weight).max().unwrap_or_default();
    while n_free > 0 && heaviest > 0 {
        for walk in &mut *walks {
            if n_free > 0 && walk.earns(heaviest) {
                walk.take(ring);
                n_free -= 1;
            }
        }
    }
}

/// A member's way over the slots.
struct Walk {
    name: u32,
    weight: u32,
    percent: u32,
    credit: u32,
    at: u32,
    step: u32,
    size: u32,
    /// Its slots, in the order in which it took them.
    taken: Vec<u32>,
}

impl Walk {
    fn new(member: &Member, size: u32) -> Self {
        let (words, port, family) = layout::endpoint(member.address);
        let begin = (u64::from(family) << 16) | u64::from(port);
        let hash = words.into_iter().fold(mix(begin), |hash, word| mix(hash ^ u64::from(word)));
        let below = |hash: u64, bound: u32| {
            u32::try_from(hash % u64::from(bound.max(1))).unwrap_or_default()
        };
        let step = 1 + below(mix(!hash), size.saturating_sub(1));
        let (at, Member { weight, percent, .. }) = (below(hash, size), *member);
        Self { name: 0, weight, percent, credit: 0, at, step, size, taken: Vec::new() }
    }

    /// Whether it is this member's turn: the heaviest has one in every round.
    fn earns(&mut self, heaviest: u32) -> bool {
        let credit = self.credit + self.weight;
        let is_due = credit >= heaviest;
        self.credit = if is_due { credit - heaviest } else { credit };
        is_due
    }

    /// Takes the next free slot of the walk; there is one.
    fn take(&mut self, ring: &mut [u32]) {
        for _ in 0..self.size {
            let here = self.at;
            let next = self.at + self.step;
            self.at = if next >= self.size { next - self.size } else { next };
            let slot = usize::try_from(here).ok().and_then(|at| ring.get_mut(at));
            if let Some(slot) = slot.filter(|slot| **slot == FREE) {
                *slot = self.name;
                self.taken.push(here);
                return;
            }
        }
    }

    /// Gives back the slots beyond the member's present part; says whether it serves at all.
    fn leave(&mut self, ring: &mut [u32]) -> bool {
        let of_all = u64::try_from(self.taken.len()).unwrap_or(u64::MAX);
        let kept = (of_all * u64::from(self.percent)).div_ceil(100);
        let given = self.taken.split_off(usize::try_from(kept).unwrap_or_default());
        write(ring, &given, FREE);
        self.weight *= self.percent;
        self.credit = 0;
        self.percent > 0
    }

    fn rename(&mut self, name: u32, ring: &mut [u32]) {
        self.name = name;
        write(ring, &self.taken, name);
    }
}

fn write(ring: &mut [u32], slots: &[u32], name: u32) {
    for slot in slots.iter().filter_map(|slot| usize::try_from(*slot).ok()) {
        if let Some(slot) = ring.get_mut(slot) {
            *slot = name;
        }
    }
}

#[cfg(test)]
mod tests;
