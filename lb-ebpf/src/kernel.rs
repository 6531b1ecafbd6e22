//! What the kernel gives the packet path: maps, the clock and the frame.

use core::arch::asm;

use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::helpers::generated::{
    bpf_get_smp_processor_id, bpf_ktime_get_coarse_ns, bpf_redirect, bpf_xdp_adjust_head,
    bpf_xdp_adjust_tail,
};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray};
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::warn;
use lb_common::cell::TICK_SHIFT;
use lb_common::layout::{
    Backend, Bucket, Count, Cursor, Detail, FragmentKey, FragmentWay, Interface, Listener,
    ListenerKeyV4, ListenerKeyV6, Settings, Traffic, Vip,
};
use lb_common::verdict::{MAX_VERDICTS, Verdict};
use lb_common::{MAX_BACKENDS, MAX_INTERFACES, MAX_LISTENERS, MAX_SLOTS, MAX_VIPS};
use lb_ebpf::family::Family;
use lb_ebpf::flight::{Flight, Scratch};
use lb_ebpf::packet::{Frame, Packet};
use lb_ebpf::tables::{Entry, Tables};
use lb_ebpf::verifier::hand_over;
use lb_ebpf::{Exit, World, parts};

const MMAPABLE: u32 = aya_ebpf::bindings::BPF_F_MMAPABLE;
const NO_PREALLOC: u32 = aya_ebpf::bindings::BPF_F_NO_PREALLOC;

#[map]
static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);
#[map]
static LISTENERS_V4: HashMap<ListenerKeyV4, u32> = HashMap::with_max_entries(MAX_LISTENERS, 0);
#[map]
static LISTENERS_V6: HashMap<ListenerKeyV6, u32> = HashMap::with_max_entries(MAX_LISTENERS, 0);
#[map]
static VIPS_V4: HashMap<u32, Vip> = HashMap::with_max_entries(MAX_VIPS, NO_PREALLOC);
#[map]
static VIPS_V6: HashMap<[u32; 4], Vip> = HashMap::with_max_entries(MAX_VIPS, NO_PREALLOC);
#[map]
static LISTENERS: Array<Listener> = Array::with_max_entries(MAX_LISTENERS, MMAPABLE);
#[map]
static SLOTS: Array<u32> = Array::with_max_entries(MAX_SLOTS, 0);
#[map]
static BACKENDS: Array<Backend> = Array::with_max_entries(MAX_BACKENDS, 0);
#[map]
static CURSORS: Array<Cursor> = Array::with_max_entries(MAX_LISTENERS, 0);
// The agent sets the number of entries of these two from `max_flows`.
#[map]
static FLOWS: Array<Bucket> = Array::with_max_entries(1024, MMAPABLE);
#[map]
static DETAILS: Array<Detail> = Array::with_max_entries(8192, MMAPABLE);
#[map]
static INTERFACES: HashMap<u32, Interface> = HashMap::with_max_entries(MAX_INTERFACES, 0);
#[map]
static VERDICTS: PerCpuArray<Count> = PerCpuArray::with_max_entries(MAX_VERDICTS, 0);
#[map]
static LISTENER_TRAFFIC: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(MAX_LISTENERS, 0);
#[map]
static BACKEND_TRAFFIC: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(MAX_BACKENDS, 0);

#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// Where first fragments went, until their packets are whole.
#[map]
static FRAGMENTS: LruHashMap<FragmentKey, FragmentWay> =
    LruHashMap::with_max_entries(MAX_FRAGMENTED, 0);

/// This CPU's cursor over the sources of full NAT.
#[map]
static SOURCES_DRAWN: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Errors that this CPU may still send, and when it was last given some.
#[map]
static REPORTS: PerCpuArray<Reports> = PerCpuArray::with_max_entries(1, 0);

struct Reports {
    left: u64,
    milliseconds: u64,
}

/// Errors that a CPU may send at once; it is given one a millisecond.
const MOST_REPORTS: u64 = 100;

/// Packets in fragments whose way is remembered at a time.
const MAX_FRAGMENTED: u32 = 8_192;

/// The tick in which this CPU last reported that the flow table is full.
#[map]
static REPORTED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The program.
#[xdp]
pub fn sluice(context: XdpContext) -> u32 {
    let mut packet = Packet::new(XdpFrame::new(context.ctx));
    match lb_ebpf::process(&mut packet, &KernelTables).exit {
        Exit::Pass => xdp_action::XDP_PASS,
        Exit::Drop => xdp_action::XDP_DROP,
        Exit::Transmit => xdp_action::XDP_TX,
        Exit::Redirect(interface) => redirect(interface),
    }
}

