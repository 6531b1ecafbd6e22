//! How large rings may be: the slots of all listeners fit into half of the kernel's, for a rotation that changes is
//! written beside the old one.
//!
//! Where they would not, the largest rings are made as small as those of the next size, until all fit. That depends
//! on the configuration alone, so directors with the same one have the same rings.

use lb_common::MAX_SLOTS;

use super::members;
use super::ring::{self, NO_CAP};
use super::rotation;
use crate::model::config::{Scheduler, Service};
use crate::model::paces;

/// Slots that fit.
pub const MOST_TURNS: u32 = MAX_SLOTS / 2;

/// What the listeners of a configuration need.
#[derive(Default)]
struct Room {
    cycles: u64,
    /// The members of each ring, and how many listeners have one like it.
    rings: Vec<(usize, u64)>,
}

/// The largest ring that listeners of these services may have.
pub(super) fn cap<'a>(services: impl Iterator<Item = &'a Service>) -> u32 {
    let mut room = Room::default();
    services.for_each(|service| room.add(service));
    room.cap()
}

/// The services whose rings are smaller than their members ask for, and how large they are at most; none where
/// all fit.
pub fn cut(services: &[Service]) -> Option<(u32, Vec<&str>)> {
    let cap = cap(services.iter());
    let is_cut = |service: &&Service| {
        let sizes = |cap| by_family(service).map(|(weights, _)| ring::size(weights.len(), cap));
        service.scheduler.is_by_hash() && sizes(cap) != sizes(NO_CAP)
    };
    let names: Vec<&str> =
        services.iter().filter(is_cut).map(|service| service.name.as_str()).collect();
    (!names.is_empty()).then_some((cap, names))
}

/// The weights that count at IPv4 and at IPv6, and how many listen addresses are served by them.
fn by_family(service: &Service) -> [(Vec<u32>, u64); 2] {
    [true, false].map(|is_ipv4| {
        let alike = service.listen.iter().filter(|listen| listen.is_ipv4() == is_ipv4).count();
        let weights = members::weights(service, is_ipv4).collect();
        (weights, u64::try_from(alike).unwrap_or(u64::MAX))
    })
}

impl Room {
    fn add(&mut self, service: &Service) {
        for (weights, n_listeners) in by_family(service) {
            if service.scheduler.is_by_hash() {
                self.rings.push((weights.len(), n_listeners));
            } else {
                let ramps = service.slow_start.is_some();
                self.cycles += n_listeners * longest_cycle(&weights, ramps);
            }
        }
    }

    fn cap(&self) -> u32 {
        let fits = |cap: &u32| self.turns(*cap) <= u64::from(MOST_TURNS);
        ring::caps().find(fits).unwrap_or_default()
    }

    fn turns(&self, cap: u32) -> u64 {
        let rings = self.rings.iter();
        let rings = rings.map(|(n_members, n)| n * u64::from(ring::size(*n_members, cap)));
        self.cycles + rings.sum::<u64>()
    }
}

/// An upper bound of the slots that a listener with backends of these weights takes at least.
pub fn least_turns(scheduler: Scheduler, weights: &[u32], ramps: bool) -> u64 {
    let weights = counting(scheduler, weights);
    if scheduler.is_by_hash() {
        ring::size(weights.len(), 0).into()
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

    fn capped(n_rings: u64) -> u32 {
        let room = Room { cycles: 100, rings: vec![(4, n_rings), (500, 2)] };
        room.cap()
    }

    #[test]
    fn the_largest_rings_are_made_smaller_where_all_would_not_fit() {
        let many = (u64::from(MOST_TURNS) - 100 - 2 * 262_139) / 65_537;
        assert_eq!([capped(many), capped(many + 1)], [NO_CAP, 65_537]);
        let all = (u64::from(MOST_TURNS) - 100) / 65_537 - 2;
        assert_eq!([capped(all), capped(all + 1), capped(30_000)], [65_537, 16_381, 61]);
    }

    #[test]
    fn more_than_fits_however_small_has_the_smallest_rings() {
        assert_eq!(capped(1_000_000), 0);
    }

    #[test]
    fn weights_count_for_those_who_mind_them() {
        assert_eq!(least_turns(Scheduler::LeastConnections, &[3, 0, 5], false), 2);
        assert_eq!(least_turns(Scheduler::WeightedRoundRobin, &[3, 0, 5], false), 8);
        assert_eq!(least_turns(Scheduler::Maglev, &[1; 16], false), 251);
    }
}
