//! What tables mean to a packet, read from the entries alone, as the packet path reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use lb_common::layout::{BACKEND_UP, Backend, Listener, Slot, run_parts};

use crate::model::desired::Desired;
use crate::model::plan::next_hop;
use crate::model::tables::{self, ListenerKey, Tables, Write};

/// A word for each kind of write.
pub(super) fn kind(write: &Write) -> &'static str {
    match write {
        Write::Settings(_) => "settings",
        Write::Backend { .. } => "backend",
        Write::FreeBackend { .. } => "free backend",
        Write::Slots { .. } => "slots",
        Write::Listener { .. } => "listener",
        Write::Run { .. } => "run",
        Write::Draw { .. } => "draw",
        Write::Point { .. } => "point",
        Write::Unpoint { .. } => "unpoint",
        Write::FreeListener { .. } => "free listener",
        Write::Vip { .. } => "vip",
        Write::RemoveVip { .. } => "remove vip",
        Write::Firewall(_) => "firewall",
    }
}

fn server(backend: &Backend) -> SocketAddr {
    tables::server(backend).unwrap()
}

fn run(tables: &Tables, listener: &Listener) -> Vec<u32> {
    let (base, length) = run_parts(listener.run);
    let run: &[Slot] = if length == 0 { &[] } else { &tables.runs[&base] };
    assert_eq!(run.len(), usize::try_from(length).unwrap());
    run.iter().map(|slot| slot.backend).collect()
}

/// The tables say exactly what is desired, and nothing else takes new flows.
pub(super) fn assert_means(tables: &Tables, desired: &Desired) {
    assert_eq!(tables.settings.timeouts, desired.settings.timeouts);
    assert_eq!(tables.vips, desired.vips);
    assert!(tables.pointers.keys().eq(desired.listeners.keys()));
    assert_eq!(tables.listeners.len(), tables.pointers.len());
    let n_slots: usize = tables.runs.values().map(Vec::len).sum();
    let wanted = desired.listeners.values().map(|listener| listener.turns.len());
    assert_eq!(n_slots, wanted.sum::<usize>());
    for (key, wanted) in &desired.listeners {
        let id = tables.pointers[key];
        let listener = &tables.listeners[&id];
        assert_eq!(listener.scheduler, wanted.draw.scheduler.number());
        assert_eq!(listener.cursor, tables.pointers[&wanted.cursor]);
        let slots: Vec<SocketAddr> =
            run(tables, listener).iter().map(|id| server(&tables.backends[id])).collect();
        assert_eq!(slots, wanted.slots());
        let of_listener = tables.backends.values().filter(|backend| backend.listener == id);
        let states: BTreeMap<(SocketAddr, u8), u8> = of_listener
            .map(|backend| ((server(backend), backend.forward), backend.state))
            .collect();
        let way = |address: &SocketAddr| {
            (*address, wanted.forward.of_address(address.is_ipv4()).number())
        };
        for (address, state) in &wanted.backends {
            assert_eq!(states.get(&way(address)), Some(state));
        }
        let is_retired = |place: &(SocketAddr, u8)| {
            !wanted.backends.contains_key(&place.0) || *place != way(&place.0)
        };
        let retired = states.iter().filter(|(place, _)| is_retired(place));
        retired.for_each(|(_, state)| assert_eq!(*state, wanted.down));
    }
    for backend in tables.backends.values() {
        assert_eq!(next_hop(backend), desired.next_hops.get(&server(backend).ip()).copied());
    }
}

/// A packet that meets the tables after this write is served, and no flow is led astray.
pub(super) fn assert_sound(before: &Tables, after: &Tables, unused: &BTreeSet<u32>) {
    for (key, id) in &after.pointers {
        let listener = &after.listeners[id];
        assert_eq!(ListenerKey::of_listener(listener), Some(*key));
        for slot in run(after, listener) {
            let backend = &after.backends[&slot];
            assert_eq!((backend.listener, backend.state), (*id, BACKEND_UP));
            assert_eq!(ListenerKey::of_backend(backend), Some(*key));
        }
    }
    for (base, run) in &before.runs {
        let pointed = before.listeners.values().any(|listener| run_parts(listener.run).0 == *base);
        assert!(!pointed || after.runs.get(base).is_none_or(|after| after == run));
    }
    for (id, backend) in &before.backends {
        match after.backends.get(id) {
            Some(after) => assert_eq!(meaning(backend), meaning(after)),
            None => assert!(unused.contains(id)),
        }
    }
}

fn meaning(backend: &Backend) -> (u32, Option<ListenerKey>, SocketAddr, u8) {
    (backend.listener, ListenerKey::of_backend(backend), server(backend), backend.forward)
}
