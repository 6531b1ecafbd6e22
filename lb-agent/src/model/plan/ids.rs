//! Gives ids to listeners and backends, and knows when an id may be given away again.
//!
//! What is installed keeps its id. An id that a flow may remember means the same until it is freed, so a
//! backend or a service that comes back finds its flows again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use lb_common::layout::Backend;
use lb_common::{MAX_BACKENDS, MAX_LISTENERS};

use super::Full;
use crate::model::desired::Desired;
use crate::model::tables::{ListenerKey, Tables, server};

/// The ids of everything that is desired.
pub(super) struct Ids {
    listeners: BTreeMap<ListenerKey, u32>,
    backends: BTreeMap<(u32, SocketAddr), u32>,
    desired_listeners: BTreeSet<u32>,
    desired_backends: BTreeSet<u32>,
}

impl Ids {
    pub(super) fn assign(installed: &Tables, desired: &Desired) -> Result<Self, Full> {
        let listeners = assign_listeners(installed, desired)?;
        let backends = assign_backends(installed, desired, &listeners)?;
        let desired_listeners = listeners.values().copied().collect();
        let desired_backends = backends.values().copied().collect();
        Ok(Self { listeners, backends, desired_listeners, desired_backends })
    }

    pub(super) fn listener(&self, key: &ListenerKey) -> Option<u32> {
        self.listeners.get(key).copied()
    }

    pub(super) fn backend(&self, listener: u32, address: SocketAddr) -> Option<u32> {
        self.backends.get(&(listener, address)).copied()
    }

    pub(super) fn has_listener(&self, id: u32) -> bool {
        self.desired_listeners.contains(&id)
    }

    pub(super) fn has_backend(&self, id: u32) -> bool {
        self.desired_backends.contains(&id)
    }
}

fn assign_listeners(
    installed: &Tables,
    desired: &Desired,
) -> Result<BTreeMap<ListenerKey, u32>, Full> {
    let remembered: BTreeMap<ListenerKey, u32> = installed
        .backends
        .values()
        .filter_map(|backend| Some((ListenerKey::of_backend(backend)?, backend.listener)))
        .collect();
    // A free id must not be one that a retired backend names: its flows would count as the new listener's.
    let mut taken: BTreeSet<u32> = installed.listeners.keys().copied().collect();
    taken.extend(remembered.values());
    taken.extend(installed.pointers.values());
    let mut free = (0..MAX_LISTENERS).filter(|id| !taken.contains(id));
    let mut assign = |key: &ListenerKey| {
        let has = installed.pointers.get(key).or_else(|| remembered.get(key));
        Ok((*key, has.copied().or_else(|| free.next()).ok_or(Full::Listeners)?))
    };
    desired.listeners.keys().map(&mut assign).collect()
}

fn assign_backends(
    installed: &Tables,
    desired: &Desired,
    listeners: &BTreeMap<ListenerKey, u32>,
) -> Result<BTreeMap<(u32, SocketAddr), u32>, Full> {
    // Flows of another way of forwarding have other cells, so an id keeps its way too.
    let has: BTreeMap<(u32, SocketAddr, u8), u32> = installed
        .backends
        .iter()
        .filter_map(|(id, backend)| {
            Some(((backend.listener, server(backend)?, backend.forward), *id))
        })
        .collect();
    let mut free = (0..MAX_BACKENDS).filter(|id| !installed.backends.contains_key(id));
    let mut assigned = BTreeMap::new();
    for (key, desired) in &desired.listeners {
        let Some(listener) = listeners.get(key) else { continue };
        for address in desired.backends.keys() {
            let forward = desired.forward.of_address(address.is_ipv4()).number();
            let id = has.get(&(*listener, *address, forward)).copied();
            let id = id.or_else(|| free.next()).ok_or(Full::Backends)?;
            assigned.insert((*listener, *address), id);
        }
    }
    Ok(assigned)
}

/// Ids of backends that are installed and not desired.
pub fn retired(installed: &Tables, desired: &Desired) -> BTreeSet<u32> {
    let is_desired = |backend: &Backend| {
        let (key, address) = (ListenerKey::of_backend(backend)?, server(backend)?);
        let listener = desired.listeners.get(&key)?;
        let reached = installed.pointers.get(&key) == Some(&backend.listener);
        let forward = listener.forward.of_address(address.is_ipv4()).number();
        let same = listener.backends.contains_key(&address) && forward == backend.forward;
        (reached && same).then_some(())
    };
    let backends = installed.backends.iter();
    backends.filter(|(_, backend)| is_desired(backend).is_none()).map(|(id, _)| *id).collect()
}

/// For each retired id, how many counts of the flow table in a row have not found it.
///
/// One count does not suffice: it may have begun before the id was retired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retired(BTreeMap<u32, u8>);

impl Retired {
    const COUNTS: u8 = 2;

    /// Takes note of what is retired now; an id that is new here or was back in use starts from nothing.
    pub fn set(&mut self, retired: &BTreeSet<u32>) {
        self.0.retain(|id, _| retired.contains(id));
        for id in retired {
            self.0.entry(*id).or_default();
        }
    }

    /// Takes a count of the cells by backend id.
    pub fn count(&mut self, cells: &BTreeMap<u32, u64>) {
        for (id, empty) in &mut self.0 {
            let found = cells.get(id).is_some_and(|cells| *cells > 0);
            *empty = if found { 0 } else { Self::COUNTS.min(*empty + 1) };
        }
    }

    /// The ids that no flow remembers.
    pub fn unused(&self) -> BTreeSet<u32> {
        let unused = self.0.iter().filter(|(_, empty)| **empty >= Self::COUNTS);
        unused.map(|(id, _)| *id).collect()
    }
}
