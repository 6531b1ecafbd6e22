//! The agent in a world of its own: servers that live and die, on a clock that only the test moves.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use lb_common::MAX_BACKENDS;
use lb_common::api::{BackendAction, BackendState, Health};
use lb_common::layout::{BACKEND_DOWN_RESET, BACKEND_UP, Backend};

use super::*;
use crate::model::cast::{check, config, outcome, shop, start, tables, target, v4, v6, way};
use crate::model::config::XdpMode;
use crate::model::overlay::Overlay;
use crate::model::tables::{Tables, Way};
use world::World;

mod cookies;
mod firewall;
mod loads;
mod moves;
mod paces;
mod vrrp;
mod ways;
mod world;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// How long a dead server may still be served.
fn bound() -> Duration {
    check().interval * check().fall + check().timeout
}

#[test]
fn a_dead_backend_is_left_and_comes_back() {
    let mut world = World::begin(config(vec![shop(3)]));
    world.run(seconds(10));
    assert_eq!(world.rotation(), ["web1", "web2", "web3"]);
    world.kill(v4(2));
    world.run(bound());
    assert_eq!(world.rotation(), ["web1", "web3"]);
    assert_eq!(world.state(v4(2)), BACKEND_DOWN_RESET);
    world.revive(v4(2));
    world.run(check().interval * check().rise + check().timeout);
    assert_eq!(world.rotation(), ["web1", "web2", "web3"]);
    assert_eq!(world.state(v4(2)), BACKEND_UP);
    let rotations = world.rotations_since(seconds(10));
    assert_eq!(rotations, ["web1 web2 web3", "web1 web3", "web1 web2 web3"]);
    assert_eq!(world.warnings.len(), 1, "{:?}", world.warnings);
    assert!(world.warnings[0].contains("web2") && world.warnings[0].contains("is down"));
    assert!(world.notices.last().unwrap().contains("is up"));
}

#[test]
fn all_backends_serve_from_the_first_packet() {
    let mut world = World::begin(config(vec![shop(3)]));
    world.run(seconds(10));
    assert_eq!(world.rotations_since(seconds(0)), ["web1 web2 web3"]);
}

#[test]
fn a_backend_that_is_dead_at_the_first_start_leaves_with_its_first_probe() {
    let mut service = shop(3);
    service.backends[2].backup = true;
    let mut world = World::begin_without(&[v4(1), v6(1)], config(vec![service]));
    world.run(check().timeout.saturating_sub(Duration::from_millis(1)));
    assert_eq!(world.rotation(), ["web1", "web2"]);
    world.run(Duration::from_millis(1));
    assert_eq!(world.rotations_since(seconds(0)), ["web1 web2", "web2"]);
}

#[test]
fn a_backend_added_at_run_time_serves_after_its_first_success() {
    let mut world = World::begin_without(&[v4(4)], config(vec![shop(2)]));
    world.run(seconds(10));
    world.add("web3", v4(3)).unwrap();
    world.add("web4", v4(4)).unwrap();
    assert_eq!(world.rotation(), ["web1", "web2"]);
    world.run(seconds(10));
    assert_eq!(world.rotations_since(seconds(0)), ["web1 web2", "web1 web2 web3"]);
}

#[test]
fn a_backend_that_is_new_after_a_restart_serves_after_its_first_success() {
    let mut world = World::begin(config(vec![shop(2)]));
    world.run(seconds(10));
    world.restart_with(config(vec![shop(3)]));
    assert_eq!(world.rotation(), ["web1", "web2"]);
    world.run(seconds(1));
    assert_eq!(world.rotation(), ["web1", "web2", "web3"]);
}

#[test]
fn what_a_failed_write_left_undone_is_planned_again() {
    let mut world = World::begin(config(vec![shop(3)]));
    world.run(seconds(10));
    let before = world.kernel.clone();
    world.kill(v4(2));
    world.run(bound());
    world.kernel = before.clone();
    world.event(Event::Installed(Box::new(before)));
    assert_eq!(world.rotation(), ["web1", "web3"]);
    assert_eq!(world.kernel, *world.agent.installed());
}

#[test]
fn a_death_at_any_moment_keeps_the_bound() {
    for tenths in 0..40 {
        let mut world = World::begin(config(vec![shop(3)]));
        world.run(Duration::from_millis(10_000 + tenths * 100));
        world.kill(v4(2));
        world.run(check().interval);
        assert_eq!(world.rotation(), ["web1", "web2", "web3"], "not before `fall` failures");
        world.run(bound().saturating_sub(check().interval));
        assert_eq!(world.rotation(), ["web1", "web3"], "killed {tenths} tenths in");
    }
}

#[test]
fn backups_serve_from_the_death_of_the_last_primary_to_its_return() {
    let mut service = shop(3);
    service.backends[2].backup = true;
    let mut world = World::begin(config(vec![service]));
    world.run(seconds(10));
    world.kill(v4(1));
    world.run(seconds(10));
    world.kill(v4(2));
    world.run(seconds(10));
    world.revive(v4(1));
    world.run(seconds(10));
    assert_eq!(world.rotations_since(seconds(10)), ["web1 web2", "web2", "web3", "web1"]);
}

#[test]
fn a_drained_backend_keeps_its_flows() {
    let mut world = World::begin(config(vec![shop(2)]));
    world.run(seconds(10));
    let reply = world.set_state("web1", BackendState::Drain).unwrap();
    assert_eq!(reply.changes.len(), 1, "{:?}", reply.changes);
    assert_eq!(world.rotation(), ["web2"]);
    assert_eq!(world.state(v4(1)), BACKEND_UP);
    world.set_state("web1", BackendState::Ready).unwrap();
    assert_eq!(world.rotation(), ["web1", "web2"]);
}

