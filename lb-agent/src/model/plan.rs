//! The way from the installed tables to the desired ones: an ordered list of writes.
//!
//! Targets are written before what points to them, and pointers removed before their targets, so that a
//! packet finds sound tables between any two writes. The one hard fact: while a flow may remember a
//! backend id, the id names the same server behind the same listener.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lb_common::layout;
use lb_common::layout::{BACKEND_DOWN_RESET, BACKEND_UP, Backend, Settings, Slot, run_parts};
use lb_common::{MAX_BACKENDS, MAX_LISTENERS, MAX_SLOTS, MAX_VIPS};

use super::desired::{self, Desired};
use super::firewall::compile::CompileError;
use super::tables::{ListenerKey, Tables, Write, server};
use ids::Ids;

mod entry;
mod ids;
mod slots;
#[cfg(test)]
mod tests;

pub use entry::next_hop;
pub use ids::{Retired, retired};

/// The maps have no room for what is desired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// VIPs
    #[error("more than {MAX_VIPS} VIPs of one family")]
    Vips,
    /// The firewall
    #[error(transparent)]
    Firewall(#[from] CompileError),
    /// Listeners
    #[error("more than {MAX_LISTENERS} listeners (VIP, port and protocol)")]
    Listeners,
    /// Backend ids
    #[error(
        "more than {MAX_BACKENDS} backend ids (one for each backend of each listener, and those that flows remember)"
    )]
    Backends,
    /// Slots
    #[error(
        "more than {MAX_SLOTS} slots (one for each turn of each backend in the rotation of each listener)"
    )]
    Slots,
}

/// Plans the writes from `installed` to `desired`; none if nothing differs.
///
/// `unused` are ids of retired backends that no flow remembers, see [`Retired`].
pub fn plan(
    installed: &Tables,
    desired: &Desired,
    unused: &BTreeSet<u32>,
) -> Result<Vec<Write>, Full> {
    match plan_what_fits(installed, desired, unused)? {
        (writes, None) => Ok(writes),
        (_, Some(full)) => Err(full),
    }
}

/// The same, but listeners for whose new slots there is no room keep the ones that they have, and new ones
/// get none; says whether there were any.
pub fn plan_what_fits(
    installed: &Tables,
    desired: &Desired,
    unused: &BTreeSet<u32>,
) -> Result<(Vec<Write>, Option<Full>), Full> {
    check_vips(installed, desired)?;
    let planner = Planner { installed, desired, unused, ids: Ids::assign(installed, desired)? };
    let (runs, full) = planner.runs();
    let (rising, falling) = planner.backends();
    // What a listener that keeps its slots draws from is not freed.
    let frees = if full.is_none() { planner.frees() } else { Vec::new() };
    let writes = [
        planner.settings(),
        rising,
        Planner::slots(&runs),
        planner.new_listeners(&runs),
        planner.changed_listeners(&runs),
        planner.points(),
        planner.removals(),
        falling,
        frees,
    ];
    Ok((writes.concat(), full))
}

struct Planner<'a> {
    installed: &'a Tables,
    desired: &'a Desired,
    unused: &'a BTreeSet<u32>,
    ids: Ids,
}

/// The run and its slots of each listener that does not have the right one.
type Runs = BTreeMap<u32, (u64, Vec<Slot>)>;

