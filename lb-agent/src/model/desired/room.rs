//! How large rings may be: the slots of all listeners fit into half of the kernel's, for a rotation that changes is
//! written beside the old one.
//!
//! Where they would not, every ring is halved until they do. That depends on the configuration alone, so directors
//! with the same one have the same rings.

use lb_common::MAX_SLOTS;

use super::ring::{self, MOST_HALVINGS};
use super::rotation;
use crate::model::config::Scheduler;
use crate::model::paces;

/// Slots that fit.
pub const MOST_TURNS: u32 = MAX_SLOTS / 2;

/// What the listeners of a configuration need.
#[derive(Default)]
pub(super) struct Room {
    cycles: u64,
    /// The weights of the members of each ring, and how many listeners have one like it.
    rings: Vec<(Vec<u32>, u64)>,
}

impl Room {
    /// Adds listeners that are alike, for backends of these weights. `ramps`: a weight may be a part of itself.
    pub(super) fn add(
        &mut self,
        scheduler: Scheduler,
        weights: Vec<u32>,
        ramps: bool,
        n_listeners: u64,
    ) {
        if scheduler.is_by_hash() {
            self.rings.push((weights, n_listeners));
        } else {
            self.cycles += n_listeners * longest_cycle(&weights, ramps);
        }
    }

    /// How often rings are halved.
    pub(super) fn halvings(&self) -> u32 {
        let fits = |halvings: &u32| self.turns(*halvings) <= u64::from(MOST_TURNS);
        (0..MOST_HALVINGS).find(fits).unwrap_or(MOST_HALVINGS)
    }

    fn turns(&self, halvings: u32) -> u64 {
        let rings = self.rings.iter();
        let rings = rings.map(|(weights, n)| n * u64::from(ring::size(weights, halvings)));
        self.cycles + rings.sum::<u64>()
    }
}

/// An upper bound of the slots that a listener with backends of these weights takes at least.
pub fn least_turns(scheduler: Scheduler, weights: &[u32], ramps: bool) -> u64 {
    let weights = counting(scheduler, weights);
    if scheduler.is_by_hash() {
        ring::size(&weights, MOST_HALVINGS).into()
    } else {
        longest_cycle(&weights, ramps)
    }
}

/// The weights that count.
fn counting(scheduler: Scheduler, weights: &[u32]) -> Vec<u32> {
    let serving = weights.iter().copied().filter(|weight| *weight > 0);
    serving.map(|weight| if scheduler.minds_weights() { weight } else { 1 }).collect()
}

fn longest_cycle(weights: &[u32], ramps: bool) -> u64 {
    rotation::longest(weights, if ramps { paces::PARTS } else { 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halvings(services: u64) -> u32 {
        let mut room = Room::default();
        room.add(Scheduler::RoundRobin, vec![1; 100], false, 1);
        // 509 slots each.
        room.add(Scheduler::Maglev, vec![1; 4], false, services);
        room.halvings()
    }

    #[test]
    fn rings_are_halved_only_where_all_would_not_fit() {
        let fit = (u64::from(MOST_TURNS) - 100) / 509;
        assert_eq!([halvings(fit), halvings(fit + 1)], [0, 1]);
        assert_eq!(halvings(20_000), 3);
    }

    #[test]
    fn more_than_fits_however_small_has_the_smallest_rings() {
        assert_eq!(halvings(1_000_000), MOST_HALVINGS);
    }

    #[test]
    fn weights_count_for_those_who_mind_them() {
        assert_eq!(least_turns(Scheduler::LeastConnections, &[3, 0, 5], false), 2);
        assert_eq!(least_turns(Scheduler::WeightedRoundRobin, &[3, 0, 5], false), 8);
        assert_eq!(least_turns(Scheduler::Maglev, &[1; 10], false), 61);
    }
}
