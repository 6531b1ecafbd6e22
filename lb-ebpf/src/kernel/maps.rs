//! How the packet path asks the maps.

use aya_ebpf::helpers::generated::{
    bpf_get_prandom_u32, bpf_get_smp_processor_id, bpf_ktime_get_ns,
};
use lb_common::cell::Cell;
use lb_common::layout::guard::Guard;
use lb_common::layout::{
    Affinity, AffinityKey, Backend, Bucket, Count, Detail, FragmentKey, FragmentWay, Interface,
    Listener, ListenerKeyV4, ListenerKeyV6, Load, Settings, Slot, Traffic, Vip,
};
use lb_common::verdict::Verdict;
use lb_ebpf::World;
use lb_ebpf::family::Family;
use lb_ebpf::flight::{Flight, Scratch};
use lb_ebpf::flow::NOWHERE;
use lb_ebpf::tables::{Entry, Tables};
use lb_ebpf::verifier::rolled;

use super::declared::{
    AFFINITIES, BACKEND_TRAFFIC, BACKENDS, CURSORS, DETAILS, FILTER, FLOWS, FRAGMENTS, GUARDS,
    HELD_UNTIL, INTERFACES, LISTENER_TRAFFIC, LISTENERS, LISTENERS_V4, LISTENERS_V6, LOADS, MARKS,
    OTHER_DETAILS, OTHER_FLOWS, SCRATCH, SETTINGS, SLOTS, SOURCES_DRAWN, VERDICTS, VIPS_V4,
    VIPS_V6,
};
use super::{explain, fetch_add, parts, tick};
use crate::program::entry;

/// The maps. The quick program never explains.
pub struct KernelTables<const QUICK: bool>;

impl<const QUICK: bool> Tables for KernelTables<QUICK> {
    #[inline(always)]
    fn explains(&self) -> bool {
        !QUICK && explain::explains()
    }

    #[inline(always)]
    fn samples(&self) -> bool {
        explain::samples()
    }

    #[inline(always)]
    fn tell(&self, verdict: Verdict) {
        parts::tell(u64::from(verdict.number()));
    }

    #[inline(always)]
    fn settings(&self) -> Option<&Settings> {
        SETTINGS.get(0)
    }

    #[inline(always)]
    fn tick(&self) -> u64 {
        tick::now()
    }

