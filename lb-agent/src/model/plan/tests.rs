//! Plans between random tables: what they lead to, and what a packet finds on the way.

use std::net::SocketAddr;

use lb_common::layout::{BACKEND_DOWN_KEEP, Scheduler, Vip, run};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use zerocopy::FromZeros;

use super::*;
use crate::model::cast::{VIP, VIP6, at, listener, tables, v4, v6, way};
use crate::model::config::{Forward, Protocol};
use meaning::{assert_means, assert_sound};

mod meaning;

const FREE: Slot = Slot { backend: 0, weight: 1 };

fn key(address: &str, protocol: Protocol) -> ListenerKey {
    ListenerKey { address: at(address), protocol }
}

fn web() -> ListenerKey {
    key(VIP, Protocol::Tcp)
}

/// The web listener with servers that all serve.
fn serving(servers: &[u8]) -> Desired {
    let slots: Vec<SocketAddr> = servers.iter().map(|number| v4(*number)).collect();
    let backends = slots.iter().map(|address| (*address, BACKEND_UP)).collect();
    let listener = listener(web(), backends, &slots, BACKEND_DOWN_KEEP);
    Desired {
        settings: Settings::new_zeroed(),
        vips: [(web().address.ip(), Vip { closed: 1 })].into(),
        listeners: [(web(), listener)].into(),
        next_hops: BTreeMap::new(),
    }
}

fn nothing() -> Desired {
    Desired {
        settings: Settings::new_zeroed(),
        vips: BTreeMap::new(),
        listeners: BTreeMap::new(),
        next_hops: BTreeMap::new(),
    }
}

fn apply(installed: &mut Tables, desired: &Desired, unused: &[u32]) -> Vec<Write> {
    let unused = unused.iter().copied().collect();
    let writes = plan(installed, desired, &unused).unwrap();
    for write in &writes {
        installed.apply(write);
    }
    writes
}

fn id_of(installed: &Tables, address: SocketAddr) -> Option<u32> {
    let (words, port, _) = lb_common::layout::endpoint(address);
    let mut backends = installed.backends.iter();
    backends.find(|(_, at)| at.address == words && at.port == port).map(|(id, _)| *id)
}

#[test]
fn a_first_plan_writes_targets_before_pointers() {
    let mut installed = tables();
    let writes = apply(&mut installed, &serving(&[1, 2]), &[]);
    let kinds: Vec<&str> = writes.iter().map(meaning::kind).collect();
    assert_eq!(kinds, ["backend", "backend", "slots", "listener", "point", "vip"]);
}

#[test]
fn settings_that_change_leave_what_the_maps_were_made_with() {
    let mut installed = tables();
    installed.settings.other_mask = 0x7f;
    let made = installed.settings;
    let mut desired = nothing();
    desired.settings.timeouts = [9; 8];
    apply(&mut installed, &desired, &[]);
    assert_eq!(installed.settings, Settings { timeouts: [9; 8], ..made });
}

#[test]
fn a_changed_rotation_is_one_swap() {
    let mut installed = tables();
    let mut desired = serving(&[1, 2, 3]);
    apply(&mut installed, &desired, &[]);
    desired.listeners.get_mut(&web()).unwrap().set_slots(&[v4(1), v4(2)]);
    let writes = apply(&mut installed, &desired, &[]);
    let slots = [0, 1].map(|backend| Slot { backend, weight: 1 }).to_vec();
    assert_eq!(writes, [Write::Slots { base: 3, slots }, Write::Run { id: 0, run: run(3, 2) }]);
}

#[test]
fn another_way_to_draw_leaves_the_slots() {
    let mut installed = tables();
    let mut desired = serving(&[1, 2, 3]);
    apply(&mut installed, &desired, &[]);
    let draw = &mut desired.listeners.get_mut(&web()).unwrap().draw;
    (draw.scheduler, draw.affinity_ticks) = (Scheduler::LeastLoad, 70);
    let writes = apply(&mut installed, &desired, &[]);
    assert_eq!(writes.iter().map(meaning::kind).collect::<Vec<_>>(), ["draw"]);
    let listener = installed.listeners[&0];
    assert_eq!((listener.scheduler, listener.affinity_ticks), (4, 70));
    assert_eq!(installed.slots(&listener).len(), 3);
}

