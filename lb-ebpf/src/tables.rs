//! What the packet path needs of the maps: the kernel's on BPF, plain memory on the host.

use lb_common::cell::Cell;
use lb_common::layout::guard::Guard;
use lb_common::layout::{
    Affinity, AffinityKey, Backend, Bucket, CELLS_PER_BUCKET, Count, Detail, FragmentKey,
    FragmentWay, Interface, Listener, ListenerKeyV4, ListenerKeyV6, Load, Settings, Slot, Traffic,
    Vip,
};

use lb_common::verdict::Verdict;

use crate::World;
use crate::family::Family;
use crate::firewall::Maps;
use crate::flight::{Flight, Scratch};
use crate::verifier::masked;

/// The maps, the clock and the counters.
pub trait Tables: Maps {
    /// What is the same for all packets.
    fn settings(&self) -> Option<&Settings>;
    /// The monotonic clock in ticks (`lb_common::cell::TICK_SHIFT`).
    fn tick(&self) -> u64;
    /// The monotonic clock in nanoseconds.
    fn nanoseconds(&self) -> u64;
    /// Until when packets of connections that only another director may know are held, on that clock.
    fn held_until(&self) -> u64;
    /// The id of an IPv4 listener.
    fn listener_id_v4(&self, key: &ListenerKeyV4) -> Option<u32>;
    /// The id of an IPv6 listener.
    fn listener_id_v6(&self, key: &ListenerKeyV6) -> Option<u32>;
    /// An IPv4 VIP.
    fn vip_v4(&self, address: &u32) -> Option<Vip>;
    /// An IPv6 VIP.
    fn vip_v6(&self, address: &[u32; 4]) -> Option<Vip>;
    /// A listener.
    fn listener(&self, id: u32) -> Option<&Listener>;
    /// How much a listener is asked for.
    fn guard(&self, listener: u32) -> Option<Entry<Guard>>;
    /// A slot.
    fn slot(&self, index: u32) -> Option<Slot>;
    /// A backend.
    fn backend(&self, id: u32) -> Option<&Backend>;
    /// Takes the next number from a cursor.
    fn draw(&self, cursor: u32) -> u64;
    /// A random number.
    fn random(&self) -> u32;
    /// The load of a backend.
    fn load(&self, backend: u32) -> Option<Load>;
    /// Adds to the change of a backend's load; wraps.
    fn add_load(&self, backend: u32, flows: u64);
    /// The backend that a source was sent to.
    fn affinity(&self, key: &AffinityKey) -> Option<Affinity>;
    /// Remembers the backend that a source is sent to.
    fn set_affinity(&self, key: &AffinityKey, affinity: &Affinity);
    /// [`crate::draw::less_loaded`]: the kernel's maps make a function of it that is verified on its own.
    fn less_loaded(&self, base: u32, length: u32) -> u64 {
        crate::draw::less_loaded(self, base, length)
    }
    /// A bucket of the flow table.
    fn bucket(&self, index: u32) -> Option<Entry<Bucket>>;
    /// The mark with this number, of a run of buckets.
    fn mark(&self, number: u32) -> Option<Entry<u64>>;
    /// A bucket of the other flow table, while flows move.
    fn other_bucket(&self, index: u32) -> Option<Entry<Bucket>>;
    /// [`crate::flow::search`], likewise.
    fn search(&self, hash: u64, from: u64, tick: u64) -> u64 {
        crate::flow::search(self, hash, from, tick)
    }
    /// [`crate::migrate::recall`], likewise.
    fn recall(&self, hash: u64, tick: u64) -> u64 {
        crate::migrate::recall(self, hash, tick)
    }
    /// [`crate::migrate::old_position`], likewise.
    fn old_position(&self, hash: u64) -> u64 {
        crate::migrate::old_position(self, hash)
    }
    /// [`crate::migrate::reserve`], likewise.
    fn reserve(&self, hash: u64, old: u64, tick: u64) -> u64 {
        crate::migrate::reserve(self, hash, old, tick)
    }
    /// [`crate::migrate::hand_over`], likewise.
    fn hand_over(&self, hash: u64, old: u64, new: u64, tick: u64) -> u64 {
        crate::migrate::hand_over(self, hash, old, new, tick)
    }
    /// [`crate::migrate::other_hash`], likewise.
    fn other_hash(&self, index: u32, cell: Cell) -> u64 {
        crate::migrate::other_hash(self, index, cell)
    }
    /// [`crate::flow::survey`], likewise.
    fn survey(&self, bucket: u32, tick: u64) -> u64 {
        crate::flow::survey(self, bucket, tick)
    }
    /// [`crate::schedule::schedule`], likewise.
    fn schedule<A: Family>(&self, world: &World<'_, Self>, flight: &mut Flight<A>) -> Verdict {
        crate::schedule::schedule(world, flight)
    }
    /// [`crate::remember::remember`], likewise.
    fn remember<A: Family>(
        &self,
        world: &World<'_, Self>,
        flight: &mut Flight<A>,
        takes_over: bool,
    ) -> Verdict {
        crate::remember::remember(world, flight, takes_over)
    }
    /// [`crate::source::try_source`], likewise.
    fn try_source<A: Family>(
        &self,
        world: &World<'_, Self>,
        flight: &mut Flight<A>,
        in_any_share: bool,
    ) -> Verdict {
        crate::source::try_source(world, flight, in_any_share)
    }
    /// [`crate::firewall::open::change`], likewise.
    fn change_open(&self, hash: u64, begins: bool) {
        crate::firewall::open::change(self, hash, begins);
    }
    /// Says that a flow was turned away for want of a place in the flow table; the counters know anyway.
    fn report_full_table(&self, _tick: u64) {}
    /// Whether packets are explained: then nothing of the maps is changed.
    fn explains(&self) -> bool {
        false
    }
    /// Whether somebody wants to know of dropped packets.
    fn samples(&self) -> bool {
        false
    }
    /// Writes a word of a bucket, of whatever table, if it still holds `old`; says whether it did. Where packets are
    /// explained it is not written, and said to be.
    fn swap(&self, bucket: Entry<Bucket>, slot: usize, old: u64, new: u64) -> bool {
        self.explains() || bucket.swap(slot, old, new)
    }
    /// Tells of the packet at hand, which has this verdict, those who want to know.
    fn tell(&self, _verdict: Verdict) {}
    /// The number of this CPU.
    fn cpu(&self) -> u32;
    /// Takes the next number from this CPU's cursor over the sources of full NAT.
    fn draw_source(&self) -> u64;
    /// Whether another error may be sent now: there is a limit to their rate.
    fn may_report(&self) -> bool;
    /// Where the first fragment of a packet went.
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentWay>;
    /// Notes where the first fragment of a packet went.
    fn remember_fragment(&self, key: &FragmentKey, way: &FragmentWay);
    /// The detail of a cell.
    fn detail(&self, index: u32) -> Option<Entry<Detail>>;
    /// The detail of a cell of the other flow table.
    fn other_detail(&self, index: u32) -> Option<Entry<Detail>>;
    /// Whether cells of that table are of the layout before this one.
    fn other_is_before(&self) -> bool {
        false
    }
    /// A word of the filter.
    fn filter(&self, word: u32) -> u64;
    /// An interface that we are attached to, or a virtual MAC address of it, by [`Interface::number`].
    fn interface(&self, number: u64) -> Option<Interface>;
    /// This CPU's memory for the packet at hand.
    fn scratch(&self) -> Option<Entry<Scratch>>;
    /// This CPU's counter of a verdict.
    fn verdict_count(&self, number: u32) -> Option<Entry<Count>>;
    /// This CPU's counters of a listener.
    fn listener_traffic(&self, id: u32) -> Option<Entry<Traffic>>;
    /// This CPU's counters of a backend.
    fn backend_traffic(&self, id: u32) -> Option<Entry<Traffic>>;
}

