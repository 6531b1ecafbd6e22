//! What is served, for each state that backends can be in.

mod least_load;

use std::collections::BTreeMap;
use std::time::Duration;

use lb_common::cell;

use lb_common::layout::BACKEND_UP;

use super::*;
use crate::model::agent::Target;
use crate::model::cast::{VIP, VIP6, at, config, shop, start, v4, v6, way};
use crate::model::config::{Affinity, AffinityBy, BackendState, Protocol, Scheduler};
use crate::model::health::Health;

/// What is desired of a service whose targets have the health that `health` says.
fn serve(service: &Service, health: impl Fn(&Target) -> Health) -> Desired {
    let config = config(vec![service.clone()]);
    let checks = Checks::new(start(), 1, &config, health);
    desired(&config, &checks, &Paces::default(), &Turns::default(), &BTreeMap::new())
}

fn key(address: &str) -> ListenerKey {
    ListenerKey { address: at(address), protocol: Protocol::Tcp }
}

fn slots(service: &Service, health: impl Fn(&Target) -> Health) -> Vec<SocketAddr> {
    serve(service, health).listeners[&key(VIP)].slots()
}

fn states(service: &Service, health: impl Fn(&Target) -> Health) -> Vec<u8> {
    serve(service, health).listeners[&key(VIP)].backends.values().copied().collect()
}

/// All are up but one.
fn but(name: &'static str, health: Health) -> impl Fn(&Target) -> Health {
    move |target| if target.backend == name { health } else { Health::Up }
}

fn up(_: &Target) -> Health {
    Health::Up
}

#[test]
fn each_listener_serves_the_backends_of_its_family_in_the_files_order() {
    let desired = serve(&shop(3), up);
    assert_eq!(desired.listeners[&key(VIP)].slots(), [v4(1), v4(2), v4(3)]);
    assert_eq!(desired.listeners[&key(VIP6)].slots(), [v6(1), v6(2), v6(3)]);
    assert_eq!(desired.vips.len(), 2);
    assert!(desired.vips.values().all(|vip| vip.closed == 1));
}

#[test]
fn round_robin_minds_no_weight_but_zero() {
    let mut service = shop(3);
    service.backends[0].weight = 7;
    service.backends[1].weight = 0;
    assert_eq!(slots(&service, up), [v4(1), v4(3)]);
    assert_eq!(states(&service, up), [BACKEND_UP; 3]);
}

#[test]
fn weighted_round_robin_spreads_the_turns() {
    let mut service = shop(2);
    service.scheduler = Scheduler::WeightedRoundRobin;
    service.backends[0].weight = 300;
    assert_eq!(slots(&service, up), [v4(1), v4(1), v4(2), v4(1)]);
}

#[test]
fn each_scheduler_draws_in_its_way_and_has_its_slots() {
    use layout::Scheduler as Drawn;
    for (scheduler, drawn, n_slots, of_first) in [
        (Scheduler::RoundRobin, Drawn::RoundRobin, 2, 1),
        (Scheduler::WeightedRoundRobin, Drawn::RoundRobin, 4, 3),
        (Scheduler::LeastConnections, Drawn::LeastLoad, 2, 1),
        (Scheduler::WeightedLeastConnections, Drawn::LeastLoad, 4, 3),
        (Scheduler::Random, Drawn::Random, 4, 3),
        (Scheduler::SourceHash, Drawn::SourceHash, 65_537, 49_153),
        (Scheduler::Maglev, Drawn::FlowHash, 65_537, 49_153),
    ] {
        let mut service = shop(2);
        service.scheduler = scheduler;
        service.backends[0].weight = 300;
        let listener = &serve(&service, up).listeners[&key(VIP)];
        assert_eq!((listener.draw.scheduler, listener.turns.len()), (drawn, n_slots));
        let n_first = listener.slots().iter().filter(|slot| **slot == v4(1)).count();
        assert_eq!(n_first, of_first, "{scheduler:?}");
    }
}

