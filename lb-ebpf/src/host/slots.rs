//! Who takes new flows, and how they are drawn: what the agent writes, in plain memory.

use core::cell::Cell as Memory;

use lb_common::layout::{Load, Scheduler, Slot, run, run_parts};
use zerocopy::FromZeros;

use super::HostTables;

impl HostTables {
    /// Lets a listener draw from these backends, all of the same weight.
    pub fn set_slots(&mut self, listener: u32, backends: &[u32]) {
        let slots: Vec<_> = backends.iter().map(|id| Slot { backend: *id, weight: 1 }).collect();
        self.set_weighted_slots(listener, &slots);
    }

    /// Lets a listener draw from these slots: a new run, then the pointer to it.
    pub fn set_weighted_slots(&mut self, listener: u32, slots: &[Slot]) {
        let front = &mut self.listeners[listener as usize];
        let (base, length) = run_parts(front.run);
        let before = base as usize..(base + length) as usize;
        front.run = run(self.slots.len() as u32, slots.len() as u32);
        self.slots.extend_from_slice(slots);
        self.set_takes_flows(&self.slots[before], 0);
        self.set_takes_flows(slots, 1);
    }

    fn set_takes_flows(&self, slots: &[Slot], takes_flows: u32) {
        for memory in slots.iter().filter_map(|slot| self.loads.get(slot.backend as usize)) {
            memory.set(Load { takes_flows, ..memory.get() });
        }
    }

    /// Makes room for entries with ids below these, free until they are written.
    pub fn make_room(&mut self, listeners: usize, backends: usize) {
        self.listeners.resize(listeners, self.blank.0);
        self.cursors.resize(listeners, Memory::new(0));
        self.guards.resize(listeners, Memory::default());
        self.listener_traffic.resize(listeners, Memory::default());
        self.backends.resize(backends, self.blank.1);
        self.loads.resize(backends, Memory::new(Load::new_zeroed()));
        self.backend_traffic.resize(backends, Memory::default());
    }

    /// How a listener draws.
    pub fn set_scheduler(&mut self, listener: u32, scheduler: Scheduler) {
        self.listeners[listener as usize].scheduler = scheduler.number();
    }

    /// For how many ticks a listener sends a source, of which so many bits count, where it sent it before.
    pub fn set_affinity(&mut self, listener: u32, ticks: u32, prefix: u32) {
        let front = &mut self.listeners[listener as usize];
        (front.affinity_ticks, front.affinity_prefix) = (ticks, prefix);
    }

    /// The load of a backend.
    pub fn load_of(&self, backend: u32) -> Load {
        self.loads[backend as usize].get()
    }

    /// Sets what a sweep has counted at a backend.
    pub fn set_swept(&self, backend: u32, flows: u64) {
        let memory = &self.loads[backend as usize];
        let load = memory.get();
        memory.set(Load { base: flows.wrapping_sub(load.change), ..load });
    }
}
