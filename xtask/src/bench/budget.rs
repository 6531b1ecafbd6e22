//! Time for measurements: with `--quick` there is so much of it, which benchmarks, their parts and rounds share.
//!
//! A part that begins gets its share of what is left then, so what one takes beyond its share the others lack; none
//! begins when all time is over, or that of a benchmark. After its first round a case goes on only if there is time for
//! another like those before. What has begun is given up between two steps when all time is over.

use std::fmt;
use std::time::{Duration, Instant};

use lb_tests::clock::now;

use super::Arguments;

/// What `--quick` promises.
const FIVE_MINUTES: Duration = Duration::from_mins(5);
/// What a single step may take: a world, a balancer's start, a run. Each waits for less than that.
const STEP: Duration = Duration::from_secs(30);

/// There is none for this part, or no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeIsOver;

impl std::error::Error for TimeIsOver {}

impl fmt::Display for TimeIsOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("left out, for the time is over")
    }
}

/// When time is over.
#[derive(Clone, Copy, Debug)]
struct Ends {
    /// That of this part.
    share: Instant,
    /// That in which parts begin.
    begin: Instant,
    /// All of it.
    all: Instant,
}

/// Until when to measure, and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    ends: Option<Ends>,
    rounds: Option<u32>,
    is_quick: bool,
    clock: fn() -> Instant,
}

impl Budget {
    /// For all that is asked for, from now on.
    pub(crate) fn of(arguments: &Arguments) -> Self {
        Self::from(arguments.quick, arguments.rounds, now)
    }

    fn from(is_quick: bool, rounds: Option<u32>, clock: fn() -> Instant) -> Self {
        let end = clock() + FIVE_MINUTES.saturating_sub(STEP);
        let ends = is_quick.then_some(Ends { share: end, begin: end, all: end });
        Self { ends, rounds, is_quick, clock }
    }

    /// Parts one after the other, each with a share by its weight, or without time.
    pub(crate) fn divide<T>(
        self,
        parts: Vec<T>,
        weight: impl Fn(&T) -> u32,
    ) -> impl Iterator<Item = (Result<Self, TimeIsOver>, T)> {
        let mut left: u32 = parts.iter().map(&weight).sum();
        parts.into_iter().map(move |part| {
            let now = (self.clock)();
            if self.ends.is_some_and(|ends| ends.begin <= now) {
                return (Err(TimeIsOver), part);
            }
            let share = self.left().map(|time| share(time, weight(&part), left));
            left -= weight(&part);
            let ends =
                self.ends.zip(share).map(|(ends, share)| Ends { share: now + share, ..ends });
            (Ok(Self { ends, ..self }), part)
        })
    }

    /// Lets no part begin after this share, so that what comes later has its own.
    pub(crate) fn strictly(self) -> Self {
        Self { ends: self.ends.map(|ends| Ends { begin: ends.share, ..ends }), ..self }
    }

    /// Numbers of rounds from 1 on: as many as are usual, with and without `--quick`, if there is time.
    pub(crate) fn rounds(self, usual: u32, quick: u32) -> impl Iterator<Item = u32> {
        let most = self.rounds.unwrap_or(if self.is_quick { quick } else { usual });
        let began = (self.clock)();
        let spent = move || (self.clock)().saturating_duration_since(began);
        (1..=most).take_while(move |round| has_time_for_another(*round - 1, spent(), self.left()))
    }

    /// Before each step of what has begun: fails when all time is over.
    pub(crate) fn step(self) -> Result<(), TimeIsOver> {
        let is_over = self.ends.is_some_and(|ends| ends.all <= (self.clock)());
        if is_over { Err(TimeIsOver) } else { Ok(()) }
    }

