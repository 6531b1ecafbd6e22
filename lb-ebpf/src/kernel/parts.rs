//! Global functions: the verifier proves each once, for all arguments, and not again for each caller.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use aya_log_ebpf::warn;
use lb_common::cell::Cell;
use lb_common::verdict::Verdict;
use lb_ebpf::family::Family;
use lb_ebpf::firewall::{address, limit, open, rows};
use lb_ebpf::flight::Flight;
use lb_ebpf::parts as shared;
use lb_ebpf::verifier::{hand_over, needed};

use super::explain;
use super::maps::KernelTables;

/// The maps as all but the quick program see them.
const SLOW: KernelTables<false> = KernelTables;

/// Errors that this CPU may still send, and when it was last given some.
#[map]
static REPORTS: PerCpuArray<Reports> = PerCpuArray::with_max_entries(1, 0);

/// See [`REPORTS`].
struct Reports {
    /// How many may still be sent.
    left: u64,
    /// When that was reckoned.
    milliseconds: u64,
}

/// Errors that a CPU may send at once; it is given one a millisecond.
const MOST_REPORTS: u64 = 100;

/// The tick in which this CPU last reported that the flow table is full.
#[map]
static REPORTED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// See [`lb_ebpf::flow::search`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn flow_search(hash: u64, from: u64, tick: u64) -> u64 {
    lb_ebpf::flow::search(&SLOW, hash, from, tick)
}

/// See [`lb_ebpf::migrate::recall`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn flow_recall(hash: u64, tick: u64) -> u64 {
    lb_ebpf::migrate::recall(&SLOW, hash, tick)
}

/// See [`lb_ebpf::migrate::old_position`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn flow_old_position(hash: u64) -> u64 {
    lb_ebpf::migrate::old_position(&SLOW, hash)
}

/// See [`lb_ebpf::migrate::reserve`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn flow_reserve(hash: u64, old: u64, tick: u64) -> u64 {
    lb_ebpf::migrate::reserve(&SLOW, hash, old, tick)
}

/// See [`lb_ebpf::migrate::hand_over`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn flow_hand_over(hash: u64, old: u64, new: u64, tick: u64) -> u64 {
    lb_ebpf::migrate::hand_over(&SLOW, hash, old, new, tick)
}

/// See [`lb_ebpf::migrate::other_hash`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn flow_other_hash(index: u64, cell: u64) -> u64 {
    lb_ebpf::migrate::other_hash(&SLOW, index as u32, Cell(cell))
}

/// See [`lb_ebpf::flow::survey`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn flow_survey(bucket: u64, tick: u64) -> u64 {
    lb_ebpf::flow::survey(&SLOW, bucket as u32, tick)
}

/// See [`lb_ebpf::draw::less_loaded`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn draw_less_loaded(base: u64, length: u64) -> u64 {
    lb_ebpf::draw::less_loaded(&SLOW, base as u32, length as u32)
}

/// See [`lb_ebpf::firewall::address::short_value`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn firewall_short_value(half: u64, plane: u64, address: u64) -> u64 {
    address::short_value(&SLOW, half as u32 & 1, plane as u32 & 1, address as u32).into()
}

/// See [`lb_ebpf::firewall::address::cell`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn firewall_cell(half: u64, key: u64) -> u64 {
    address::cell(&SLOW, half as u32 & 1, key).into()
}

/// See [`lb_ebpf::firewall::rows::first_rule`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn firewall_first_rule(half: u64, addresses_and_ports: u64, others: u64) -> u64 {
    rows::first_rule(&SLOW, half as u32 & 1, addresses_and_ports, others).into()
}

/// See [`lb_ebpf::firewall::address::alone_class`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn firewall_alone_class(half: u64, high: u64, low: u64) -> u64 {
    address::alone_class(&SLOW, half as u32 & 1, high, low).into()
}

/// See [`lb_ebpf::firewall::address::long_class`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn firewall_long_class(half: u64, node: u64, high: u64, low: u64) -> u64 {
    address::long_class(&SLOW, half as u32 & 1, node as u32, high, low).into()
}

/// See [`lb_ebpf::firewall::limit::deciding`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn firewall_deciding(half: u64, family: u64, rows: u64, others: u64) -> u64 {
    let exceeds = |place: u32| {
        let place = u64::from(place);
        let exceeds = if family == 4 { exceeds_v4(place) } else { exceeds_v6(place) };
        exceeds != 0
    };
    limit::deciding(&SLOW, half as u32 & 1, (rows, others), exceeds).into()
}

/// See [`lb_ebpf::firewall::limit::place`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn firewall_source_place(bucket: u64, tag: u64, now: u64) -> u64 {
    limit::place(&SLOW, bucket as u32, tag, now) as u64
}

/// See [`lb_ebpf::firewall::open::place_in`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn firewall_open_place(bucket: u64, tag: u64) -> u64 {
    open::place_in(&SLOW, bucket as u32, tag) as u64
}

/// See [`lb_ebpf::firewall::open::change`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn firewall_change_open(hash: u64, begins: u64) -> u64 {
    open::change(&SLOW, hash, begins != 0);
    0
}

/// See [`lb_ebpf::parts`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn exceeds_v4(place: u64) -> u64 {
    shared::exceeds_v4(&SLOW, place as u32).into()
}

/// See [`lb_ebpf::parts`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn exceeds_v6(place: u64) -> u64 {
    shared::exceeds_v6(&SLOW, place as u32).into()
}

/// Calls the global function of the flight's family, which finds the flight in the scratch memory.
#[inline(always)]
pub fn of_family<A: Family>(
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
        /// See [`lb_ebpf::parts`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $name(argument: u64) -> u64 {
            let part: fn(&KernelTables<false>, bool) -> Verdict = $part;
            u64::from(part(&SLOW, needed(argument) != 0).number())
        }
    )+};
}

parts! {
    schedule_v4 |tables, _| shared::schedule_v4(tables);
    schedule_v6 |tables, _| shared::schedule_v6(tables);
    remember_v4 shared::remember_v4;
    remember_v6 shared::remember_v6;
    try_source_v4 shared::try_source_v4;
    try_source_v6 shared::try_source_v6;
}

/// Tells of the packet at hand.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tell(verdict: u64) -> u64 {
    explain::tell(&SLOW, verdict as u8);
    0
}

/// Takes one of the errors that this CPU may send.
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

/// Tells the agent's log, once a tick at most, that flows are turned away.
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
