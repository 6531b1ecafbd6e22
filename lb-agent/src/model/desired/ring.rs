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

/// Sizes of rings: the greatest primes below powers of four, and the Maglev paper's 65,537. The steps are
/// coarse since a ring of another size has nothing in common with the one before.
const SIZES: [u32; 8] = [61, 251, 1_021, 4_093, 16_381, 65_537, 262_139, 1_048_573];
/// What a ring has unless its members are many, or all rings together are too large.
const USUAL: u64 = 65_537;
/// Slots that each of many members has. When any of 198 is removed from the configuration, at most 0.8% of the others'
/// slots move without need; with 163 slots each it were up to 2.5%, with 40 up to 5.2%, with ten or four up to 20%.
const SLOTS_EACH: u64 = 330;
/// Slots that each member has where rings are made smaller for want of room.
const LEAST_EACH: u64 = 4;
/// The largest ring.
pub(super) const NO_CAP: u32 = 1_048_573;

const FREE: u32 = u32::MAX;

/// The size of a ring for so many members, of which some may not serve now. It is no larger than the cap,
/// unless members are too many for it.
pub(super) fn size(n_members: usize, cap: u32) -> u32 {
    let n_members = u64::try_from(n_members).unwrap_or(u64::MAX);
    let at_least = |wanted: u64| {
        let fits = SIZES.into_iter().find(|size| u64::from(*size) >= wanted);
        fits.unwrap_or(NO_CAP)
    };
    let least = at_least(n_members.saturating_mul(LEAST_EACH));
    at_least(n_members.saturating_mul(SLOTS_EACH).max(USUAL)).min(least.max(cap))
}

/// All caps, the largest first.
pub(super) fn caps() -> impl Iterator<Item = u32> {
    SIZES.into_iter().rev()
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
    // All have a turn in the first round, and so a slot, however light they are.
    for walk in &mut *walks {
        walk.credit = heaviest - walk.weight;
    }
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
    at: usize,
    step: usize,
    /// Its slots, in the order in which it took them.
    taken: Vec<usize>,
}

impl Walk {
    fn new(member: &Member, size: u32) -> Self {
        let (words, port, family) = layout::endpoint(member.address);
        let begin = (u64::from(family) << 16) | u64::from(port);
        let hash = words.into_iter().fold(mix(begin), |hash, word| mix(hash ^ u64::from(word)));
        let below = |hash: u64, bound: u32| {
            usize::try_from(hash % u64::from(bound.max(1))).unwrap_or_default()
        };
        let step = 1 + below(mix(!hash), size.saturating_sub(1));
        let (at, Member { weight, percent, .. }) = (below(hash, size), *member);
        Self { name: 0, weight, percent, credit: 0, at, step, taken: Vec::new() }
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
        let size = ring.len();
        for _ in 0..size {
            let here = self.at;
            let next = here + self.step;
            self.at = if next >= size { next - size } else { next };
            if let Some(slot) = ring.get_mut(here)
                && *slot == FREE
            {
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
        self.percent > 0
    }

    fn rename(&mut self, name: u32, ring: &mut [u32]) {
        self.name = name;
        write(ring, &self.taken, name);
    }
}

fn write(ring: &mut [u32], slots: &[usize], name: u32) {
    for slot in slots {
        if let Some(slot) = ring.get_mut(*slot) {
            *slot = name;
        }
    }
}

#[cfg(test)]
mod tests;
