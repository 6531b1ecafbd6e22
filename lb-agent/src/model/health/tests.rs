//! Health on a virtual clock.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::cast::{check, config, outcome, shop, start, target, v4, v6};

/// A service with one server, checked by `check`.
fn one_server(check: HealthCheck) -> Config {
    let mut service = shop(1);
    service.listen.pop();
    service.backends[0].address = vec![v4(1)];
    service.health_check = Some(check);
    config(vec![service])
}

fn checks(now: Instant, config: &Config, health: Health) -> Checks {
    Checks::new(now, 7, config, |_| health)
}

/// Ends a probe after the next wait; says the health it leaves.
fn probe(checks: &mut Checks, now: &mut Instant, passed: bool) -> Health {
    *now = checks.deadline().unwrap().max(*now);
    assert_eq!(checks.due(*now).len(), 1);
    checks.handle(*now, &target(1, v4(1)), outcome(passed));
    checks.of(&target(1, v4(1)))
}

fn probes(start_at: Health, results: &[bool]) -> Vec<Health> {
    let mut now = start();
    let mut checks = checks(now, &one_server(check()), start_at);
    results.iter().map(|passed| probe(&mut checks, &mut now, *passed)).collect()
}

#[test]
fn the_first_result_decides_what_was_unknown() {
    assert_eq!(probes(Health::Unknown, &[true]), [Health::Up]);
    assert_eq!(probes(Health::Unknown, &[false]), [Health::Down]);
}

#[test]
fn a_backend_goes_down_only_by_failures_in_a_row() {
    use Health::{Down, Up};
    assert_eq!(probes(Up, &[false, false, true, false, false, false]), [Up, Up, Up, Up, Up, Down]);
}

#[test]
fn a_backend_comes_back_only_by_successes_in_a_row() {
    use Health::{Down, Up};
    assert_eq!(probes(Down, &[true, false, true, true]), [Down, Down, Down, Up]);
}

#[test]
fn a_target_is_never_probed_twice_at_a_time() {
    let now = start();
    let mut checks = checks(now, &one_server(check()), Health::Unknown);
    assert_eq!(checks.due(now).len(), 1);
    let later = now + Duration::from_mins(1);
    assert!(checks.due(later).is_empty());
    assert_eq!(checks.deadline(), None);
    checks.handle(later, &target(1, v4(1)), outcome(true));
    assert_eq!(checks.due(later).len(), 1);
}

#[test]
fn an_unchanged_check_keeps_its_count_over_a_reload() {
    let mut now = start();
    let config = one_server(check());
    let mut checks = checks(now, &config, Health::Up);
    probe(&mut checks, &mut now, false);
    probe(&mut checks, &mut now, false);
    checks.reload(now, &config);
    assert_eq!(probe(&mut checks, &mut now, false), Health::Down);
}

#[test]
fn a_changed_check_keeps_health_and_counts_anew() {
    let mut now = start();
    let mut checks = checks(now, &one_server(check()), Health::Up);
    probe(&mut checks, &mut now, false);
    probe(&mut checks, &mut now, false);
    checks.reload(now, &one_server(HealthCheck { fall: 2, ..check() }));
    assert_eq!(probe(&mut checks, &mut now, false), Health::Up);
    assert_eq!(probe(&mut checks, &mut now, false), Health::Down);
}

#[test]
fn the_result_of_an_old_check_does_not_count() {
    let now = start();
    let mut checks = checks(now, &one_server(check()), Health::Up);
    checks.due(now);
    checks.reload(now, &one_server(HealthCheck { fall: 1, ..check() }));
    assert!(checks.due(now).is_empty(), "the old probe is still under way");
    assert_eq!(checks.handle(now, &target(1, v4(1)), outcome(false)), None);
    assert_eq!(checks.of(&target(1, v4(1))), Health::Up);
    assert_eq!(checks.due(now).len(), 1);
}

#[test]
fn the_result_for_a_target_that_went_and_came_back_does_not_count() {
    let now = start();
    let config = one_server(check());
    let mut checks = checks(now, &config, Health::Unknown);
    checks.due(now);
    checks.reload(now, &crate::model::cast::config(Vec::new()));
    checks.reload(now, &config);
    checks.handle(now, &target(1, v4(1)), outcome(false));
    assert_eq!(checks.of(&target(1, v4(1))), Health::Unknown);
}

#[test]
fn a_backend_in_maintenance_is_not_probed() {
    let now = start();
    let mut config = one_server(check());
    config.services[0].backends[0].state = BackendState::Maint;
    let mut checks = checks(now, &config, Health::Up);
    assert!(checks.due(now).is_empty());
    assert_eq!(checks.of(&target(1, v4(1))), Health::Unknown);
}

#[test]
fn a_backend_without_a_check_is_up_and_stays_so_until_a_new_check_fails() {
    let mut now = start();
    let mut unchecked = one_server(check());
    unchecked.services[0].health_check = None;
    let mut checks = checks(now, &unchecked, Health::Down);
    assert_eq!((checks.of(&target(1, v4(1))), checks.deadline()), (Health::Up, None));
    checks.reload(now, &one_server(check()));
    assert_eq!(probe(&mut checks, &mut now, false), Health::Up);
}

