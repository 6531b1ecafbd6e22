//! Medians with their spread.

use serde::Serialize;

/// The middle of some values, and the quartiles beside it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// A quarter of the values is not above this.
    pub(crate) low: f64,
    /// The median.
    pub(crate) median: f64,
    /// A quarter of the values is not below this.
    pub(crate) high: f64,
}

impl Spread {
    /// Of the values of all rounds; zeros where there are none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |quarter: usize| {
            let place = values.len().saturating_sub(1) * quarter;
            let [low, high] = [place / 4, place.div_ceil(4)]
                .map(|index| values.get(index).copied().unwrap_or_default());
            f64::midpoint(low, high)
        };
        Self { low: at(1), median: at(2), high: at(3) }
    }

    /// Of the quotients, round by round: what disturbs a round disturbs both.
    pub(crate) fn of_ratios(values: &[f64], floors: &[f64]) -> Self {
        Self::of(values.iter().zip(floors).filter(|(_, floor)| **floor > 0.0).map(|(a, b)| a / b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_and_ignores_what_is_far_out() {
        let spread = Spread::of([3.0, 900.0, 1.0, 2.0, 4.0]);
        assert_eq!(spread, Spread { low: 2.0, median: 3.0, high: 4.0 });
        assert_eq!(Spread::of([2.0, 1.0]).median.to_bits(), 1.5_f64.to_bits());
        assert_eq!(Spread::of([]), Spread { low: 0.0, median: 0.0, high: 0.0 });
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let spread = Spread::of_ratios(&[10.0, 100.0, 30.0], &[5.0, 50.0, 10.0]);
        assert_eq!(spread, Spread { low: 2.0, median: 2.0, high: 2.5 });
        assert_eq!(Spread::of_ratios(&[1.0], &[0.0]), Spread::of([]));
    }
}
