//! Routers that move together: two families, two interfaces.

use super::*;

/// The VIPs on eth0 and the gateway on eth1, of both families.
fn pair() -> Vec<Vrrp> {
    let group = || Some("pair".to_owned());
    let front = crate::model::cast::router("vip", 51);
    let addresses = vec!["192.0.2.1/24".parse().unwrap()];
    let back = Vrrp { interface: "eth1".to_owned(), addresses, ..router("gateway", 52) };
    vec![Vrrp { group: group(), ..front }, Vrrp { group: group(), ..back }]
}

#[test]
fn all_routers_of_a_group_take_over_at_once() {
    let mut one = One::with(pair());
    one.run(3_700);
    // Three routers, four addresses: the virtual router's link-local one leads those of IPv6.
    let sends = "send 100, send 100, send 100";
    let announces = "announce, announce, announce, announce";
    assert_eq!(one.did(), format!("backup, backup, {sends}, place 4, {announces}, active, active"));
}

#[test]
fn a_group_does_not_take_over_while_one_of_its_routers_hears_an_active_one() {
    let mut one = One::with(pair());
    for _ in 0..10 {
        one.hear_from(OTHER, "eth1", 52, 200);
        one.run(1_000);
    }
    assert_eq!(one.state(), State::Backup);
    one.run(4_000);
    assert_eq!(one.state(), State::Active);
}

#[test]
fn a_greater_priority_on_one_interface_ends_the_whole_group() {
    let mut one = One::active(pair());
    one.hear_from(OTHER, "eth1", 52, 200);
    assert_eq!(one.did(), "backup, backup, place 0");
}

#[test]
fn an_interface_that_is_down_ends_the_whole_group_in_good_order() {
    let mut one = One::active(pair());
    one.event(Event::Network(network(&["eth0"])));
    // What is sent on eth1 does not arrive, and who hears the other waits for no more.
    assert!(one.did().starts_with("send 0, send 0"));
    assert_eq!(one.state(), State::Initialize);
}

/// The Active director announces itself on both interfaces, and an instant later that it leaves, on one of them.
fn leaves_on_eth0() -> One {
    let mut one = One::with(pair());
    for (from, interface, id) in [(OTHER, "eth0", 51), (OTHER_V6, "eth0", 51), (OTHER, "eth1", 52)]
    {
        one.hear_from(from, interface, id, 200);
    }
    one.run(100);
    for from in [OTHER, OTHER_V6] {
        one.hear_from(from, "eth0", 51, 0);
    }
    one
}

#[test]
fn who_leaves_on_one_interface_and_is_silent_on_the_other_has_left() {
    let mut one = leaves_on_eth0();
    // The next advertisement would have come after 1,000 ms, and the skew of priority 100 is 609.4 ms.
    one.run(1_509);
    assert_eq!(one.state(), State::Backup);
    one.run(1);
    assert_eq!(one.state(), State::Active);
}

#[test]
fn who_leaves_on_one_interface_and_goes_on_on_the_other_is_there() {
    let mut one = leaves_on_eth0();
    for _ in 0..10 {
        one.run(1_000);
        one.hear_from(OTHER, "eth1", 52, 200);
    }
    assert_eq!(one.state(), State::Backup);
}

/// Two directors with equal priorities, of which this one has the lesser IPv4 and the greater IPv6 address.
#[test]
fn a_tie_is_decided_by_the_first_router_that_hears_the_other_one() {
    let both = || vec![crate::model::cast::router("vip", 51)];
    // The other one is greater in IPv4, which counts, and lesser in IPv6.
    let mut one = One::active(both());
    one.hear_from("fe80::4", "eth0", 51, 100);
    assert_eq!(one.state(), State::Active);
    one.hear_from(OTHER, "eth0", 51, 100);
    assert_eq!(one.state(), State::Backup);
    // The other way round.
    let mut one = One::active(both());
    for _ in 0..5 {
        one.hear_from(OTHER_V6, "eth0", 51, 100);
        one.hear_from("192.0.2.4", "eth0", 51, 100);
        one.run(1_000);
    }
    assert_eq!(one.state(), State::Active);
}

#[test]
fn a_tie_that_only_the_second_router_hears_is_decided_there() {
    let mut one = One::active(vec![crate::model::cast::router("vip", 51)]);
    one.hear_from(OTHER_V6, "eth0", 51, 100);
    assert_eq!(one.state(), State::Active);
    one.run(1_000);
    one.hear_from(OTHER_V6, "eth0", 51, 100);
    assert_eq!(one.state(), State::Backup);
}

#[test]
fn several_routers_of_one_interface_are_independent_of_each_other() {
    let other = Vrrp { addresses: vec!["203.0.113.11/32".parse().unwrap()], ..router("b", 52) };
    let mut one = One::with(vec![router("a", 51), other]);
    for _ in 0..5 {
        one.hear_from(OTHER, "eth0", 51, 200);
        one.run(1_000);
    }
    assert_eq!(one.routers.active().map(|(name, _)| name).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn a_router_in_a_group_is_released_by_its_name_or_the_groups() {
    for name in ["pair", "vip", "gateway"] {
        let mut one = One::active(pair());
        let effects = one.routers.release(one.now, name).unwrap();
        one.note(effects);
        assert_eq!(one.did(), "send 0, send 0, send 0, backup, backup", "{name}");
    }
}
