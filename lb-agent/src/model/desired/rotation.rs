//! Smooth weighted round robin: one cycle in which each member has as many turns as its weight says.
//!
//! Turns are spread: of weights 5, 1 and 1 comes `a a b a c a a`, not `a a a a a b c`.

/// Longest cycle that is not longer than its members are many.
pub(super) const LONGEST: u64 = 4_096;

/// One cycle over members with their weights, all above zero.
pub(super) fn weighted<T: Copy>(members: &[(T, u32)]) -> Vec<T> {
    let turns = turns(members.iter().map(|(_, weight)| u64::from(*weight)).collect());
    let length: u64 = turns.iter().sum();
    let mut credits: Vec<i128> = vec![0; members.len()];
    (0..length)
        .filter_map(|_| {
            for (credit, turns) in credits.iter_mut().zip(&turns) {
                *credit += i128::from(*turns);
            }
            let chosen = first_richest(&credits)?;
            *credits.get_mut(chosen)? -= i128::from(length);
            members.get(chosen).map(|(member, _)| *member)
        })
        .collect()
}

/// How long the cycle over members of these weights is, all above zero.
pub(in crate::model) fn length(weights: Vec<u64>) -> u64 {
    turns(weights).iter().sum()
}

fn first_richest(credits: &[i128]) -> Option<usize> {
    let (index, _) = credits.iter().enumerate().rev().max_by_key(|(_, credit)| **credit)?;
    Some(index)
}

/// Turns of each member in a cycle: the weights in lowest terms, scaled down where the cycle were too long.
fn turns(weights: Vec<u64>) -> Vec<u64> {
    let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
    let lowest: Vec<u64> = weights.into_iter().map(|weight| weight / divisor).collect();
    let length: u64 = lowest.iter().sum();
    if length <= LONGEST {
        return lowest;
    }
    let mut scaled: Vec<u64> =
        lowest.into_iter().map(|turns| (turns * LONGEST / length).max(1)).collect();
    let excess = scaled.iter().sum::<u64>().saturating_sub(LONGEST);
    for _ in 0..excess {
        if let Some(most) = scaled.iter_mut().max().filter(|most| **most > 1) {
            *most -= 1;
        }
    }
    scaled
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn count(cycle: &[usize], member: usize) -> u64 {
        cycle.iter().filter(|chosen| **chosen == member).count().try_into().unwrap()
    }

    fn length(cycle: &[usize]) -> u64 {
        cycle.len().try_into().unwrap()
    }

    fn cycle(weights: &[u32]) -> Vec<usize> {
        weighted(&weights.iter().copied().enumerate().collect::<Vec<_>>())
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
        assert_eq!(length(&cycle), LONGEST);
        assert_eq!((count(&cycle, 1), count(&cycle, 2)), (1, 1));
    }

    proptest! {
        #[test]
        fn shares_are_exact_over_a_cycle(weights in prop::collection::vec(1u32..=100, 1..=40)) {
            let cycle = cycle(&weights);
            let length = length(&cycle);
            let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
            prop_assert!(length <= total);
            for (member, weight) in weights.iter().enumerate() {
                prop_assert_eq!(count(&cycle, member) * total, u64::from(*weight) * length);
            }
        }

        #[test]
        fn a_scaled_cycle_stays_near_the_weights(weights in prop::collection::vec(1u32..=65_535, 2..=20)) {
            let cycle = cycle(&weights);
            let length = length(&cycle);
            let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
            prop_assert!(length <= LONGEST);
            for (member, weight) in weights.iter().enumerate() {
                let wanted = u64::from(*weight) * length / total;
                prop_assert!(count(&cycle, member) >= 1);
                prop_assert!(count(&cycle, member).abs_diff(wanted) <= 20);
            }
        }
    }
}