/// A value of a map that other CPUs or the agent may change at any time.
#[derive(Clone, Copy, Debug)]
pub struct Entry<T>(*mut T);

impl<T: Copy> Entry<T> {
    /// Wraps the address of a value.
    ///
    /// # Safety
    ///
    /// `value` is valid for reads and writes for as long as the packet is worked on.
    #[inline(always)]
    pub unsafe fn new(value: *mut T) -> Self {
        Self(value)
    }

    /// Changes the value in place; for counters of one CPU and details, whose readers check what they read.
    #[inline(always)]
    pub fn update<R>(self, change: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: the maker of the entry promised that the value is valid; on one CPU nothing else holds a
        // reference to it while `change` runs.
        change(unsafe { &mut *self.0 })
    }

    /// Reads a byte of the value, to have it at hand.
    #[inline(always)]
    pub fn touch(self) {
        // SAFETY: the maker of the entry promised that the value is valid; any byte may be read.
        unsafe { self.0.cast::<u8>().read_volatile() };
    }

    /// A copy of the value.
    #[inline(always)]
    pub fn get(self) -> T {
        // SAFETY: the maker of the entry promised that the value is valid.
        unsafe { *self.0 }
    }
}

impl Entry<u64> {
    /// Sets a mark. One that is set is only read, so that CPUs do not take its cache line from each other.
    #[inline(always)]
    pub fn raise(self) {
        // SAFETY: the maker of the entry promised that the value is valid. Volatile, since others write it.
        if unsafe { self.0.read_volatile() } == 0 {
            // SAFETY: as above.
            unsafe { self.0.write_volatile(1) };
        }
    }

