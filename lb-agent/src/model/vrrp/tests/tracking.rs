//! Interfaces and services that a router depends on.

use super::*;
use crate::model::config::TrackedService;

fn tracking(weight: Option<i32>) -> Vrrp {
    let service = "shop".to_owned();
    let track_services = vec![TrackedService { service, weight }];
    Vrrp { priority: 200, track_services, ..router("a", 51) }
}

fn set_dead(one: &mut One, entry: &Vrrp, dead: &[&str]) {
    let dead_services = dead.iter().map(ToString::to_string).collect();
    one.event(Event::Configure { routers: vec![entry.clone()], dead_services });
}

#[test]
fn a_tracked_interface_that_is_down_takes_the_router_out_until_it_is_up() {
    let track_interfaces = vec!["eth1".to_owned()];
    let mut one = One::active(vec![Vrrp { track_interfaces, ..router("a", 51) }]);
    one.event(Event::Network(network(&["eth0"])));
    assert_eq!((one.state(), one.did().as_str()), (State::Initialize, "send 0, initialize"));
    one.hear(50);
    assert_eq!(one.did(), "place 0");
    one.event(Event::Network(network(&["eth0", "eth1"])));
    assert_eq!(one.state(), State::Backup);
}

#[test]
fn an_interface_without_an_address_of_its_own_cannot_advertise() {
    let mut bare = network(&["eth0"]);
    bare.get_mut("eth0").unwrap().addresses = vec!["203.0.113.10/32".parse().unwrap()];
    let mut one = One::active(vec![router("a", 51)]);
    one.event(Event::Network(bare.clone()));
    assert_eq!(one.state(), State::Initialize);
    let status = one.routers.status(one.now);
    assert_eq!(status.routers[0].reason, "interface eth0 has no IPv4 address of its own");
    // An owner's virtual address is its own.
    let mut owner = One::active(vec![Vrrp { priority: 255, ..router("a", 51) }]);
    owner.event(Event::Network(bare));
    assert_eq!(owner.state(), State::Active);
}

#[test]
fn the_weight_of_a_dead_service_lowers_the_priority() {
    let entry = tracking(Some(-60));
    let mut one = One::active(vec![entry.clone()]);
    set_dead(&mut one, &entry, &["shop"]);
    one.run(1_000);
    assert_eq!(one.did(), "send 140");
    set_dead(&mut one, &entry, &[]);
    one.run(1_000);
    assert_eq!(one.did(), "send 200");
}

#[test]
fn no_weight_lowers_the_priority_to_that_of_who_leaves() {
    let entry = tracking(Some(-253));
    let mut one = One::active(vec![entry.clone()]);
    set_dead(&mut one, &entry, &["shop"]);
    one.run(1_000);
    assert_eq!(one.did(), "send 1");
}

#[test]
fn a_director_whose_service_is_dead_stands_down_and_another_takes_over() {
    let entry = tracking(None);
    let mut one = One::active(vec![entry.clone()]);
    set_dead(&mut one, &entry, &["shop"]);
    assert_eq!((one.state(), one.did().as_str()), (State::Backup, "send 0, backup"));
    one.hear(100);
    assert_eq!(one.did(), "place 0");
    // While it is dead, an Active router of any priority stays; and once it is alive, it does not preempt.
    one.run(3_000);
    one.hear(1);
    set_dead(&mut one, &entry, &[]);
    one.run(3_000);
    one.hear(100);
    one.run(3_000);
    assert_eq!(one.state(), State::Backup);
}

#[test]
fn if_the_services_of_all_are_dead_one_has_the_addresses_all_the_same() {
    let entry = tracking(None);
    let mut one = One::active(vec![entry.clone()]);
    set_dead(&mut one, &entry, &["shop"]);
    // Nobody else answers: three intervals, and the skew of priority 1.
    assert_eq!(one.did(), "send 0, backup");
    one.run(3_997);
    assert_eq!(one.did(), "send 1, announce, active");
}

#[test]
fn who_is_alive_relieves_a_director_whose_services_are_dead_without_preemption() {
    let mut one = One::with(vec![router("a", 51)]);
    for _ in 0..5 {
        one.hear(1);
        one.run(1_000);
    }
    assert_eq!(one.state(), State::Active);
}