impl Planner<'_> {
    fn settings(&self) -> Vec<Write> {
        let Settings {
            hash_key,
            cookie_key,
            cookie_clock,
            bucket_mask,
            other_mask,
            layout,
            cpus,
            generation,
            ..
        } = self.installed.settings;
        let made = Settings { hash_key, cookie_key, cookie_clock, ..self.desired.settings };
        let settings = Settings { bucket_mask, other_mask, layout, cpus, generation, ..made };
        changed(settings != self.installed.settings, || Write::Settings(Box::new(settings)))
    }

    /// The desired listeners with their ids.
    fn listeners(&self) -> impl Iterator<Item = (u32, &ListenerKey, &desired::Listener)> {
        let listeners = self.desired.listeners.iter();
        listeners.filter_map(|(key, listener)| Some((self.ids.listener(key)?, key, listener)))
    }

    /// Whether a key points to the listener, and so must not find it changed but by single stores.
    fn is_in_use(&self, id: u32, key: &ListenerKey) -> bool {
        self.installed.pointers.get(key) == Some(&id) && self.installed.listeners.contains_key(&id)
    }

    fn runs(&self) -> (Runs, Option<Full>) {
        let mut full = None;
        let mut free = slots::Free::of(self.installed);
        let mut runs = Runs::new();
        for (id, key, listener) in self.listeners() {
            let slots = self.wanted_slots(id, listener);
            let has = self.installed.listeners.get(&id).filter(|_| self.is_in_use(id, key));
            if has.is_none_or(|listener| self.installed.slots(listener) != slots) {
                match free.take(slots.len()) {
                    Ok(run) => drop(runs.insert(id, (run, slots))),
                    Err(no_room) => {
                        full = Some(no_room);
                        if has.is_none() {
                            runs.insert(id, (layout::run(0, 0), Vec::new()));
                        }
                    }
                }
            }
        }
        (runs, full)
    }

    fn wanted_slots(&self, id: u32, listener: &desired::Listener) -> Vec<Slot> {
        let members: Vec<Option<Slot>> = listener
            .members
            .iter()
            .map(|&(address, weight)| {
                Some(Slot { backend: self.ids.backend(id, address)?, weight })
            })
            .collect();
        let turns = listener.turns.iter().filter_map(|turn| usize::try_from(*turn).ok());
        turns.filter_map(|turn| members.get(turn).copied().flatten()).collect()
    }

    fn slots(runs: &Runs) -> Vec<Write> {
        let runs = runs.values().filter(|(_, slots)| !slots.is_empty());
        runs.map(|(run, slots)| Write::Slots { base: run_parts(*run).0, slots: slots.clone() })
            .collect()
    }

    fn new_listeners(&self, runs: &Runs) -> Vec<Write> {
        let new = self.listeners().filter(|(id, key, _)| !self.is_in_use(*id, key));
        new.filter_map(|(id, key, listener)| {
            let (run, _) = runs.get(&id)?;
            let cursor = self.ids.listener(&listener.cursor)?;
            Some(Write::Listener { id, value: entry::listener(*key, *run, cursor, listener.draw) })
        })
        .collect()
    }

    fn changed_listeners(&self, runs: &Runs) -> Vec<Write> {
        let old = self.listeners().filter(|(id, key, _)| self.is_in_use(*id, key));
        old.flat_map(|(id, key, listener)| {
            let run = runs.get(&id).map(|(run, _)| Write::Run { id, run: *run });
            let has = self.installed.listeners.get(&id);
            let draw = has.zip(self.ids.listener(&listener.cursor)).and_then(|(has, cursor)| {
                let value = entry::listener(*key, has.run, cursor, listener.draw);
                (*has != value).then_some(Write::Draw { id, value })
            });
            run.into_iter().chain(draw)
        })
        .collect()
    }

    fn points(&self) -> Vec<Write> {
        let points = self.listeners().filter(|(id, key, _)| !self.is_in_use(*id, key));
        let points = points.map(|(id, key, _)| Write::Point { key: *key, id });
        let vips = self.desired.vips.iter();
        let vips = vips.filter(|(address, vip)| self.installed.vips.get(address) != Some(vip));
        let vips = vips.map(|(address, vip)| Write::Vip { address: *address, value: *vip });
        points.chain(vips).collect()
    }

    fn removals(&self) -> Vec<Write> {
        let keys = self.installed.pointers.keys();
        let unpoint = keys.filter(|key| !self.desired.listeners.contains_key(key));
        let unpoint = unpoint.map(|key| Write::Unpoint { key: *key });
        let vips = self.installed.vips.keys();
        let vips = vips.filter(|address| !self.desired.vips.contains_key(address));
        let vips = vips.map(|address| Write::RemoveVip { address: *address });
        let listeners = self.installed.listeners.keys();
        let listeners = listeners.filter(|id| !self.ids.has_listener(**id));
        let listeners = listeners.map(|id| Write::FreeListener { id: *id });
        unpoint.chain(vips).chain(listeners).collect()
    }

    /// Writes of backends: those that new flows may need, then those that they need no more.
    fn backends(&self) -> (Vec<Write>, Vec<Write>) {
        let entries = self.desired_entries().chain(self.retired_entries());
        let changed = entries.filter(|(id, value)| self.installed.backends.get(id) != Some(value));
        let (rising, falling): (Vec<_>, Vec<_>) =
            changed.partition(|(_, value)| value.state == BACKEND_UP);
        let writes = |entries: Vec<(u32, Backend)>| {
            entries.into_iter().map(|(id, value)| Write::Backend { id, value }).collect()
        };
        (writes(rising), writes(falling))
    }

    fn desired_entries(&self) -> impl Iterator<Item = (u32, Backend)> {
        self.listeners().flat_map(move |(listener, key, desired)| {
            desired.backends.iter().filter_map(move |(address, state)| {
                let id = self.ids.backend(listener, *address)?;
                let next_hop = self.desired.next_hops.get(&address.ip());
                let way = (*address, desired.forward.of_address(address.is_ipv4()));
                Some((id, entry::backend(listener, *key, way, *state, next_hop)))
            })
        })
    }

    fn retired_entries(&self) -> impl Iterator<Item = (u32, Backend)> {
        self.retired().filter(|(id, _)| !self.unused.contains(id)).map(|(id, backend)| {
            let key = ListenerKey::of_backend(&backend);
            let listener = key.and_then(|key| self.desired.listeners.get(&key));
            let state = match (listener, backend.state) {
                (Some(listener), _) => listener.down,
                (None, BACKEND_UP) => BACKEND_DOWN_RESET,
                (None, down) => down,
            };
            let next_hop =
                server(&backend).and_then(|server| self.desired.next_hops.get(&server.ip()));
            (id, entry::with_next_hop(Backend { state, ..backend }, next_hop))
        })
    }

    fn retired(&self) -> impl Iterator<Item = (u32, Backend)> {
        let backends = self.installed.backends.iter();
        backends.filter(|(id, _)| !self.ids.has_backend(**id)).map(|(id, backend)| (*id, *backend))
    }

    fn frees(&self) -> Vec<Write> {
        let ids = self.retired().map(|(id, _)| id).filter(|id| self.unused.contains(id));
        ids.map(|id| Write::FreeBackend { id }).collect()
    }
}

fn changed(condition: bool, write: impl FnOnce() -> Write) -> Vec<Write> {
    condition.then(write).into_iter().collect()
}

/// VIPs of both tables are in the maps for a while.
fn check_vips(installed: &Tables, desired: &Desired) -> Result<(), Full> {
    let all: BTreeSet<&IpAddr> = installed.vips.keys().chain(desired.vips.keys()).collect();
    let n_v4 = all.iter().filter(|address| address.is_ipv4()).count();
    let most = usize::try_from(MAX_VIPS).unwrap_or(usize::MAX);
    if n_v4.max(all.len() - n_v4) > most { Err(Full::Vips) } else { Ok(()) }
}
