//! Time for measurements: with `--quick` there is so much of it, which benchmarks, their parts and rounds share.
//!
//! A part that begins gets its share of what is left then, so what one takes beyond its share the others lack; none
//! begins when all time is over, or that of a benchmark. After its first round a case goes on only if there is time for another like those before.

use std::time::{Duration, Instant};

use lb_tests::clock::now;

use super::Arguments;

/// Five minutes, less what the last part may take beyond its share.
const QUICK: Duration = Duration::from_secs(4 * 60 + 30);

/// Until when to measure, and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// When this share is over, and after which no part begins.
    ends: Option<[Instant; 2]>,
    rounds: Option<u32>,
    is_quick: bool,
}

impl Budget {
    /// For all that is asked for, from now on.
    pub(crate) fn of(arguments: &Arguments) -> Self {
        let is_quick = arguments.quick;
        Self { ends: is_quick.then(|| [now() + QUICK; 2]), rounds: arguments.rounds, is_quick }
    }

    /// Parts one after the other, each with a share by its weight; `what` they are is said where time is over.
    pub(crate) fn divide<T>(
        self,
        what: &'static str,
        parts: Vec<T>,
        weight: impl Fn(&T) -> u32,
    ) -> impl Iterator<Item = (Self, T)> {
        let mut left: u32 = parts.iter().map(&weight).sum();
        let mut parts = parts.into_iter();
        std::iter::from_fn(move || {
            if self.ends.is_some_and(|[_, all]| all <= now()) {
                let n = parts.by_ref().count();
                if n > 0 {
                    eprintln!("{what}: the time is over, and {n} parts are left out");
                }
                return None;
            }
            let part = parts.next()?;
            let share = self.left().map(|time| share(time, weight(&part), left));
            left -= weight(&part);
            let ends = self.ends.zip(share).map(|([_, all], share)| [now() + share, all]);
            Some((Self { ends, ..self }, part))
        })
    }

    /// Lets no part begin after this share, so that what comes later has its own.
    pub(crate) fn strictly(self) -> Self {
        Self { ends: self.ends.map(|[end, _]| [end; 2]), ..self }
    }

    /// Numbers of rounds from 1 on: as many as are usual, with and without `--quick`, if there is time.
    pub(crate) fn rounds(self, usual: u32, quick: u32) -> impl Iterator<Item = u32> {
        let most = self.rounds.unwrap_or(if self.is_quick { quick } else { usual });
        let began = now();
        (1..=most)
            .take_while(move |round| has_time_for_another(*round - 1, began.elapsed(), self.left()))
    }

    fn left(&self) -> Option<Duration> {
        self.ends.map(|[end, _]| end.saturating_duration_since(now()))
    }
}

fn share(time: Duration, weight: u32, of: u32) -> Duration {
    time * weight / of.max(1)
}

/// The first round is always made.
fn has_time_for_another(done: u32, spent: Duration, left: Option<Duration>) -> bool {
    done == 0 || left.is_none_or(|left| spent / done <= left)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_hours(1);

    fn budget(left: Duration) -> Budget {
        Budget { ends: Some([now() + left; 2]), rounds: None, is_quick: true }
    }

    #[test]
    fn parts_share_what_is_left_by_their_weights() {
        // So long that this test takes next to nothing of it.
        let parts = budget(HOUR * 6).divide("test", vec![1, 2, 3], |weight| *weight);
        let lefts: Vec<_> = parts.map(|(share, _)| share.left().unwrap()).collect();
        // Each has its share of what those before it have left over.
        for (left, expected) in lefts.iter().zip([HOUR, HOUR * 12 / 5, HOUR * 6]) {
            assert!(*left <= expected && *left > expected / 2, "{lefts:?}");
        }
    }

    #[test]
    fn no_part_begins_when_all_time_is_over_but_each_may_whose_share_was_used_up() {
        let parts = |budget: Budget| budget.divide("test", vec![(), ()], |()| 1).count();
        assert_eq!(parts(budget(Duration::ZERO)), 0);
        let used_up = Budget { ends: Some([now(), now() + HOUR]), ..budget(SECOND) };
        assert_eq!(parts(used_up), 2);
        assert_eq!(parts(used_up.strictly()), 0);
        let endless = Budget { ends: None, ..budget(SECOND) };
        assert_eq!(parts(endless), 2);
    }

    #[test]
    fn a_round_is_made_once_and_again_while_there_is_time_for_another() {
        assert!(has_time_for_another(0, SECOND, Some(Duration::ZERO)));
        assert!(has_time_for_another(2, SECOND * 4, Some(SECOND * 2)));
        assert!(!has_time_for_another(2, SECOND * 4, Some(SECOND)));
        assert!(has_time_for_another(9, SECOND * 400, None));
        assert_eq!(budget(Duration::ZERO).rounds(15, 5).collect::<Vec<_>>(), [1]);
        let named = Budget { rounds: Some(2), ends: None, is_quick: false };
        assert_eq!(named.rounds(15, 5).count(), 2);
    }
}