#[test]
fn history_is_kept_in_order_and_bounded() {
    let mut now = start();
    let check = HealthCheck { rise: 1, fall: 1, ..check() };
    let mut checks = checks(now, &one_server(check), Health::Up);
    for index in 0..HISTORY + 5 {
        probe(&mut checks, &mut now, index % 2 == 1);
    }
    let history: Vec<_> = checks.history().collect();
    assert_eq!(history.len(), HISTORY);
    assert!(history.windows(2).all(|pair| pair[0].at <= pair[1].at && pair[0].to == pair[1].from));
    assert_eq!(history.last().unwrap().at, now);
}

#[test]
fn waking_up_late_does_not_add_up() {
    let begin = start();
    let check = HealthCheck { jitter: 0.0, ..check() };
    let mut checks = checks(begin, &one_server(check.clone()), Health::Up);
    for round in 0..100 {
        let planned = checks.deadline().unwrap();
        assert_eq!(planned, begin + check.interval * round);
        let late = planned + Duration::from_millis(50);
        assert_eq!(checks.due(late).len(), 1);
        checks.handle(late, &target(1, v4(1)), outcome(true));
    }
    let asleep = checks.deadline().unwrap() + Duration::from_hours(1);
    checks.due(asleep);
    checks.handle(asleep, &target(1, v4(1)), outcome(true));
    assert_eq!(checks.deadline(), Some(asleep + check.interval));
}

#[test]
fn a_backend_added_after_the_first_round_is_not_waited_for() {
    let now = start();
    let mut checks = checks(now, &config(vec![shop(1)]), Health::Unknown);
    for address in [v4(1), v6(1)] {
        assert!(checks.first_without_result().is_some());
        checks.due(now);
        checks.handle(now, &target(1, address), outcome(false));
    }
    assert_eq!(checks.first_without_result(), None);
    checks.reload(now, &config(vec![shop(2)]));
    assert_eq!(checks.first_without_result(), None);
}

#[test]
fn the_first_probes_of_many_targets_do_not_start_together() {
    let begin = start();
    let config = config(vec![shop(250)]);
    let mut checks = Checks::new(begin, 1, &config, |_| Health::Up);
    let mut probed = 0;
    while let Some(now) = checks.deadline().filter(|at| *at < begin + check().interval) {
        let due = checks.due(now);
        assert!(due.len() <= AT_ONCE, "{} at once", due.len());
        probed += due.len();
    }
    assert_eq!(probed, 500, "each within one interval, which keeps the bound");
}

#[test]
fn a_probe_that_could_not_be_carried_out_says_nothing_of_the_backend() {
    let mut now = start();
    let mut checks = checks(now, &one_server(check()), Health::Up);
    for _ in 0..10 {
        now = checks.deadline().unwrap();
        assert_eq!(checks.due(now).len(), 1);
        checks.not_probed(&target(1, v4(1)), "too many open files".to_owned());
        assert_eq!(checks.missed(), Some("too many open files"));
    }
    assert_eq!(checks.of(&target(1, v4(1))), Health::Up);
    assert_eq!(probe(&mut checks, &mut now, true), Health::Up);
    assert_eq!(checks.missed(), None);
}

/// A server that answers at once until it dies and not at all afterwards.
fn time_until_down(seed: u64, check: &HealthCheck, dies_after: Duration) -> Duration {
    let begin = start();
    let dies_at = begin + dies_after;
    let mut checks = Checks::new(begin, seed, &one_server(check.clone()), |_| Health::Up);
    let mut now = begin;
    loop {
        now = checks.deadline().unwrap().max(now);
        assert_eq!(checks.due(now).len(), 1);
        let passed = now < dies_at;
        now += if passed { Duration::ZERO } else { check.timeout };
        if let Some(change) = checks.handle(now, &target(1, v4(1)), outcome(passed)) {
            assert_eq!(change.to, Health::Down);
            return now - dies_at;
        }
    }
}

proptest! {
    #[test]
    fn a_dead_backend_is_down_within_its_bound(
        seed: u64, interval in 10u64..5_000, timeout_share in 1u64..=100, fall in 1u32..6,
        jitter in 0.0f64..=0.5, dies_after in 0u64..60_000,
    ) {
        let interval = Duration::from_millis(interval);
        let timeout = interval * u32::try_from(timeout_share).unwrap() / 100;
        let check = HealthCheck { interval, timeout, jitter, fall, ..check() };
        let took = time_until_down(seed, &check, Duration::from_millis(dies_after));
        prop_assert!(took <= interval * fall + timeout);
        // Not by fewer failures either: all but the first are a whole shortened interval apart.
        prop_assert!(took >= interval.mul_f64(0.49) * (fall - 1));
    }
}

#[test]
fn jitter_parts_targets_that_began_together() {
    let begin = start();
    let config = config(vec![shop(20)]);
    let mut checks = Checks::new(begin, 1, &config, |_| Health::Up);
    let first = checks.due(begin);
    assert_eq!(first.len(), 40);
    for (target, _) in &first {
        checks.handle(begin, target, outcome(true));
    }
    let early = checks.due(begin + check().interval.mul_f64(0.95)).len();
    assert!((5..35).contains(&early), "{early} of 40 probes in the first half of the spread");
}