#[inline(always)]
fn redirect(interface: u32) -> u32 {
    // SAFETY: a helper without pointers.
    unsafe { bpf_redirect(interface, 0) as u32 }
}

/// The frame behind the program's argument, with its edges as pointers.
struct XdpFrame {
    context: *mut xdp_md,
    start: *mut u8,
    end: *mut u8,
}

impl XdpFrame {
    /// The kernel gives the edges as 32-bit words, which the compiler would go on to reckon with in 32 bits;
    /// the verifier knows them as pointers and wants 64. Hence the two loads by hand.
    #[inline(always)]
    fn new(context: *mut xdp_md) -> Self {
        let (start, end): (*mut u8, *mut u8);
        // SAFETY: the context is valid while the program runs; `data` is its first word.
        unsafe { asm!("{0} = *(u32 *)({1} + 0)", out(reg) start, in(reg) context) };
        // SAFETY: `data_end` is the context's second word.
        unsafe { asm!("{0} = *(u32 *)({1} + 4)", out(reg) end, in(reg) context) };
        Self { context, start, end }
    }
}

impl Frame for XdpFrame {
    #[inline(always)]
    fn start(&self) -> *mut u8 {
        self.start
    }

    #[inline(always)]
    fn end(&self) -> *mut u8 {
        self.end
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        // SAFETY: the kernel's context is valid while the program runs.
        unsafe { (*self.context).ingress_ifindex }
    }

    #[inline(always)]
    fn move_start(&mut self, delta: i32) -> bool {
        // SAFETY: the context is valid; the helper refuses what does not fit.
        let result = unsafe { bpf_xdp_adjust_head(self.context, delta) };
        *self = Self::new(self.context);
        result == 0
    }

    #[inline(always)]
    fn move_end(&mut self, delta: i32) -> bool {
        // SAFETY: the context is valid; the helper refuses what does not fit.
        let result = unsafe { bpf_xdp_adjust_tail(self.context, delta) };
        *self = Self::new(self.context);
        result == 0
    }
}

/// The maps above.
struct KernelTables;

macro_rules! entry {
    ($map:ident, $index:expr) => {{
        let value = $map.get_ptr_mut($index)?;
        // SAFETY: a value of an array lives as long as the program.
        Some(unsafe { Entry::new(value) })
    }};
}

impl Tables for KernelTables {
    #[inline(always)]
    fn settings(&self) -> Option<&Settings> {
        SETTINGS.get(0)
    }

