//! How the tables in plain memory answer the packet path.

use core::cell::Cell as Memory;

use lb_common::layout::guard::Guard;
use lb_common::layout::{
    Affinity, AffinityKey, Backend, Bucket, Count, Detail, FragmentKey, FragmentWay, Interface,
    Listener, ListenerKeyV4, ListenerKeyV6, Load, Settings, Slot, Traffic, Vip,
};
use lb_common::{MAX_BACKENDS, MAX_LISTENERS};

use super::HostTables;
use crate::flight::Scratch;
use crate::tables::{Entry, Tables};

pub(super) fn entry<T: Copy>(memory: &[Memory<T>], index: u32) -> Option<Entry<T>> {
    let value = memory.get(index as usize)?.as_ptr();
    // SAFETY: the memory lives as long as the tables, which outlive the packet; a `Cell` may be written
    // through a shared reference, and belongs to one thread.
    Some(unsafe { Entry::new(value) })
}

impl Tables for HostTables {
    fn settings(&self) -> Option<&Settings> {
        Some(&self.settings)
    }

    fn tick(&self) -> u64 {
        self.tick.get()
    }

    fn nanoseconds(&self) -> u64 {
        self.nanoseconds.get()
    }

    fn held_until(&self) -> u64 {
        self.held_until
    }

    fn listener_id_v4(&self, key: &ListenerKeyV4) -> Option<u32> {
        self.listener_ids_v4.get(key).copied()
    }

    fn listener_id_v6(&self, key: &ListenerKeyV6) -> Option<u32> {
        self.listener_ids_v6.get(key).copied()
    }

    fn vip_v4(&self, address: &u32) -> Option<Vip> {
        self.vips_v4.get(address).copied()
    }

    fn vip_v6(&self, address: &[u32; 4]) -> Option<Vip> {
        self.vips_v6.get(address).copied()
    }

    fn listener(&self, id: u32) -> Option<&Listener> {
        (id < MAX_LISTENERS).then(|| self.listeners.get(id as usize).unwrap_or(&self.blank.0))
    }

    fn guard(&self, listener: u32) -> Option<Entry<Guard>> {
        entry(&self.guards, listener)
    }

    fn slot(&self, index: u32) -> Option<Slot> {
        self.slots.get(index as usize).copied()
    }

    fn backend(&self, id: u32) -> Option<&Backend> {
        (id < MAX_BACKENDS).then(|| self.backends.get(id as usize).unwrap_or(&self.blank.1))
    }

    fn draw(&self, cursor: u32) -> u64 {
        let Some(cursor) = self.cursors.get(cursor as usize) else { return 0 };
        cursor.replace(cursor.get().wrapping_add(1))
    }

    /// Marsaglia's xorshift.
    fn random(&self) -> u32 {
        let mut state = self.random.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.random.set(state);
        (state >> 32) as u32
    }

    fn load(&self, backend: u32) -> Option<Load> {
        Some(self.loads.get(backend as usize)?.get())
    }

    fn add_load(&self, backend: u32, flows: u64) {
        let Some(memory) = self.loads.get(backend as usize) else { return };
        let load = memory.get();
        memory.set(Load { change: load.change.wrapping_add(flows), ..load });
    }

    fn affinity(&self, key: &AffinityKey) -> Option<Affinity> {
        self.affinities.borrow().get(key).copied()
    }

    fn set_affinity(&self, key: &AffinityKey, affinity: &Affinity) {
        self.affinities.borrow_mut().insert(*key, *affinity);
    }

    fn bucket(&self, index: u32) -> Option<Entry<Bucket>> {
        entry(&self.buckets, index)
    }

    fn mark(&self, number: u32) -> Option<Entry<u64>> {
        entry(&self.marks, number)
    }

    fn other_bucket(&self, index: u32) -> Option<Entry<Bucket>> {
        entry(&self.other.as_ref()?.buckets, index)
    }

    fn other_detail(&self, index: u32) -> Option<Entry<Detail>> {
        entry(&self.other.as_ref()?.details, index)
    }

    fn cpu(&self) -> u32 {
        0
    }

    fn draw_source(&self) -> u64 {
        self.sources_drawn.replace(self.sources_drawn.get().wrapping_add(1))
    }

    fn may_report(&self) -> bool {
        self.may_report.get()
    }

    fn fragment(&self, key: &FragmentKey) -> Option<FragmentWay> {
        self.fragments.borrow().get(key).copied()
    }

    fn remember_fragment(&self, key: &FragmentKey, way: &FragmentWay) {
        self.fragments.borrow_mut().insert(*key, *way);
    }

    fn detail(&self, index: u32) -> Option<Entry<Detail>> {
        entry(&self.details, index)
    }

    fn filter(&self, word: u32) -> u64 {
        self.filter_word(word)
    }

    fn interface(&self, number: u64) -> Option<Interface> {
        self.interfaces.get(&number).copied()
    }

    fn scratch(&self) -> Option<Entry<Scratch>> {
        entry(core::slice::from_ref(&*self.scratch), 0)
    }

    fn verdict_count(&self, number: u32) -> Option<Entry<Count>> {
        entry(&self.verdicts, number)
    }

    fn listener_traffic(&self, id: u32) -> Option<Entry<Traffic>> {
        entry(&self.listener_traffic, id)
    }

    fn backend_traffic(&self, id: u32) -> Option<Entry<Traffic>> {
        entry(&self.backend_traffic, id)
    }
}
