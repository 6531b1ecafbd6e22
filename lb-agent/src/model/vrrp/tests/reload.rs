//! Another configuration while routers run.

use super::*;

#[test]
fn the_same_configuration_again_does_nothing() {
    let mut one = One::active(vec![router("a", 51)]);
    let before = one.due();
    one.configure(vec![router("a", 51)]);
    assert_eq!((one.did().as_str(), one.due()), ("", before));
}

#[test]
fn a_priority_or_an_interval_is_taken_without_a_change_of_state() {
    let mut one = One::active(vec![router("a", 51)]);
    let advert_interval = Duration::from_millis(100);
    one.configure(vec![Vrrp { priority: 150, advert_interval, ..router("a", 51) }]);
    assert_eq!(one.did(), "");
    one.run(200);
    assert_eq!(one.did(), "send 150, send 150");
}

#[test]
fn an_address_that_is_added_is_announced_and_one_that_is_removed_goes() {
    let mut one = One::active(vec![router("a", 51)]);
    let mut more = router("a", 51);
    more.addresses.push("203.0.113.11/32".parse().unwrap());
    one.configure(vec![more]);
    assert_eq!(one.did(), "send 100, place 2, announce, announce");
    one.configure(vec![router("a", 51)]);
    assert_eq!(one.did(), "send 100, place 1, announce");
}

#[test]
fn a_router_that_is_removed_leaves_at_once() {
    let mut one = One::active(vec![router("a", 51)]);
    one.configure(vec![]);
    assert_eq!(one.did(), "send 0, initialize, place 0");
    assert_eq!(one.routers.deadline(), None);
}

#[test]
fn a_family_that_is_removed_says_so_and_the_other_goes_on() {
    let mut one = One::active(vec![crate::model::cast::router("a", 51)]);
    one.configure(vec![router("a", 51)]);
    assert_eq!(
        one.did(),
        "send 0, send 100, place 1, announce".replace("send 100, place 1, announce", "place 1")
    );
    assert_eq!(one.state(), State::Active);
}

#[test]
fn a_router_that_is_added_to_a_group_that_waits_waits_with_it() {
    let mut one = One::with(vec![router("a", 51)]);
    one.run(3_000);
    one.configure(vec![crate::model::cast::router("a", 51)]);
    one.run(3_000);
    assert_eq!(one.state(), State::Backup);
    one.run(1_000);
    assert_eq!(one.state(), State::Active);
}

#[test]
fn a_stop_is_over_when_another_one_was_heard_or_did_not_come() {
    let mut heard = One::active(vec![router("a", 51)]);
    heard.event(Event::Stop);
    assert!(!heard.routers.is_done());
    heard.hear(50);
    assert_eq!(heard.did(), "send 0, initialize, place 0");
    assert!(heard.routers.is_done());
    let mut alone = One::active(vec![router("a", 51)]);
    alone.event(Event::Stop);
    alone.run(1_300);
    assert_eq!(alone.did(), "send 0, initialize, place 0");
    assert!(alone.routers.is_done());
    // News of the network do not start it again.
    alone.event(Event::Network(network(&["eth0"])));
    assert_eq!(alone.did(), "");
}
