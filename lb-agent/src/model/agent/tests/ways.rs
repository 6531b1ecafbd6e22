//! The ways to backends: written as they change, forgotten with the last flow that may use them.

use super::*;

#[test]
fn a_way_that_changes_is_written_and_one_that_ends_is_removed() {
    let mut world = World::begin(config(vec![shop(1)]));
    assert_eq!(world.watched, [v4(1).ip(), v6(1).ip()].into());
    let interface = |world: &World| world.kernel.backends[&world.id(v4(1)).unwrap()].interface;
    world.event(Event::NextHops([(v4(1).ip(), Some(way(7)))].into()));
    assert_eq!(interface(&world), 7);
    world.event(Event::NextHops([(v4(1).ip(), None)].into()));
    assert_eq!(interface(&world), 0);
    let before = world.kernel.clone();
    world.event(Event::NextHops([(v4(9).ip(), Some(way(7)))].into()));
    assert_eq!(world.kernel, before);
}

#[test]
fn a_way_is_forgotten_with_its_address() {
    let mut world = World::begin(config(vec![shop(2)]));
    world.event(Event::NextHops([(v4(1).ip(), Some(way(7)))].into()));
    world.change("web1", BackendAction::Delete).unwrap();
    assert!(world.watched.contains(&v4(1).ip()), "flows may remember it");
    world.event(Event::FlowCounts(BTreeMap::new()));
    world.event(Event::FlowCounts(BTreeMap::new()));
    assert!(!world.watched.contains(&v4(1).ip()));
    world.add("web1", v4(1)).unwrap();
    assert_eq!(world.kernel.backends[&world.id(v4(1)).unwrap()].interface, 0);
}
