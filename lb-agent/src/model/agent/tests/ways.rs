//! The ways to backends: written as they change, forgotten with the last flow that may use them; who is served
//! and when the agent is ready because of them.

use super::*;

impl World {
    /// The same becomes known of the ways to all of these.
    fn told(&mut self, of: &[SocketAddr], way: &Way) {
        let ways = of.iter().map(|server| (server.ip(), way.clone())).collect();
        self.event(Event::Ways(ways));
    }
}

fn known() -> Way {
    Way::Known(way(7))
}

#[test]
fn a_way_that_changes_is_written_and_one_that_ends_is_removed() {
    let mut world = World::begin(config(vec![shop(1)]));
    assert_eq!(world.watched, [v4(1).ip(), v6(1).ip()].into());
    let interface = |world: &World| world.kernel.backends[&world.id(v4(1)).unwrap()].interface;
    world.event(Event::Ways([(v4(1).ip(), Way::Known(way(7)))].into()));
    assert_eq!(interface(&world), 7);
    world.event(Event::Ways([(v4(1).ip(), Way::None)].into()));
    assert_eq!(interface(&world), 0);
    let before = world.kernel.clone();
    world.event(Event::Ways([(v4(9).ip(), Way::Known(way(7)))].into()));
    assert_eq!(world.kernel, before);
}

#[test]
fn a_way_is_forgotten_with_its_address() {
    let mut world = World::begin(config(vec![shop(2)]));
    world.event(Event::Ways([(v4(1).ip(), Way::Known(way(7)))].into()));
    world.change("web1", BackendAction::Delete).unwrap();
    assert!(world.watched.contains(&v4(1).ip()), "flows may remember it");
    world.event(Event::FlowCounts(BTreeMap::new()));
    world.event(Event::FlowCounts(BTreeMap::new()));
    assert!(!world.watched.contains(&v4(1).ip()));
    world.add("web1", v4(1)).unwrap();
    assert_eq!(world.kernel.backends[&world.id(v4(1)).unwrap()].interface, 0);
}

#[test]
fn new_flows_go_to_backends_whose_way_is_known() {
    let mut world = World::begin(config(vec![shop(3)]));
    assert_eq!(world.rotation(), ["web1", "web2", "web3"], "none is known");
    world.told(&[v4(1), v4(2), v4(3)], &Way::Asked);
    world.told(&[v4(1), v4(3)], &known());
    assert_eq!(world.rotation(), ["web1", "web3"]);
    world.told(&[v4(2)], &known());
    world.run(seconds(10));
    let rotations = world.rotations_since(seconds(0));
    assert_eq!(rotations, ["web1 web2 web3", "web1 web3", "web1 web2 web3"]);
}

#[test]
fn a_backend_whose_neighbour_has_failed_takes_no_new_flows_and_keeps_its_open_ones() {
    let mut world = World::begin(config(vec![shop(2)]));
    world.told(&[v4(1), v4(2)], &known());
    world.told(&[v4(1)], &Way::None);
    assert_eq!(world.rotation(), ["web2"]);
    assert_eq!(world.state(v4(1)), BACKEND_UP, "its flows are neither reset nor moved");
    world.told(&[v4(1)], &known());
    assert_eq!(world.rotation(), ["web1", "web2"]);
    world.told(&[v4(1), v4(2)], &Way::None);
    assert_eq!(world.rotation(), ["web1", "web2"], "what is dropped has no next hop");
}

#[test]
fn the_agent_waits_until_it_has_heard_of_all_backends() {
    let mut world = World::begin(config(vec![shop(2)]));
    assert_eq!(world.agent.awaited(), Some(v4(1).ip()));
    world.told(&[v4(1)], &known());
    world.told(&[v4(2)], &Way::Elsewhere("br0".to_owned()));
    world.told(&[v6(1), v6(2)], &Way::Asked);
    assert_eq!(world.agent.awaited(), Some(v6(1).ip()));
    world.told(&[v6(1), v6(2)], &Way::None);
    assert_eq!(world.agent.awaited(), None);
    world.add("web3", v4(3)).unwrap();
    assert_eq!(world.agent.awaited(), None, "the others serve");
}

#[test]
fn the_agent_does_not_wait_long() {
    let mut world = World::begin(config(vec![shop(1)]));
    world.told(&[v4(1)], &Way::Asked);
    world.run(Duration::from_millis(1_999));
    assert_eq!(world.agent.awaited(), Some(v4(1).ip()));
    world.run(Duration::from_millis(1));
    assert_eq!(world.agent.awaited(), None);
}

#[test]
fn the_wait_begins_when_answers_can_be_heard() {
    let mut world = World::begin(config(vec![shop(1)]));
    world.stall(seconds(10));
    world.told(&[v4(1)], &known());
    assert_eq!(world.agent.awaited(), Some(v6(1).ip()));
    world.told(&[v6(1)], &known());
    assert_eq!(world.agent.awaited(), None);
}

#[test]
fn an_agent_that_takes_over_waits_only_for_ways_that_were_not_known() {
    let mut world = World::begin(config(vec![shop(1)]));
    world.told(&[v4(1), v6(1)], &known());
    world.restart();
    assert_eq!(world.agent.awaited(), None);
    world.restart_with(config(vec![shop(2)]));
    assert_eq!(world.agent.awaited(), Some(v4(2).ip()));
}

#[test]
fn a_backend_behind_another_interface_is_named_once_and_not_served() {
    let mut world = World::begin(config(vec![shop(2)]));
    world.told(&[v4(1), v4(2), v6(1), v6(2)], &known());
    let (before, elsewhere) = (world.warnings.len(), Way::Elsewhere("br0".to_owned()));
    for server in [v4(1), v6(1)] {
        world.told(&[server], &elsewhere);
    }
    assert_eq!(world.rotation(), ["web2"]);
    let warning = "backend web1 of service shop is reached by br0, which is not in [datapath] \
                   interfaces, and gets no packets: route to it by one that is, or add br0 there \
                   and restart lb-agent; unless its driver has native XDP, stop lb-agent, run `lb-agent detach` \
                   (open flows end), set [datapath] xdp_mode = \"generic\", and start it";
    assert_eq!(world.warnings[before..], [warning]);
    assert_eq!(world.agent.summary().warnings, [warning]);
    world.told(&[v4(1), v6(1)], &known());
    assert_eq!(world.rotation(), ["web1", "web2"]);
    assert_eq!(world.agent.summary().warnings, Vec::<String>::new());
    world.told(&[v4(1)], &elsewhere);
    assert_eq!(world.warnings[before..], [warning, warning]);
}