#[test]
fn a_retired_id_is_freed_and_given_away_only_when_no_flow_remembers_it() {
    let mut installed = tables();
    apply(&mut installed, &serving(&[1, 2]), &[]);
    let id = id_of(&installed, v4(1)).unwrap();
    apply(&mut installed, &serving(&[2, 3]), &[]);
    assert_eq!(installed.backends[&id].state, BACKEND_DOWN_KEEP);
    assert_ne!(id_of(&installed, v4(3)), Some(id));
    let writes = apply(&mut installed, &serving(&[2, 3]), &[id]);
    assert_eq!(writes, [Write::FreeBackend { id }]);
    apply(&mut installed, &serving(&[2, 3, 4]), &[]);
    assert_eq!(id_of(&installed, v4(4)), Some(id));
}

#[test]
fn a_service_that_comes_back_finds_its_flows_again() {
    let mut installed = tables();
    apply(&mut installed, &serving(&[1]), &[]);
    let id = id_of(&installed, v4(1)).unwrap();
    apply(&mut installed, &nothing(), &[]);
    assert_eq!(installed.backends[&id].state, BACKEND_DOWN_RESET);
    apply(&mut installed, &serving(&[1]), &[]);
    assert_eq!(installed.slots(&installed.listeners[&0]), [Slot { backend: id, weight: 1 }]);
}

#[test]
fn a_listener_id_is_not_given_away_while_a_backend_id_names_it() {
    let mut installed = tables();
    apply(&mut installed, &serving(&[1]), &[]);
    let mut other = serving(&[1]);
    let listener = other.listeners.remove(&web()).unwrap();
    let mail = key("203.0.113.10:25", Protocol::Tcp);
    other.listeners.insert(mail, desired::Listener { cursor: mail, ..listener });
    apply(&mut installed, &other, &[]);
    assert_eq!(installed.pointers[&mail], 1);
    assert_eq!(installed.backends.len(), 2);
}

#[test]
fn a_retired_backend_that_is_kept_follows_its_next_hop() {
    let mut installed = tables();
    apply(&mut installed, &serving(&[1, 2]), &[]);
    let mut desired = serving(&[2]);
    desired.next_hops.insert(v4(1).ip(), way(9));
    apply(&mut installed, &desired, &[]);
    let id = id_of(&installed, v4(1)).unwrap();
    assert_eq!(next_hop(&installed.backends[&id]), Some(way(9)));
}

#[test]
fn a_plan_without_room_says_what_there_is_too_much_of() {
    let mut installed = tables();
    apply(&mut installed, &serving(&[1]), &[]);
    let retired = installed.backends[&0];
    installed.backends.extend((1..MAX_BACKENDS).map(|id| (id, retired)));
    let full = plan(&installed, &serving(&[1, 2]), &BTreeSet::new()).unwrap_err();
    assert_eq!(full, Full::Backends);
    assert!(full.to_string().contains("262144 backend ids"), "{full}");

    let mut installed = tables();
    installed.runs.insert(1, vec![FREE; usize::try_from(MAX_SLOTS).unwrap() - 1]);
    assert_eq!(plan(&installed, &serving(&[1, 2]), &BTreeSet::new()), Err(Full::Slots));
    assert!(plan(&installed, &serving(&[1]), &BTreeSet::new()).is_ok());
}

#[test]
fn listeners_without_room_keep_their_slots_and_the_others_get_theirs() {
    let mut installed = tables();
    let mail = key("203.0.113.10:25", Protocol::Tcp);
    let mut desired = serving(&[1, 2, 3]);
    desired.listeners.extend(serving(&[1, 2, 3]).listeners.into_values().map(|it| (mail, it)));
    apply(&mut installed, &desired, &[]);
    let slots =
        |tables: &Tables, key| tables.slots(&tables.listeners[&tables.pointers[&key]]).to_vec();
    let before = slots(&installed, web());
    installed.runs.insert(7, vec![FREE; usize::try_from(MAX_SLOTS).unwrap() - 7]);
    desired.listeners.get_mut(&web()).unwrap().set_slots(&[v4(1), v4(2)]);
    desired.listeners.get_mut(&mail).unwrap().set_slots(&[v4(1)]);
    let (writes, full) = plan_what_fits(&installed, &desired, &BTreeSet::new()).unwrap();
    assert_eq!(full, Some(Full::Slots));
    for write in &writes {
        installed.apply(write);
    }
    assert_eq!(slots(&installed, web()), before);
    assert_eq!(slots(&installed, mail).len(), 1);
}

