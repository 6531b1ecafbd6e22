//! Preemption, ownership and the intervals of others.

use super::*;

fn heard_interval(one: &mut One, centiseconds: u64, priority: u8) {
    let interval = Duration::from_millis(centiseconds * 10);
    let advert = Advert { id: 51, priority, interval, addresses: vec![vip(OTHER)] };
    one.event(Event::Received(received(OTHER, "eth0", &advert)));
}

#[test]
fn the_interval_of_the_active_router_is_adopted() {
    let mut one = One::with(vec![router("a", 51)]);
    heard_interval(&mut one, 1, 200);
    // Three intervals of 10 ms and the skew, 6.09 ms.
    assert_eq!(one.due(), 36);
    heard_interval(&mut one, 300, 200);
    assert_eq!(one.due(), 9_000 + 1_828);
}

#[test]
fn one_packet_keeps_nobody_waiting_for_long() {
    let mut one = One::with(vec![router("a", 51)]);
    heard_interval(&mut one, 4_095, 255);
    // As for four times the own interval, and not the two minutes and more that it asks for.
    assert_eq!(one.due(), 12_000 + 2_437);
    let mut active = One::active(vec![router("a", 51)]);
    heard_interval(&mut active, 4_095, 255);
    assert_eq!((active.state(), active.due()), (State::Backup, 12_000 + 2_437));
    active.run(14_438);
    assert_eq!(active.state(), State::Active);
}

#[test]
fn the_own_interval_holds_again_for_an_active_router() {
    let mut one = One::with(vec![router("a", 51)]);
    heard_interval(&mut one, 400, 200);
    one.run(20_000);
    assert_eq!(one.state(), State::Active);
    one.did();
    one.run(3_000);
    assert_eq!(one.did(), "send 100, send 100, send 100");
}

/// Whether a director that hears a lower priority every second becomes Active within a minute, and when.
fn preempts(entry: Vrrp, heard: u8) -> Option<u128> {
    let mut one = One::with(vec![entry]);
    for _ in 0..60 {
        one.hear(heard);
        one.run(1_000);
        if one.state() == State::Active {
            let since = one.routers.groups.values().next().unwrap().since;
            return Some((since - one.begin).as_millis());
        }
    }
    None
}

#[test]
fn who_preempts_does_so_after_its_delay_and_who_does_not_never() {
    let entry = |preempt, seconds: u64| {
        let preempt_delay = Some(Duration::from_secs(seconds));
        Vrrp { priority: 200, preempt, preempt_delay, ..router("a", 51) }
    };
    assert_eq!(preempts(entry(false, 0), 100), None);
    assert_eq!(preempts(entry(true, 0), 100), Some(3_218));
    // The last advertisement that counts comes after 9 s.
    assert_eq!(preempts(entry(true, 10), 100), Some(9_000 + 3_218));
    assert_eq!(preempts(entry(true, 0), 201), None);
}

#[test]
fn an_owner_preempts_whatever_the_configuration_says() {
    let owner = Vrrp { priority: 255, preempt: false, ..router("a", 51) };
    let mut one = One::active(vec![owner]);
    // Its link was down, and another one has taken over.
    one.event(Event::Network(network(&["eth1"])));
    one.event(Event::Network(network(&["eth0", "eth1"])));
    assert_eq!(one.state(), State::Active);
}

#[test]
fn a_router_that_was_released_takes_over_only_when_no_other_is_heard() {
    let entry = Vrrp { priority: 200, preempt: true, ..router("a", 51) };
    let mut one = One::active(vec![entry]);
    let released = one.routers.release(one.now, "a").unwrap();
    one.note(released);
    assert_eq!(one.did(), "send 0, backup");
    for _ in 0..60 {
        one.hear(100);
        one.run(1_000);
    }
    assert_eq!((one.state(), one.did().as_str()), (State::Backup, "place 0"));
    one.run(5_000);
    assert_eq!(one.state(), State::Active);
    // From then on it preempts as before.
    one.event(Event::Network(network(&["eth1"])));
    one.event(Event::Network(network(&["eth0", "eth1"])));
    for _ in 0..5 {
        one.hear(100);
        one.run(1_000);
    }
    assert_eq!(one.state(), State::Active);
}

#[test]
fn only_an_active_router_is_released_and_only_one_that_exists() {
    let mut one = One::with(vec![router("a", 51)]);
    let error = |one: &mut One, name| one.routers.release(one.now, name).unwrap_err().to_string();
    assert_eq!(error(&mut one, "a"), "a is not Active on this director");
    assert_eq!(error(&mut one, "b"), "no virtual router or group b");
}

#[test]
fn an_agent_that_is_back_in_time_goes_on_as_active() {
    let were_active = BTreeSet::from(["a".to_owned()]);
    let now = start();
    let routers = Routers::new(were_active, None);
    let mut one = One { routers, begin: now, now, did: Vec::new() };
    one.event(Event::Network(network(&["eth0"])));
    one.configure(vec![router("a", 51), router("b", 52)]);
    assert_eq!(one.did(), "send 100, place 1, announce, active, backup");
    // Only once: the next start is an ordinary one.
    one.event(Event::Network(network(&[])));
    one.event(Event::Network(network(&["eth0"])));
    assert_eq!(one.state(), State::Backup);
}

#[test]
fn who_lets_go_keeps_the_addresses_until_somebody_is_active() {
    // Nobody else is there: it is Active again, and they were never off.
    let mut alone = One::active(vec![router("a", 51)]);
    let released = alone.routers.release(alone.now, "a").unwrap();
    alone.note(released);
    alone.run(3_609);
    assert_eq!(alone.did(), "send 0, backup");
    alone.run(1);
    assert_eq!(alone.did(), "send 100, announce, active");
    // It is told to stop meanwhile: it waits as long as it would have.
    let mut stops = One::active(vec![router("a", 51)]);
    let released = stops.routers.release(stops.now, "a").unwrap();
    stops.note(released);
    stops.run(1_000);
    stops.event(Event::Stop);
    assert!(!stops.routers.is_done());
    stops.run(300);
    assert_eq!(stops.did(), "send 0, backup, initialize, place 0");
    assert!(stops.routers.is_done());
}

#[test]
fn a_clean_stop_waits_for_the_other_one_at_the_longest_interval_too() {
    let advert_interval = Duration::from_millis(40_950);
    let mut one = One::with(vec![Vrrp { advert_interval, ..router("a", 51) }]);
    one.run(180_000);
    one.did();
    one.event(Event::Stop);
    // The skew of priority 1.
    one.run(40_790);
    assert_eq!((one.did().as_str(), one.routers.is_done()), ("send 0, initialize", false));
    one.hear(1);
    assert!(one.did().ends_with("place 0") && one.routers.is_done());
}
