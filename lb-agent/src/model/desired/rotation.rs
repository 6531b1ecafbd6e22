//! Smooth weighted round robin: one cycle in which each member has as many turns as its weight says.
//!
//! Turns are spread: of weights 5, 1 and 1 comes `a a b a c a a`, not `a a a a a b c`.

use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Longest cycle in which all weights are exact, unless its members are many.
const EXACT: u64 = 4_096;
/// Longest cycle in which each share is to be near in proportion to itself; beyond, in proportion to the cycle.
const LONGEST: u64 = 4 * EXACT;
/// Longest cycle where many members are so light that one turn each is too much: a quarter of what all listeners may
/// have together. It is enough for any 16,000 members.
const LONGEST_OF_LIGHT: u64 = 128 * EXACT;
/// A cycle for many members is at least so many times as long as they are many.
const TURNS_EACH: u64 = 4;
/// The part by which a share may be missed before a longer cycle is tried: one in a thousand.
const MISSED: u128 = 1_000;

/// One cycle over members of these weights, all above zero, as their indexes.
pub(super) fn cycle(weights: &[u32]) -> Vec<u32> {
    let turns = turns(weights);
    let length: u64 = turns.iter().sum();
    let mut peers: BTreeMap<u64, Peers> = BTreeMap::new();
    for (index, turns) in (0..).zip(turns) {
        peers.entry(turns).or_insert(Peers { turns, members: Vec::new(), taken: 0 }).add(index);
    }
    let mut peers: Vec<Peers> = peers.into_values().collect();
    (1..=length)
        .filter_map(|step| {
            let richest = peers.iter_mut().max_by_key(|peers| peers.claim(step, length))?;
            let next = richest.next();
            richest.taken += 1;
            next
        })
        .collect()
}

/// An upper bound of the cycle's length over any of these members, where weights may also be `steps` parts
/// of themselves.
pub(super) fn longest(weights: &[u32], steps: u64) -> u64 {
    let lowest = lowest_terms(weights);
    let heaviest = lowest.iter().max().copied().unwrap_or_default().saturating_mul(steps);
    let mut length = usual(lowest.len()).max(LONGEST);
    while length < LONGEST_OF_LIGHT && !is_enough(length, lowest.len(), heaviest) {
        length *= 2;
    }
    lowest.iter().sum::<u64>().saturating_mul(steps).min(length)
}

/// Whether a cycle is near any weights of so many members up to the heaviest.
///
/// The worst are all alone with the weight 1 but some heavy ones: of `length` turns they have one each instead of
/// length / sum, and what is too much is taken from the heavy ones by their weights. That is the most from the heaviest
/// where the sum is twice the length, or its weight if that is more. Rounding may take one turn besides.
fn is_enough(length: u64, n_members: usize, heaviest: u64) -> bool {
    let [length, heaviest] = [length, heaviest].map(u128::from);
    let n_light = u128::try_from(n_members).unwrap_or(u128::MAX);
    let sum = (2 * length).max(heaviest);
    let of_heavy = sum.saturating_sub(n_light);
    let missed = n_light * (sum - length) * heaviest + sum * of_heavy;
    missed * MISSED <= length * sum * of_heavy
}

/// Members with the same number of turns, who take them one after the other.
struct Peers {
    turns: u64,
    members: Vec<u32>,
    taken: u64,
}

impl Peers {
    fn add(&mut self, member: u32) {
        self.members.push(member);
    }

    fn n_members(&self) -> u64 {
        u64::try_from(self.members.len()).unwrap_or(u64::MAX).max(1)
    }

    fn next(&self) -> Option<u32> {
        let place = usize::try_from(self.taken % self.n_members()).ok()?;
        self.members.get(place).copied()
    }

    /// The credit of the member whose turn it is: what was earned in `step` steps, less what was spent. Of
    /// two with the same credit comes the first.
    fn claim(&self, step: u64, length: u64) -> (i128, Reverse<Option<u32>>) {
        let spent = i128::from(self.taken / self.n_members()) * i128::from(length);
        (i128::from(step) * i128::from(self.turns) - spent, Reverse(self.next()))
    }
}

/// Turns of each member in a cycle: the weights in lowest terms, or near them where that were too long.
fn turns(weights: &[u32]) -> Vec<u64> {
    let lowest = lowest_terms(weights);
    let sum: u64 = lowest.iter().sum();
    let mut length = usual(lowest.len());
    loop {
        if sum <= length {
            return lowest;
        }
        let scaled = apportioned(&lowest, sum, length);
        let goes_on = if length < LONGEST {
            !is_near(&scaled, &lowest, |share, _| share)
        } else {
            length < LONGEST_OF_LIGHT && !is_near(&scaled, &lowest, |_, cycle| cycle)
        };
        if !goes_on {
            return scaled;
        }
        length *= 2;
    }
}

