//! Backends that start slowly, and drained ones whose time is over.

use super::*;
use crate::model::config::{Scheduler, Service};

fn slow() -> Service {
    Service { slow_start: Some(seconds(180)), ..shop(2) }
}

/// How many of a hundred turns a server of the shop's first VIP has.
fn share(world: &World, name: &str) -> usize {
    let rotation = world.rotation();
    rotation.iter().filter(|turn| *turn == name).count() * 100 / rotation.len()
}

/// The service a moment after `web2` has come back.
fn world_with_a_returned_backend(service: Service) -> World {
    let mut world = World::begin(config(vec![service]));
    world.run(seconds(10));
    world.kill(v4(2));
    world.run(bound());
    assert_eq!(share(&world, "web1"), 100);
    world.revive(v4(2));
    while share(&world, "web1") == 100 {
        world.run(Duration::from_millis(10));
    }
    world
}

#[test]
fn a_backend_that_comes_up_reaches_its_share_step_by_step() {
    let mut world = world_with_a_returned_backend(slow());
    let mut shares = vec![share(&world, "web2")];
    for _ in 0..18 {
        world.run(seconds(10));
        shares.push(share(&world, "web2"));
    }
    assert_eq!((shares[0], shares[18]), (9, 50), "10 of 110, 100 of 200");
    let steps: Vec<_> = shares.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    assert!(steps.iter().all(|step| (1..=5).contains(step)), "{shares:?}");
    let settled = world.rotations_since(seconds(0)).len();
    world.run(seconds(3_600));
    assert_eq!(world.rotations_since(seconds(0)).len(), settled, "nothing changes any more");
}

#[test]
fn every_scheduler_starts_a_backend_slowly() {
    for scheduler in [
        Scheduler::WeightedRoundRobin,
        Scheduler::LeastConnections,
        Scheduler::WeightedLeastConnections,
        Scheduler::Random,
        // Its ring is that of `sh` too.
        Scheduler::Maglev,
    ] {
        let mut world = world_with_a_returned_backend(Service { scheduler, ..slow() });
        assert!((8..=10).contains(&share(&world, "web2")), "{scheduler:?}");
        world.run(seconds(180));
        assert!((49..=50).contains(&share(&world, "web2")), "{scheduler:?}");
    }
}

#[test]
fn nobody_starts_slowly_with_the_agent_and_an_added_backend_does() {
    let mut world = World::begin(config(vec![slow()]));
    world.run(seconds(30));
    world.restart();
    assert_eq!(world.writes_of_start, []);
    world.run(seconds(30));
    assert_eq!(world.rotations_since(seconds(0)), ["web1 web2"]);
    world.add("web3", v4(3)).unwrap();
    world.run(seconds(5));
    assert_eq!(share(&world, "web3"), 4, "10 of 210");
}

#[test]
fn a_backend_that_goes_down_on_its_way_begins_again() {
    let mut world = world_with_a_returned_backend(slow());
    world.run(seconds(90));
    assert!(share(&world, "web2") > 30);
    world.kill(v4(2));
    world.run(bound());
    world.revive(v4(2));
    world.run(check().interval * check().rise + check().timeout);
    assert_eq!(share(&world, "web2"), 9);
}

#[test]
fn the_flows_of_a_drained_backend_are_reset_after_its_time() {
    let service = Service { drain_timeout: Some(seconds(300)), ..shop(2) };
    let mut world = World::begin(config(vec![service]));
    world.run(seconds(10));
    world.set_state("web1", BackendState::Drain).unwrap();
    world.run(seconds(299));
    assert_eq!(world.state(v4(1)), BACKEND_UP);
    world.run(seconds(1));
    assert_eq!(
        (world.state(v4(1)), world.rotation()),
        (BACKEND_DOWN_RESET, vec!["web2".to_owned()])
    );
    world.restart();
    world.run(seconds(10));
    assert_eq!(world.state(v4(1)), BACKEND_DOWN_RESET, "its time is not given again");
    world.set_state("web1", BackendState::Ready).unwrap();
    world.run(seconds(10));
    assert_eq!(world.state(v4(1)), BACKEND_UP);
    world.set_state("web1", BackendState::Drain).unwrap();
    world.run(seconds(200));
    assert_eq!(world.state(v4(1)), BACKEND_UP, "another drain has a time of its own");
}

#[test]
fn without_a_timeout_a_drained_backend_keeps_its_flows() {
    let mut world = World::begin(config(vec![shop(2)]));
    world.run(seconds(10));
    world.set_state("web1", BackendState::Drain).unwrap();
    world.run(seconds(10_000));
    assert_eq!(world.state(v4(1)), BACKEND_UP);
}