#[test]
fn on_a_ring_only_the_turns_of_a_backend_that_fails_move() {
    let mut service = shop(9);
    service.scheduler = Scheduler::Maglev;
    let before = slots(&service, up);
    let after = slots(&service, but("web4", Health::Down));
    let moved = before.iter().zip(&after).filter(|(old, new)| old != new);
    assert!(moved.clone().all(|(old, _)| *old == v4(4)) && moved.count() > 100);
}

#[test]
fn an_affinity_is_told_in_ticks_and_bits() {
    let mut service = shop(1);
    let (by, timeout) = (AffinityBy::Source, Duration::from_mins(5));
    service.affinity = Some(Affinity { by, prefix_v4: 24, prefix_v6: 48, timeout });
    let desired = serve(&service, up);
    let draw = |vip| desired.listeners[&key(vip)].draw;
    assert_eq!((draw(VIP).affinity_prefix, draw(VIP6).affinity_prefix), (24, 48));
    assert_eq!(draw(VIP).affinity_ticks, 70);
}

/// The turns of ten servers with a threshold, of which the first `n_dead` are down.
fn slots_in_panic(threshold: f64, n_dead: u8, edit: impl Fn(&mut Service)) -> Vec<SocketAddr> {
    let mut service = shop(10);
    service.panic_threshold = Some(threshold);
    edit(&mut service);
    let is_dead = move |target: &Target| (1..=n_dead).any(|n| target.backend == format!("web{n}"));
    let health = |target: &Target| if is_dead(target) { Health::Down } else { Health::Up };
    let slots = slots(&service, health);
    let listener = &serve(&service, health).listeners[&key(VIP)];
    assert!(slots.iter().all(|slot| listener.backends[slot] == BACKEND_UP), "{listener:?}");
    slots
}

#[test]
fn below_the_threshold_all_backends_serve_that_are_not_drained() {
    let nothing = |_: &mut Service| {};
    assert_eq!(slots_in_panic(0.3, 7, nothing).len(), 3);
    assert_eq!(slots_in_panic(0.3, 8, nothing).len(), 10);
    assert_eq!(slots_in_panic(0.3, 10, nothing).len(), 10);
    assert_eq!(slots_in_panic(0.0, 10, nothing).len(), 0);
    let drained = |service: &mut Service| service.backends[0].state = BackendState::Drain;
    assert_eq!(slots_in_panic(0.3, 8, drained).len(), 9);
}

#[test]
fn a_backup_goes_before_primaries_of_which_none_is_healthy() {
    let backup = |service: &mut Service| service.backends[9].backup = true;
    assert_eq!(slots_in_panic(0.3, 9, backup), [v4(10)]);
    assert_eq!(slots_in_panic(0.3, 8, backup).len(), 9);
    assert_eq!(slots_in_panic(0.3, 10, backup).len(), 9);
}

#[test]
fn a_dead_backend_leaves_and_its_flows_go_as_the_policy_says() {
    let mut service = shop(2);
    let dead = but("web1", Health::Down);
    assert_eq!(slots(&service, &dead), [v4(2)]);
    assert_eq!(states(&service, &dead), [BACKEND_DOWN_RESET, BACKEND_UP]);
    service.on_backend_down = OnBackendDown::Keep;
    assert_eq!(states(&service, &dead), [BACKEND_DOWN_KEEP, BACKEND_UP]);
}

#[test]
fn an_unknown_backend_serves_only_if_none_is_up() {
    assert_eq!(slots(&shop(2), but("web1", Health::Unknown)), [v4(2)]);
    assert_eq!(slots(&shop(2), |_| Health::Unknown), [v4(1), v4(2)]);
    assert_eq!(states(&shop(2), |_| Health::Unknown), [BACKEND_UP; 2]);
}

#[test]
fn a_backup_serves_only_if_no_primary_can() {
    let mut service = shop(2);
    service.backends[1].backup = true;
    assert_eq!(slots(&service, up), [v4(1)]);
    assert_eq!(slots(&service, but("web1", Health::Unknown)), [v4(1)]);
    assert_eq!(slots(&service, but("web1", Health::Down)), [v4(2)]);
    service.backends[0].state = BackendState::Drain;
    assert_eq!(slots(&service, up), [v4(2)]);
}