#[test]
fn a_backend_in_maintenance_is_left_alone() {
    let mut world = World::begin(config(vec![shop(2)]));
    world.run(seconds(10));
    world.set_state("web1", BackendState::Maint).unwrap();
    assert_eq!(world.state(v4(1)), BACKEND_DOWN_RESET);
    let n_before = world.probes_of(v4(1));
    world.run(seconds(20));
    assert_eq!(world.probes_of(v4(1)), n_before);
    world.set_state("web1", BackendState::Ready).unwrap();
    world.run(seconds(1));
    assert_eq!(world.rotation(), ["web1", "web2"]);
}

#[test]
fn a_reload_in_the_middle_of_a_failure_does_not_delay_it() {
    let mut world = World::begin(config(vec![shop(3)]));
    world.run(seconds(10));
    world.kill(v4(2));
    world.run(seconds(4));
    let mut changed = config(vec![shop(3)]);
    changed.services[0].backends[0].weight = 50;
    world.load(changed).unwrap();
    world.run(bound().saturating_sub(seconds(4)));
    assert_eq!(world.rotation(), ["web1", "web3"]);
}

#[test]
fn a_restart_changes_nothing() {
    let mut service = shop(4);
    service.backends[0].state = BackendState::Drain;
    service.backends[3].backup = true;
    let mut world = World::begin(config(vec![service]));
    world.run(seconds(1));
    world.event(Event::Ways([(v4(2).ip(), Way::Known(way(7)))].into()));
    world.kill(v4(3));
    world.run(seconds(20));
    world.set_weight("web2", 7).unwrap();
    let before = world.kernel.clone();
    world.restart();
    assert_eq!(world.kernel, before);
    assert!(world.writes_of_start.is_empty(), "{:?}", world.writes_of_start);
    world.run(seconds(20));
    assert_eq!(world.kernel, before);
    assert_eq!(world.agent.config().services[0].backends[1].weight, 7);
}

#[test]
fn a_retired_id_is_not_given_away_while_flows_are_counted() {
    let mut world = World::begin(config(vec![shop(2)]));
    world.run(seconds(10));
    let id = world.id(v4(1)).unwrap();
    world.change("web1", BackendAction::Delete).unwrap();
    for _ in 0..3 {
        world.event(Event::FlowCounts([(id, 1)].into()));
    }
    world.add("web3", v4(3)).unwrap();
    assert_eq!(world.id(v4(1)), Some(id));
    world.event(Event::FlowCounts(BTreeMap::new()));
    assert_eq!(world.id(v4(1)), Some(id));
    world.event(Event::FlowCounts(BTreeMap::new()));
    assert_eq!(world.id(v4(1)), None);
    world.add("web4", v4(4)).unwrap();
    assert_eq!(world.id(v4(4)), Some(id));
}

#[test]
fn a_change_without_room_is_refused_and_the_tables_stay() {
    let mut world = World::begin(config(vec![shop(2)]));
    world.run(seconds(10));
    let mut full = world.kernel.clone();
    let retired = Backend { state: BACKEND_DOWN_RESET, ..full.backends[&0] };
    for id in 0..MAX_BACKENDS {
        let address = [id.to_be(), 0, 0, 0];
        full.backends.entry(id).or_insert(Backend { address, ..retired });
    }
    world.kernel = full;
    world.restart();
    let before = world.kernel.clone();
    let Err(Refusal::Invalid(reason)) = world.add("web3", v4(3)) else { panic!("not refused") };
    assert!(reason.starts_with("more than 262144 backend ids"), "{reason}");
    assert_eq!(world.kernel, before);
    assert_eq!(world.agent.config().services[0].backends.len(), 2);
}

#[test]
fn the_result_for_a_target_that_is_gone_is_ignored() {
    let mut world = World::begin(config(vec![shop(2)]));
    world.run(seconds(10));
    world.change("web2", BackendAction::Delete).unwrap();
    let before = world.kernel.clone();
    world.event(Event::Probes(vec![(target(2, v4(2)), outcome(false))]));
    assert_eq!(world.kernel, before);
    assert_eq!(world.agent.checks().of(&target(2, v4(2))), Health::Unknown);
}

#[test]
fn probes_that_end_together_are_written_at_once() {
    let (now, file) = (start(), config(vec![shop(3)]));
    let (mut agent, effects) = Agent::new(now, 7, file, Known::default(), tables()).unwrap();
    let ended = effects.into_iter().filter_map(|effect| {
        let Effect::Probe { target, .. } = effect else { return None };
        let outcome = outcome(target.backend == "web3");
        Some((target, outcome))
    });
    let effects = agent.handle(now + seconds(1), Event::Probes(ended.collect()));
    let count = |is: fn(&Effect) -> bool| effects.iter().filter(|effect| is(effect)).count();
    let n_told = count(|effect| matches!(effect, Effect::Notice(_) | Effect::Warning(_)));
    let n_written = count(|effect| matches!(effect, Effect::Write(_)));
    assert_eq!((n_told, n_written), (6, 1), "three servers with two addresses each");
}

#[test]
fn the_addresses_on_the_interface_follow_the_configuration() {
    let mut world = World::begin(config(vec![shop(1)]));
    assert_eq!(world.managed.len(), 2);
    let mut only_v4 = shop(1);
    only_v4.listen.pop();
    world.load(config(vec![only_v4.clone()])).unwrap();
    assert_eq!(world.managed.len(), 1);
    let mut left_alone = config(vec![only_v4]);
    left_alone.datapath.manage_addresses = false;
    world.load(left_alone).unwrap();
    assert!(world.managed.is_empty());
    assert!(world.kernel.vips.values().all(|vip| vip.closed == 0));
}