    #[inline(always)]
    fn nanoseconds(&self) -> u64 {
        // SAFETY: a helper without pointers.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn held_until(&self) -> u64 {
        HELD_UNTIL.get(0).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn listener_id_v4(&self, key: &ListenerKeyV4) -> Option<u32> {
        // SAFETY: the value is copied at once; a racing update replaces it whole.
        unsafe { LISTENERS_V4.get(key).copied() }
    }

    #[inline(always)]
    fn listener_id_v6(&self, key: &ListenerKeyV6) -> Option<u32> {
        // SAFETY: the value is copied at once; a racing update replaces it whole.
        unsafe { LISTENERS_V6.get(key).copied() }
    }

    #[inline(always)]
    fn vip_v4(&self, address: &u32) -> Option<Vip> {
        // SAFETY: the value is copied at once; a racing update replaces it whole.
        unsafe { VIPS_V4.get(address).copied() }
    }

    #[inline(always)]
    fn vip_v6(&self, address: &[u32; 4]) -> Option<Vip> {
        // SAFETY: the value is copied at once; a racing update replaces it whole.
        unsafe { VIPS_V6.get(address).copied() }
    }

    #[inline(always)]
    fn listener(&self, id: u32) -> Option<&Listener> {
        LISTENERS.get(id)
    }

    #[inline(always)]
    fn guard(&self, listener: u32) -> Option<Entry<Guard>> {
        entry!(GUARDS, listener)
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<Slot> {
        SLOTS.get(index).copied()
    }

    #[inline(always)]
    fn backend(&self, id: u32) -> Option<&Backend> {
        BACKENDS.get(id)
    }

    #[inline(always)]
    fn draw(&self, cursor: u32) -> u64 {
        let Some(cursor) = CURSORS.get_ptr_mut(cursor) else { return 0 };
        let addend = u64::from(!self.explains());
        // SAFETY: the word is aligned and lives as long as the program.
        unsafe { fetch_add(cursor.cast::<u64>(), addend) }
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: a helper without pointers.
        unsafe { bpf_get_prandom_u32() }
    }

    #[inline(always)]
    fn load(&self, backend: u32) -> Option<Load> {
        LOADS.get(backend).copied()
    }

    #[inline(always)]
    fn add_load(&self, backend: u32, flows: u64) {
        if self.explains() {
            return;
        }
        let Some(load) = LOADS.get_ptr_mut(backend) else { return };
        // SAFETY: a field of a value that lives as long as the program.
        let change = unsafe { &raw mut (*load).change };
        // SAFETY: the word is aligned and lives as long as the program.
        unsafe { fetch_add(change, flows) };
    }

    #[inline(always)]
    fn affinity(&self, key: &AffinityKey) -> Option<Affinity> {
        // SAFETY: the value is copied at once; a racing update replaces it whole.
        unsafe { AFFINITIES.get(key).copied() }
    }

    #[inline(always)]
    fn set_affinity(&self, key: &AffinityKey, affinity: &Affinity) {
        // Without memory for it the source is not remembered, and the next flow is drawn.
        if !self.explains() {
            AFFINITIES.insert(key, affinity, 0).ok();
        }
    }

    #[inline(always)]
    fn less_loaded(&self, base: u32, length: u32) -> u64 {
        parts::draw_less_loaded(u64::from(base), u64::from(length))
    }

    #[inline(always)]
    fn bucket(&self, index: u32) -> Option<Entry<Bucket>> {
        entry!(FLOWS, index)
    }

    #[inline(always)]
    fn mark(&self, number: u32) -> Option<Entry<u64>> {
        entry!(MARKS, number)
    }

    #[inline(always)]
    fn search(&self, hash: u64, from: u64, tick: u64) -> u64 {
        parts::flow_search(hash, from, tick)
    }

    #[inline(always)]
    fn other_bucket(&self, index: u32) -> Option<Entry<Bucket>> {
        entry!(OTHER_FLOWS, index)
    }

    #[inline(always)]
    fn other_detail(&self, index: u32) -> Option<Entry<Detail>> {
        entry!(OTHER_DETAILS, index)
    }

    #[inline(always)]
    fn other_is_before(&self) -> bool {
        super::handover::other_is_before()
    }

    #[inline(always)]
    fn recall(&self, hash: u64, tick: u64) -> u64 {
        // The other flow table is not that of the program that runs.
        if self.explains() { NOWHERE } else { parts::flow_recall(hash, tick) }
    }

    #[inline(always)]
    fn old_position(&self, hash: u64) -> u64 {
        if self.explains() { NOWHERE } else { parts::flow_old_position(hash) }
    }

    #[inline(always)]
    fn reserve(&self, hash: u64, old: u64, tick: u64) -> u64 {
        parts::flow_reserve(hash, old, tick)
    }

    #[inline(always)]
    fn hand_over(&self, hash: u64, old: u64, new: u64, tick: u64) -> u64 {
        parts::flow_hand_over(hash, old, new, tick)
    }

    #[inline(always)]
    fn other_hash(&self, index: u32, cell: Cell) -> u64 {
        parts::flow_other_hash(u64::from(index), cell.0)
    }

    #[inline(always)]
    fn survey(&self, bucket: u32, tick: u64) -> u64 {
        parts::flow_survey(u64::from(bucket), tick)
    }

    #[inline(always)]
    fn schedule<A: Family>(&self, _world: &World<'_, Self>, flight: &mut Flight<A>) -> Verdict {
        parts::of_family(flight, parts::schedule_v4, parts::schedule_v6, false)
    }

    #[inline(always)]
    fn remember<A: Family>(
        &self,
        _world: &World<'_, Self>,
        flight: &mut Flight<A>,
        takes_over: bool,
    ) -> Verdict {
        parts::of_family(flight, parts::remember_v4, parts::remember_v6, takes_over)
    }

    #[inline(always)]
    fn try_source<A: Family>(
        &self,
        _world: &World<'_, Self>,
        flight: &mut Flight<A>,
        in_any_share: bool,
    ) -> Verdict {
        parts::of_family(flight, parts::try_source_v4, parts::try_source_v6, in_any_share)
    }

    #[inline(always)]
    fn change_open(&self, hash: u64, begins: bool) {
        parts::firewall_change_open(hash, begins.into());
    }

    #[inline(always)]
    fn report_full_table(&self, tick: u64) {
        parts::report_full_table(tick);
    }

    #[inline(always)]
    fn cpu(&self) -> u32 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_get_smp_processor_id() }
    }

    #[inline(always)]
    fn draw_source(&self) -> u64 {
        let Some(drawn) = SOURCES_DRAWN.get_ptr_mut(0) else { return 0 };
        // SAFETY: memory of this CPU, which lives as long as the program.
        let number = unsafe { *drawn };
        // SAFETY: as above.
        unsafe { *drawn = number + 1 };
        number
    }

    #[inline(always)]
    fn may_report(&self) -> bool {
        parts::may_report() != 0
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentWay> {
        // SAFETY: the value is copied at once.
        unsafe { FRAGMENTS.get(key).copied() }
    }

    #[inline(always)]
    fn remember_fragment(&self, key: &FragmentKey, way: &FragmentWay) {
        // Where there is no room the later fragments are dropped, by name.
        if !self.explains() {
            FRAGMENTS.insert(key, way, 0).ok();
        }
    }

    #[inline(always)]
    fn detail(&self, index: u32) -> Option<Entry<Detail>> {
        entry!(DETAILS, index)
    }

    #[inline(always)]
    fn filter(&self, word: u32) -> u64 {
        // Without a word there would be no map, and so no program.
        FILTER.get(word).copied().unwrap_or(u64::MAX)
    }

    #[inline(always)]
    fn interface(&self, number: u64) -> Option<Interface> {
        for choice in rolled(Interface::CHOICES as usize) {
            let interface = INTERFACES.get(Interface::place(number, choice as u32))?;
            if interface.index == number {
                return Some(*interface);
            }
        }
        None
    }

    #[inline(always)]
    fn scratch(&self) -> Option<Entry<Scratch>> {
        entry!(SCRATCH, 0)
    }

    #[inline(always)]
    fn verdict_count(&self, number: u32) -> Option<Entry<Count>> {
        if self.explains() {
            return None;
        }
        entry!(VERDICTS, number)
    }

    #[inline(always)]
    fn listener_traffic(&self, id: u32) -> Option<Entry<Traffic>> {
        if self.explains() {
            return None;
        }
        entry!(LISTENER_TRAFFIC, id)
    }

    #[inline(always)]
    fn backend_traffic(&self, id: u32) -> Option<Entry<Traffic>> {
        if self.explains() {
            return None;
        }
        entry!(BACKEND_TRAFFIC, id)
    }
}