/// The shortest cycle that is tried.
fn usual(n_members: usize) -> u64 {
    let n_members = u64::try_from(n_members).unwrap_or(u64::MAX);
    let wanted = n_members.saturating_mul(TURNS_EACH);
    wanted.checked_next_power_of_two().unwrap_or(u64::MAX).max(EXACT)
}

/// The weights divided by what divides all of them.
pub(super) fn lowest_terms(weights: &[u32]) -> Vec<u64> {
    let weights = weights.iter().map(|weight| u64::from(*weight));
    let divisor = weights.clone().fold(0, greatest_common_divisor).max(1);
    weights.map(|weight| weight / divisor).collect()
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// `length` turns: one for each member that is too light for one, and the others by the largest remainders.
fn apportioned(weights: &[u64], sum: u64, length: u64) -> Vec<u64> {
    let mut turns = vec![0; weights.len()];
    let (mut left, mut of) = (length, sum);
    loop {
        let before = (left, of);
        for (turns, weight) in turns.iter_mut().zip(weights) {
            if *turns == 0 && weight * before.0 < before.1 {
                *turns = 1;
                (left, of) = (left - 1, of - weight);
            }
        }
        if (left, of) == before {
            break;
        }
    }
    let heavy = turns.iter_mut().zip(weights).filter(|(turns, _)| **turns == 0);
    let mut heavy: Vec<_> = heavy.collect();
    for (turns, weight) in &mut heavy {
        **turns = *weight * left / of;
    }
    let rest = left - heavy.iter().map(|(turns, _)| **turns).sum::<u64>();
    heavy.sort_by_key(|(_, weight)| Reverse(*weight * left % of));
    for (turns, _) in heavy.into_iter().take(usize::try_from(rest).unwrap_or(0)) {
        *turns += 1;
    }
    turns
}

/// Whether every share is that of the weight, to within a thousandth of the share or of the whole cycle.
fn is_near(turns: &[u64], weights: &[u64], of: impl Fn(u128, u128) -> u128) -> bool {
    let sum = |all: &[u64]| all.iter().map(|one| u128::from(*one)).sum::<u128>();
    let (length, sum) = (sum(turns), sum(weights));
    turns.iter().zip(weights).all(|(turns, weight)| {
        let (has, wanted) = (u128::from(*turns) * sum, u128::from(*weight) * length);
        has.abs_diff(wanted) * MISSED <= of(wanted, length * sum)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(cycle: &[u32], n_members: usize) -> Vec<u64> {
        let mut counts = vec![0; n_members];
        for member in cycle {
            counts[usize::try_from(*member).unwrap()] += 1;
        }
        counts
    }

    fn sum(weights: &[u32]) -> u64 {
        weights.iter().map(|weight| u64::from(*weight)).sum()
    }

    fn length(cycle: &[u32]) -> u64 {
        cycle.len().try_into().unwrap()
    }

    #[test]
    fn turns_are_spread_over_the_cycle() {
        assert_eq!(cycle(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(cycle(&[200, 100]), [0, 1, 0]);
        assert_eq!(cycle(&[7, 7, 7]), [0, 1, 2]);
    }

    #[test]
    fn a_cycle_that_were_too_long_keeps_everybody_in() {
        let cycle = cycle(&[65_535, 1, 2]);
        let counts = counts(&cycle, 3);
        assert_eq!((length(&cycle), counts[1], counts[2]), (LONGEST, 1, 1));
    }

    #[test]
    fn weights_that_sum_to_the_longest_exact_cycle_and_a_little_less_are_exact() {
        for sum in 4_001..=4_096 {
            let weights = [1, 2, 7, 1_000, sum - 1_010];
            let counts = counts(&cycle(&weights), weights.len());
            assert_eq!(counts, weights.map(u64::from), "{sum}");
        }
    }

    /// Looks at each share, which may be missed by a thousandth of all.
    fn expect_near(weights: &[u32]) {
        let turns = turns(weights);
        let (length, sum) = (turns.iter().sum::<u64>(), sum(weights));
        assert!(length <= longest(weights, 1));
        for (turns, weight) in turns.into_iter().zip(weights) {
            let (has, wanted) = (turns * sum, u64::from(*weight) * length);
            let is_near = turns >= 1 && has.abs_diff(wanted) * 1_000 <= sum * length;
            assert!(is_near, "{turns} of {length} for {weight} of {sum}");
        }
    }

    #[test]
    fn thousands_of_light_members_take_less_than_a_thousandth_from_each_heavy_one() {
        for n_light in [100, 300, 1_000, 5_000, 15_900] {
            for (n_heavy, heavy) in [(0, 1), (1, 30_000), (2, 65_535), (30, 9_000), (99, 65_535)] {
                let heavy = std::iter::repeat_n(heavy, n_heavy);
                let light = std::iter::repeat_n(1, n_light);
                expect_near(&light.chain([65_535]).chain(heavy).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn many_light_members_take_less_than_a_thousandth_of_the_cycle_from_a_heavy_one() {
        for n_light in [15, 16, 40, 60] {
            let weights: Vec<u32> = std::iter::repeat_n(1, n_light).chain([65_535]).collect();
            let cycle = cycle(&weights);
            assert!(length(&cycle) <= longest(&weights, 1));
            for (count, weight) in counts(&cycle, weights.len()).into_iter().zip(&weights) {
                let (has, wanted) = (count * sum(&weights), u64::from(*weight) * length(&cycle));
                let whole = sum(&weights) * length(&cycle);
                assert!(has.abs_diff(wanted) * 1_000 <= whole, "{n_light}: {count} for {weight}");
            }
        }
    }

    #[test]
    fn many_thousand_members_of_all_weights_are_ordered_soon_and_fairly() {
        let weights: Vec<u32> = (1..=20_000).collect();
        let cycle = cycle(&weights);
        let counts = counts(&cycle, weights.len());
        let wanted = |weight: u32| u64::from(weight) * length(&cycle) / sum(&weights);
        assert!(length(&cycle) <= longest(&weights, 1));
        let missed = counts.iter().zip(&weights).map(|(n, weight)| n.abs_diff(wanted(*weight)));
        assert!(missed.max().unwrap() <= 1);
    }

    proptest! {
        #[test]
        fn shares_are_exact_over_a_cycle(weights in prop::collection::vec(1u32..=100, 1..=40)) {
            let cycle = cycle(&weights);
            prop_assert!(length(&cycle) <= sum(&weights).min(longest(&weights, 1)));
            for (count, weight) in counts(&cycle, weights.len()).into_iter().zip(&weights) {
                prop_assert_eq!(count * sum(&weights), u64::from(*weight) * length(&cycle));
            }
        }

        #[test]
        fn at_any_moment_everybody_had_the_turns_of_its_weight(
            weights in prop::collection::vec(1u32..=9, 1..=12),
        ) {
            let cycle = cycle(&weights);
            for n in 0..cycle.len() {
                let counts = counts(&cycle[..n], weights.len());
                for (count, weight) in counts.into_iter().zip(&weights) {
                    let wanted = u64::try_from(n).unwrap() * u64::from(*weight) / sum(&weights);
                    prop_assert!(count.abs_diff(wanted) <= 2, "{n} turns, {count} for {weight}");
                }
            }
        }

        #[test]
        fn a_scaled_cycle_misses_no_share_by_a_thousandth(
            weights in prop::collection::vec(1u32..=65_535, 2..=40),
        ) {
            let cycle = cycle(&weights);
            prop_assert!(length(&cycle) <= longest(&weights, 1));
            for (count, weight) in counts(&cycle, weights.len()).into_iter().zip(&weights) {
                // In units of one in 65,536 of all flows.
                let has = count * 65_536 / length(&cycle);
                let wanted = u64::from(*weight) * 65_536 / sum(&weights);
                prop_assert!(count >= 1 && has.abs_diff(wanted) <= 65, "{has} for {wanted}");
            }
        }

        #[test]
        fn thousands_of_members_are_exact_where_their_weights_sum_to_little(
            weights in prop::collection::vec(1u32..=2, 1_000..=2_048),
        ) {
            prop_assert_eq!(turns(&weights), lowest_terms(&weights));
        }

        #[test]
        fn of_thousands_of_members_no_share_is_missed_by_a_thousandth(
            mut weights in prop::collection::vec(1u32..=50, 1..=3_000),
            heavy in prop::collection::vec(1u32..=65_535, 1..=60),
        ) {
            weights.extend(heavy);
            expect_near(&weights);
        }

        #[test]
        fn of_large_weights_each_share_is_met_to_within_a_thousandth_of_itself(
            weights in prop::collection::vec(20_000u32..=65_535, 2..=8),
        ) {
            let cycle = cycle(&weights);
            for (count, weight) in counts(&cycle, weights.len()).into_iter().zip(&weights) {
                let (has, wanted) = (count * sum(&weights), u64::from(*weight) * length(&cycle));
                prop_assert!(has.abs_diff(wanted) * 1_000 <= wanted, "{has} for {wanted}");
            }
        }
    }
}