    fn left(&self) -> Option<Duration> {
        self.ends.map(|ends| ends.share.saturating_duration_since((self.clock)()))
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
pub(crate) mod tests {
    use std::cell::Cell;

    use super::super::results::Results;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    thread_local! {
        /// A clock that stands still between two steps.
        static TIME: Cell<Instant> = Cell::new(now());
    }

    fn made() -> Instant {
        TIME.get()
    }

    /// Lets the made clock go on.
    pub(crate) fn spend(time: Duration) {
        TIME.set(made() + time);
    }

    /// So much time of the made clock.
    pub(crate) fn budget(left: Duration) -> Budget {
        let end = made() + left;
        let ends = Some(Ends { share: end, begin: end, all: end });
        Budget { ends, rounds: None, is_quick: true, clock: made }
    }

    /// All time there is.
    pub(crate) fn endless() -> Budget {
        Budget::from(false, None, made)
    }

    #[test]
    fn parts_share_what_is_left_by_their_weights() {
        let parts = budget(SECOND * 60).divide(vec![1, 2, 3], |weight| *weight);
        let mut lefts = Vec::new();
        for (share, _) in parts {
            lefts.push(share.unwrap().left().unwrap());
            spend(SECOND * 15);
        }
        // Each has its share of what those before it have left over.
        assert_eq!(lefts, [SECOND * 10, SECOND * 18, SECOND * 30]);
    }

    #[test]
    fn no_part_begins_when_all_time_is_over_but_each_may_whose_share_was_used_up() {
        let parts = |budget: Budget| {
            budget.divide(vec![(), ()], |()| 1).filter(|(budget, ())| budget.is_ok()).count()
        };
        assert_eq!(parts(budget(Duration::ZERO)), 0);
        let hour = budget(SECOND * 3_600);
        let ends = hour.ends.map(|ends| Ends { share: made(), ..ends });
        let used_up = Budget { ends, ..hour };
        assert_eq!(parts(used_up), 2);
        assert_eq!(parts(used_up.strictly()), 0);
        assert_eq!(parts(endless()), 2);
    }

    #[test]
    fn a_round_is_made_once_and_again_while_there_is_time_for_another() {
        assert!(has_time_for_another(0, SECOND, Some(Duration::ZERO)));
        assert!(has_time_for_another(2, SECOND * 4, Some(SECOND * 2)));
        assert!(!has_time_for_another(2, SECOND * 4, Some(SECOND)));
        assert!(has_time_for_another(9, SECOND * 400, None));
        let in_time = |time| budget(time).rounds(15, 5).inspect(|_| spend(SECOND)).count();
        assert_eq!([0, 1, 3, 60].map(|time| in_time(SECOND * time)), [1, 1, 3, 5]);
        let named = Budget { rounds: Some(2), ..endless() };
        assert_eq!(named.rounds(15, 5).count(), 2);
    }

    /// Four benchmarks with four parts each, which start five things and then measure these in rounds.
    fn measure_all(budget: Budget, step: Duration) -> Results {
        let five_steps = |budget: Budget| {
            (0..5).try_for_each(|_| {
                budget.step()?;
                spend(step);
                anyhow::Ok(())
            })
        };
        let four = || ["a", "b", "c", "d"].map(|name| (name.to_owned(), ())).to_vec();
        let mut results = Results::default();
        results.of_each(
            budget,
            four(),
            |()| 1,
            |results, budget, ()| {
                results.of_each(
                    budget.strictly(),
                    four(),
                    |()| 1,
                    |_, budget, ()| {
                        five_steps(budget)?;
                        budget.rounds(7, 5).try_for_each(|_| five_steps(budget))
                    },
                );
                Ok(())
            },
        );
        results
    }

    #[test]
    fn quick_ends_within_five_minutes_however_long_its_steps_take() {
        for step in [SECOND / 10, SECOND, SECOND * 7, SECOND * 20, STEP] {
            let began = made();
            let results = measure_all(Budget::from(true, None, made), step);
            let took = made() - began;
            assert!(took <= FIVE_MINUTES, "{took:?} with steps of {step:?}");
            assert_eq!(results.missing_of("").is_empty(), step <= SECOND, "steps of {step:?}");
            results.check().unwrap();
        }
    }
}