#[test]
fn a_drained_backend_keeps_its_flows_and_takes_no_new_ones() {
    let mut service = shop(2);
    service.backends[0].state = BackendState::Drain;
    assert_eq!(slots(&service, up), [v4(2)]);
    assert_eq!(states(&service, up), [BACKEND_UP; 2]);
}

#[test]
fn a_backend_in_maintenance_counts_as_dead() {
    let mut service = shop(2);
    service.backends[0].state = BackendState::Maint;
    assert_eq!(slots(&service, up), [v4(2)]);
    assert_eq!(states(&service, up), [BACKEND_DOWN_RESET, BACKEND_UP]);
}

/// Slots of the first VIP where only the ways to `reached` are known.
fn slots_by(
    reached: &[u8],
    service: &Service,
    health: impl Fn(&Target) -> Health,
) -> Vec<SocketAddr> {
    let config = config(vec![service.clone()]);
    let checks = Checks::new(start(), 1, &config, health);
    let ways = reached.iter().map(|number| (v4(*number).ip(), way(*number))).collect();
    let (paces, turns) = (Paces::default(), Turns::default());
    desired(&config, &checks, &paces, &turns, &ways).listeners[&key(VIP)].slots()
}

#[test]
fn a_backend_without_a_next_hop_serves_only_if_all_are_without() {
    assert_eq!(slots_by(&[2, 3], &shop(3), up), [v4(2), v4(3)]);
    assert_eq!(slots_by(&[], &shop(3), up), [v4(1), v4(2), v4(3)]);
    let mut service = shop(3);
    service.backends[2].backup = true;
    assert_eq!(slots_by(&[3], &service, up), [v4(3)], "a backup before a primary without a way");
    assert_eq!(slots_by(&[], &service, up), [v4(1), v4(2)]);
    assert_eq!(slots_by(&[1, 2, 3], &service, up), [v4(1), v4(2)]);
}

#[test]
fn a_next_hop_does_not_make_a_dead_backend_serve() {
    assert_eq!(slots_by(&[1], &shop(2), but("web1", Health::Down)), [v4(2)]);
    assert_eq!(slots_by(&[1], &shop(2), but("web1", Health::Unknown)), [v4(1)]);
    assert_eq!(slots_by(&[1], &shop(2), |_| Health::Down), []);
}

#[test]
fn families_take_turns_together_while_they_serve_the_same_backends() {
    let cursors =
        |desired: &Desired| [VIP, VIP6].map(|vip| desired.listeners[&key(vip)].cursor.address);
    assert_eq!(cursors(&serve(&shop(2), up)), [at(VIP), at(VIP)]);
    let only_v4_dead = |target: &Target| {
        if target.address == v4(1) { Health::Down } else { Health::Up }
    };
    assert_eq!(cursors(&serve(&shop(2), only_v4_dead)), [at(VIP), at(VIP6)]);
    let mut three = shop(2);
    three.listen.push(at("203.0.113.11:80"));
    three.backends[1].address.pop();
    let desired = serve(&three, up);
    assert_eq!(cursors(&desired), [at(VIP), at(VIP6)]);
    assert_eq!(desired.listeners[&key("203.0.113.11:80")].cursor, key(VIP));
}

#[test]
fn timeouts_are_rounded_up_to_ticks() {
    let mut config = config(vec![]);
    config.datapath.timeouts.tcp_syn = Duration::from_nanos(1 << cell::TICK_SHIFT);
    config.datapath.timeouts.tcp_fin = Duration::from_nanos((1 << cell::TICK_SHIFT) + 1);
    config.datapath.timeouts.tcp_established = Duration::from_secs(1_000_000);
    let checks = Checks::new(start(), 1, &config, up);
    let desired = desired(&config, &checks, &Paces::default(), &Turns::default(), &BTreeMap::new());
    let longest = cell::MAX_TIMEOUT_TICKS;
    assert_eq!(desired.settings.timeouts, [0, 1, 1, longest, longest, 2, 14, 0]);
}