    #[inline(always)]
    fn tick(&self) -> u64 {
        // SAFETY: a helper without pointers.
        unsafe { bpf_ktime_get_coarse_ns() >> TICK_SHIFT }
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
    fn slot(&self, index: u32) -> Option<u32> {
        SLOTS.get(index).copied()
    }

    #[inline(always)]
    fn backend(&self, id: u32) -> Option<&Backend> {
        BACKENDS.get(id)
    }

    #[inline(always)]
    fn draw(&self, cursor: u32) -> u64 {
        let Some(cursor) = CURSORS.get_ptr_mut(cursor) else { return 0 };
        // SAFETY: the word is aligned and lives as long as the program. LLVM's BPF backend returns the
        // addend, not the old value, for weaker orderings.
        unsafe {
            core::intrinsics::atomic_xadd::<u64, u64, { core::intrinsics::AtomicOrdering::AcqRel }>(
                cursor.cast::<u64>(),
                1,
            )
        }
    }

    #[inline(always)]
    fn bucket(&self, index: u32) -> Option<Entry<Bucket>> {
        entry!(FLOWS, index)
    }

    #[inline(always)]
    fn search(&self, hash: u64, from: u64, tick: u64) -> u64 {
        flow_search(hash, from, tick)
    }

    #[inline(always)]
    fn survey(&self, bucket: u32, tick: u64) -> u64 {
        flow_survey(u64::from(bucket), tick)
    }

    #[inline(always)]
    fn schedule<A: Family>(&self, _world: &World<'_, Self>, flight: &mut Flight<A>) -> Verdict {
        of_family(flight, schedule_v4, schedule_v6, false)
    }

    #[inline(always)]
    fn remember<A: Family>(
        &self,
        _world: &World<'_, Self>,
        flight: &mut Flight<A>,
        takes_over: bool,
    ) -> Verdict {
        of_family(flight, remember_v4, remember_v6, takes_over)
    }

    #[inline(always)]
    fn try_source<A: Family>(
        &self,
        _world: &World<'_, Self>,
        flight: &mut Flight<A>,
        in_any_share: bool,
    ) -> Verdict {
        of_family(flight, try_source_v4, try_source_v6, in_any_share)
    }

    #[inline(always)]
    fn report_full_table(&self, tick: u64) {
        report_full_table(tick);
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
        may_report() != 0
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentWay> {
        // SAFETY: the value is copied at once.
        unsafe { FRAGMENTS.get(key).copied() }
    }

    #[inline(always)]
    fn remember_fragment(&self, key: &FragmentKey, way: &FragmentWay) {
        // Where there is no room the later fragments are dropped, by name.
        FRAGMENTS.insert(key, way, 0).ok();
    }

    #[inline(always)]
    fn detail(&self, index: u32) -> Option<Entry<Detail>> {
        entry!(DETAILS, index)
    }

    #[inline(always)]
    fn interface(&self, index: u32) -> Option<Interface> {
        // SAFETY: the value is copied at once; a racing update replaces it whole.
        unsafe { INTERFACES.get(&index).copied() }
    }

    #[inline(always)]
    fn scratch(&self) -> Option<Entry<Scratch>> {
        entry!(SCRATCH, 0)
    }

    #[inline(always)]
    fn verdict_count(&self, number: u32) -> Option<Entry<Count>> {
        entry!(VERDICTS, number)
    }

    #[inline(always)]
    fn listener_traffic(&self, id: u32) -> Option<Entry<Traffic>> {
        entry!(LISTENER_TRAFFIC, id)
    }

    #[inline(always)]
    fn backend_traffic(&self, id: u32) -> Option<Entry<Traffic>> {
        entry!(BACKEND_TRAFFIC, id)
    }
}

/// A global function: the verifier proves it once, for all arguments, and not again for each caller.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn flow_search(hash: u64, from: u64, tick: u64) -> u64 {
    lb_ebpf::flow::search(&KernelTables, hash, from, tick)
}

/// A global function, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn flow_survey(bucket: u64, tick: u64) -> u64 {
    lb_ebpf::flow::survey(&KernelTables, bucket as u32, tick)
}

/// Calls the global function of the flight's family, which finds the flight in the scratch memory.
#[inline(always)]
fn of_family<A: Family>(
    flight: &mut Flight<A>,
    v4: extern "C" fn(u64) -> u64,
    v6: extern "C" fn(u64) -> u64,
    argument: bool,
) -> Verdict {
    hand_over(flight);
    let argument = u64::from(argument);
    let number = if A::NUMBER == 4 { v4(argument) } else { v6(argument) };
    hand_over(flight);
    // They give no other numbers than those of verdicts.
    Verdict::from_number(number as u8).unwrap_or(Verdict::NoBackend)
}

macro_rules! parts {
    ($($name:ident $part:expr;)+) => {$(
        /// A global function, as above.
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $name(argument: u64) -> u64 {
            let part: fn(&KernelTables, bool) -> Verdict = $part;
            u64::from(part(&KernelTables, argument != 0).number())
        }
    )+};
}

parts! {
    schedule_v4 |tables, _| parts::schedule_v4(tables);
    schedule_v6 |tables, _| parts::schedule_v6(tables);
    remember_v4 parts::remember_v4;
    remember_v6 parts::remember_v6;
    try_source_v4 parts::try_source_v4;
    try_source_v6 parts::try_source_v6;
}

/// Takes one of the errors that this CPU may send. A global function, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn may_report() -> u64 {
    let Some(reports) = REPORTS.get_ptr_mut(0) else { return 0 };
    // SAFETY: memory of this CPU, which lives as long as the program.
    let reports = unsafe { &mut *reports };
    // SAFETY: a helper without pointers.
    let now = unsafe { bpf_ktime_get_coarse_ns() } / 1_000_000;
    let left = (reports.left + (now - reports.milliseconds)).min(MOST_REPORTS);
    reports.milliseconds = now;
    reports.left = left.saturating_sub(1);
    u64::from(left != 0)
}

/// Tells the agent's log, once a tick at most, that flows are turned away. A global function, as above.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn report_full_table(tick: u64) -> u64 {
    let Some(reported) = REPORTED.get_ptr_mut(0) else { return 0 };
    // SAFETY: memory of this CPU, which lives as long as the program.
    let last = unsafe { core::mem::replace(&mut *reported, tick) };
    if last != tick {
        warn!(&(), "the flow table is full: new flows are dropped");
    }
    last
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // The verifier proves that no path leads here.
    loop {}
}
