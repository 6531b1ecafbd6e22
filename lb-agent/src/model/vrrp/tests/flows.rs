//! Directors that tell each other of their flows: one that does not know them yet preempts nobody.

use super::*;

fn preferred(preempt_delay: u64) -> Vrrp {
    let preempt_delay = Some(Duration::from_secs(preempt_delay));
    Vrrp { priority: 200, preempt: true, preempt_delay, ..router("a", 51) }
}

/// A preferred director that has come back and does not know the flows of the others.
fn behind(entry: Vrrp) -> One {
    let mut one = One::with(vec![entry]);
    one.event(Event::InStep(false));
    one
}

fn warnings(one: &One) -> usize {
    one.routers.status(one.now).routers[0].warnings.len()
}

/// Hears this priority once a second.
fn hear_for(one: &mut One, seconds: u64, priority: u8) {
    for _ in 0..seconds {
        one.hear(priority);
        one.run(1_000);
    }
}

#[test]
fn a_director_preempts_when_it_knows_the_flows_and_not_before() {
    for delay in [0, 10] {
        let mut one = behind(preferred(delay));
        hear_for(&mut one, 60, 100);
        assert_eq!((one.state(), warnings(&one)), (State::Backup, 1));
        // Within three advertisements it has lost sight of them again.
        one.event(Event::InStep(true));
        assert_eq!(warnings(&one), 0);
        hear_for(&mut one, 3, 100);
        one.event(Event::InStep(false));
        hear_for(&mut one, 60, 100);
        assert_eq!(one.state(), State::Backup);
        one.event(Event::InStep(true));
        hear_for(&mut one, 5, 100);
        assert_eq!(one.state(), State::Active);
    }
}

#[test]
fn the_delay_of_preemption_is_not_shortened_by_flows_that_are_known_early() {
    let mut one = behind(preferred(30));
    one.event(Event::InStep(true));
    hear_for(&mut one, 29, 100);
    assert_eq!(one.state(), State::Backup);
    hear_for(&mut one, 5, 100);
    assert_eq!(one.state(), State::Active);
}

#[test]
fn who_is_dead_or_leaves_or_wants_to_be_relieved_is_followed_without_its_flows() {
    let mut silent = behind(preferred(0));
    silent.hear(100);
    silent.run(4_000);
    let mut left = behind(preferred(0));
    left.hear(100);
    left.hear(0);
    left.run(1_000);
    let mut last_resort = behind(preferred(0));
    hear_for(&mut last_resort, 4, 1);
    for one in [silent, left, last_resort] {
        assert_eq!(one.state(), State::Active);
        assert_eq!(warnings(&one), 0);
    }
}

#[test]
fn an_active_director_that_has_missed_flows_while_it_was_asleep_leaves_them_to_the_other() {
    for is_in_step in [false, true] {
        let mut one = One::active(vec![preferred(0)]);
        one.sleep(60_000);
        one.event(Event::InStep(is_in_step));
        one.hear(100);
        one.event(Event::Timer);
        assert_eq!(one.state(), State::Backup);
        hear_for(&mut one, 6, 100);
        assert_eq!(one.state() == State::Active, is_in_step);
    }
    // While it is awake it holds its own against a lower priority, whatever it knows.
    let mut awake = One::active(vec![preferred(0)]);
    awake.event(Event::InStep(false));
    awake.hear(100);
    assert_eq!(awake.state(), State::Active);
}

#[test]
fn a_link_that_comes_back_is_followed_by_flows_before_anybody_is_preempted() {
    // Adverts are frequent, and three of them are over before replication is heard again.
    let advert_interval = Duration::from_millis(10);
    let mut one = One::with(vec![Vrrp { advert_interval, ..preferred(0) }]);
    one.event(Event::InStep(true));
    one.run(1_000);
    assert_eq!(one.state(), State::Active);
    one.event(Event::Network(network(&["eth1"])));
    one.run(100);
    one.event(Event::Network(network(&["eth0", "eth1"])));
    let mut waited = 0;
    while one.state() == State::Backup {
        one.hear(100);
        one.run(10);
        waited += 10;
    }
    // And then as long as any Backup waits for an Active one that says once a second.
    assert!((500..=700).contains(&waited), "{waited}");
}

#[test]
fn groups_that_are_configured_later_wait_too() {
    let mut one = One::with(Vec::new());
    one.event(Event::InStep(false));
    one.configure(vec![preferred(0)]);
    hear_for(&mut one, 10, 100);
    assert_eq!(one.state(), State::Backup);
}

#[test]
fn replication_hears_who_has_which_address() {
    use lb_ebpf::adopt::Holder;

    let mut one = One::with(vec![router("a", 51)]);
    let holder = |one: &One, address: &str| {
        crate::model::sync::Vips::new(one.routers.vips()).holder(address.parse().unwrap())
    };
    assert_eq!(holder(&one, "203.0.113.10"), Holder::There);
    one.run(5_000);
    assert_eq!(holder(&one, "203.0.113.10"), Holder::Here);
    assert_eq!(holder(&one, "203.0.113.99"), Holder::Unknown);
    one.hear(200);
    assert_eq!(holder(&one, "203.0.113.10"), Holder::There);
}

#[test]
fn only_flows_of_a_director_that_has_fallen_silent_are_waited_for() {
    let holds = |mut one: One, priorities: &[u8]| {
        for priority in priorities {
            one.hear(*priority);
        }
        one.run(4_000);
        assert_eq!(one.state(), State::Active);
        one.did().contains("hold")
    };
    let told = || behind(preferred(0));
    assert!(holds(told(), &[100]));
    assert!(holds(told(), &[]), "it may have been there before this one was");
    assert!(!holds(told(), &[100, 0]), "who leaves has told all");
    assert!(!holds(One::with(vec![preferred(0)]), &[100]), "nobody tells of flows");
}