#[test]
fn two_counts_without_a_cell_free_an_id() {
    let (none, one) = (BTreeMap::new(), BTreeMap::from([(5, 1)]));
    let mut retired = Retired::default();
    retired.set(&[5].into());
    retired.count(&none);
    assert!(retired.unused().is_empty());
    retired.count(&one);
    retired.count(&none);
    assert!(retired.unused().is_empty());
    retired.count(&none);
    assert_eq!(retired.unused(), [5].into());
}

#[test]
fn an_id_that_was_back_in_use_is_counted_anew() {
    let mut retired = Retired::default();
    retired.set(&[5].into());
    retired.count(&BTreeMap::new());
    retired.set(&BTreeSet::new());
    retired.set(&[5].into());
    retired.count(&BTreeMap::new());
    assert!(retired.unused().is_empty());
}

/// Listener keys, and the servers of their family.
fn places() -> Vec<(ListenerKey, Vec<SocketAddr>)> {
    let (v4s, v6s) = ((1..6).map(v4).collect::<Vec<_>>(), (1..6).map(v6).collect());
    vec![
        (web(), v4s.clone()),
        (key("203.0.113.10:53", Protocol::Udp), v4s.clone()),
        (key("203.0.113.11:80", Protocol::Tcp), v4s),
        (key(VIP6, Protocol::Tcp), v6s),
    ]
}

fn any_listener(
    key: ListenerKey,
    servers: Vec<SocketAddr>,
) -> impl Strategy<Value = (ListenerKey, desired::Listener)> {
    let down = select(vec![BACKEND_DOWN_KEEP, BACKEND_DOWN_RESET]);
    let subset = subsequence(servers, 0..=5);
    let forward = select(vec![Forward::Nat, Forward::FullNat]);
    (subset, vec(any::<bool>(), 5), vec(any::<Index>(), 0..8), down, forward).prop_map(
        move |(servers, up, draws, down, forward)| {
            let state = |up: &bool| if *up { BACKEND_UP } else { down };
            let backends: BTreeMap<_, _> = servers.into_iter().zip(up.iter().map(state)).collect();
            let able: Vec<SocketAddr> = backends
                .iter()
                .filter(|(_, state)| **state == BACKEND_UP)
                .map(|(address, _)| *address)
                .collect();
            let draws = if able.is_empty() { Vec::new() } else { draws };
            let slots: Vec<_> = draws.iter().map(|draw| *draw.get(&able)).collect();
            (key, desired::Listener { forward, ..listener(key, backends, &slots, down) })
        },
    )
}

fn any_desired() -> impl Strategy<Value = Desired> {
    let listeners = subsequence(places(), 0..=4).prop_flat_map(|places| {
        places.into_iter().map(|(key, servers)| any_listener(key, servers)).collect::<Vec<_>>()
    });
    let addresses: Vec<IpAddr> = (1..6).flat_map(|n| [v4(n).ip(), v6(n).ip()]).collect();
    let next_hops = btree_map(select(addresses), (1u8..4).prop_map(way), 0..10);
    (listeners, vec(any::<Index>(), 4), next_hops, 0u32..2, [0u16..3; 1]).prop_map(
        |(mut listeners, cursors, next_hops, closed, [timeout])| {
            let keys: Vec<ListenerKey> = listeners.iter().map(|(key, _)| *key).collect();
            for ((_, listener), cursor) in listeners.iter_mut().zip(cursors) {
                listener.cursor = *cursor.get(&keys);
            }
            Desired {
                settings: Settings { timeouts: [timeout; 8], ..Settings::new_zeroed() },
                vips: keys.iter().map(|key| (key.address.ip(), Vip { closed })).collect(),
                listeners: listeners.into_iter().collect(),
                next_hops,
            }
        },
    )
}

proptest! {
    #[test]
    fn every_plan_leads_to_what_is_desired_through_sound_tables(
        steps in vec((any_desired(), vec(any::<Index>(), 0..4)), 1..8),
    ) {
        let mut installed = tables();
        for (desired, forgotten) in steps {
            let retired: Vec<u32> = retired(&installed, &desired).into_iter().collect();
            let forgotten = forgotten.iter().filter(|_| !retired.is_empty());
            let unused: BTreeSet<u32> = forgotten.map(|index| *index.get(&retired)).collect();
            for write in plan(&installed, &desired, &unused).unwrap() {
                let before = installed.clone();
                installed.apply(&write);
                assert_sound(&before, &installed, &unused);
            }
            assert_means(&installed, &desired);
            prop_assert_eq!(plan(&installed, &desired, &BTreeSet::new()), Ok(Vec::new()));
        }
    }
}