    /// The number, by way of memory: to the verifier it is then any number, however it was worked out.
    #[inline(always)]
    pub fn by_memory(self, number: u64) -> u64 {
        // SAFETY: the maker of the entry promised that the value is valid.
        unsafe { self.0.write_volatile(number) };
        // SAFETY: as above.
        unsafe { self.0.read_volatile() }
    }
}

impl Entry<Bucket> {
    /// The word of a cell; the lowest three bits of `slot` count.
    #[inline(always)]
    pub fn load(self, slot: usize) -> u64 {
        // SAFETY: the slot lies within the bucket. Volatile, since others write it: the BPF backend cannot
        // select an atomic load, and an aligned 64-bit load is atomic on every machine that it serves.
        unsafe { self.cell(slot).read_volatile() }
    }

    /// Writes a cell if it still holds `old`; says whether it did.
    #[inline(always)]
    pub fn swap(self, slot: usize, old: u64, new: u64) -> bool {
        // SAFETY: the slot lies within the bucket, whose cells are aligned words.
        unsafe { compare_and_swap(self.cell(slot), old, new) }
    }

    #[inline(always)]
    fn cell(self, slot: usize) -> *mut u64 {
        self.0.cast::<u64>().wrapping_add(masked::<{ CELLS_PER_BUCKET - 1 }>(slot))
    }
}

#[inline(always)]
#[cfg(target_arch = "bpf")]
unsafe fn compare_and_swap(cell: *mut u64, old: u64, new: u64) -> bool {
    use core::intrinsics::{AtomicOrdering, atomic_cxchg};
    // SAFETY: the caller's.
    let (found, _) = unsafe {
        atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(cell, old, new)
    };
    found == old
}

#[inline(always)]
#[cfg(not(target_arch = "bpf"))]
unsafe fn compare_and_swap(cell: *mut u64, old: u64, new: u64) -> bool {
    use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
    // SAFETY: the caller's; all writers of cells use atomic operations.
    let cell = unsafe { AtomicU64::from_ptr(cell) };
    cell.compare_exchange(old, new, SeqCst, SeqCst).is_ok()
}
