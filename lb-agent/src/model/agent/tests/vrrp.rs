//! What the virtual routers are told.

use std::collections::BTreeSet;

use lb_common::api::BackendState;

use super::*;
use crate::model::cast::router;
use crate::model::config::TrackedService;

fn tracking() -> Config {
    let service = "shop".to_owned();
    let track_services = vec![TrackedService { service, weight: None }];
    let vrrp = vec![crate::model::config::Vrrp { track_services, ..router("vip", 51) }];
    Config { vrrp, ..config(vec![shop(1)]) }
}

#[test]
fn virtual_routers_are_told_of_tracked_services_that_die_and_come_back() {
    let mut world = World::begin(tracking());
    world.run(seconds(10));
    let dead = BTreeSet::from(["shop".to_owned()]);
    assert_eq!(world.vrrp, [(1, BTreeSet::new())]);
    world.set_state("web1", BackendState::Maint).unwrap();
    world.set_state("web1", BackendState::Ready).unwrap();
    world.run(seconds(10));
    assert_eq!(world.vrrp, [(1, BTreeSet::new()), (1, dead), (1, BTreeSet::new())]);
}

#[test]
fn a_service_whose_backends_are_all_down_is_dead_although_it_panics() {
    let dead = BTreeSet::from(["shop".to_owned()]);
    for panic_threshold in [None, Some(0.5)] {
        let mut tracking = tracking();
        tracking.services[0].panic_threshold = panic_threshold;
        let servers = tracking.services[0].backends[0].address.clone();
        let mut world = World::begin(tracking);
        world.run(seconds(10));
        servers.iter().for_each(|server| world.kill(*server));
        world.run(seconds(30));
        servers.iter().for_each(|server| world.revive(*server));
        world.run(seconds(30));
        let alive = || (1, BTreeSet::new());
        assert_eq!(world.vrrp, [alive(), (1, dead.clone()), alive()], "{panic_threshold:?}");
    }
}

#[test]
fn a_vip_of_a_virtual_router_is_put_nowhere_by_the_core() {
    let mut world = World::begin(config(vec![shop(1)]));
    assert_eq!(world.managed.len(), 2);
    world.load(tracking()).unwrap();
    assert_eq!((world.managed.len(), world.vrrp.len()), (0, 1));
    world.load(config(vec![shop(1)])).unwrap();
    assert_eq!(world.managed.len(), 2);
    assert_eq!(world.vrrp.last(), Some(&(0, BTreeSet::new())));
}

#[test]
fn addresses_that_the_host_does_not_accept_are_closed() {
    let mut shut = tracking();
    shut.datapath.manage_addresses = false;
    shut.vrrp[0].accept = false;
    shut.vrrp[0].addresses = vec!["192.0.2.1/24".parse().unwrap()];
    let world = World::begin(shut);
    let closed: Vec<u32> = world.kernel.vips.values().map(|vip| vip.closed).collect();
    assert_eq!(closed.iter().sum::<u32>(), 1, "{closed:?}");
    assert_eq!(closed.len(), 3);
}
