//! The maps, as the loader reads of them. See `lb_common::map` for what each holds.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray};
use lb_common::filter;
use lb_common::layout::guard::Guard;
use lb_common::layout::{
    Affinity, AffinityKey, Backend, Bucket, Count, Cursor, Detail, FragmentKey, FragmentWay,
    Interface, Listener, ListenerKeyV4, ListenerKeyV6, Load, Settings, Slot, Traffic, Vip,
};
use lb_common::verdict::MAX_VERDICTS;
use lb_common::{
    INTERFACE_PLACES, MAX_AFFINITIES, MAX_BACKENDS, MAX_FRAGMENTED, MAX_LISTENERS, MAX_MARKS,
    MAX_SLOTS, MAX_VIPS,
};
use lb_ebpf::flight::Scratch;

const MMAPABLE: u32 = aya_ebpf::bindings::BPF_F_MMAPABLE;
const NO_PREALLOC: u32 = aya_ebpf::bindings::BPF_F_NO_PREALLOC;

#[map]
pub static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);
#[map]
pub static LISTENERS_V4: HashMap<ListenerKeyV4, u32> = HashMap::with_max_entries(MAX_LISTENERS, 0);
#[map]
pub static LISTENERS_V6: HashMap<ListenerKeyV6, u32> = HashMap::with_max_entries(MAX_LISTENERS, 0);
#[map]
pub static VIPS_V4: HashMap<u32, Vip> = HashMap::with_max_entries(MAX_VIPS, NO_PREALLOC);
#[map]
pub static VIPS_V6: HashMap<[u32; 4], Vip> = HashMap::with_max_entries(MAX_VIPS, NO_PREALLOC);
#[map]
pub static LISTENERS: Array<Listener> = Array::with_max_entries(MAX_LISTENERS, MMAPABLE);
#[map]
pub static SLOTS: Array<Slot> = Array::with_max_entries(MAX_SLOTS, MMAPABLE);
#[map]
pub static BACKENDS: Array<Backend> = Array::with_max_entries(MAX_BACKENDS, MMAPABLE);
#[map]
pub static LOADS: Array<Load> = Array::with_max_entries(MAX_BACKENDS, MMAPABLE);
#[map]
pub static AFFINITIES: LruHashMap<AffinityKey, Affinity> =
    LruHashMap::with_max_entries(MAX_AFFINITIES, 0);
#[map]
pub static GUARDS: Array<Guard> = Array::with_max_entries(MAX_LISTENERS, MMAPABLE);
#[map]
pub static CURSORS: Array<Cursor> = Array::with_max_entries(MAX_LISTENERS, 0);
// The agent sets the number of entries of these two from `max_flows`.
#[map]
pub static FLOWS: Array<Bucket> = Array::with_max_entries(1024, MMAPABLE);
#[map]
pub static DETAILS: Array<Detail> = Array::with_max_entries(8192, MMAPABLE);
#[map]
pub static MARKS: Array<u64> = Array::with_max_entries(MAX_MARKS, MMAPABLE);
// The flow table of another size, while flows move from it or to it.
#[map]
pub static OTHER_FLOWS: Array<Bucket> = Array::with_max_entries(1, MMAPABLE);
#[map]
pub static OTHER_DETAILS: Array<Detail> = Array::with_max_entries(1, MMAPABLE);
#[map]
pub static HELD_UNTIL: Array<u64> = Array::with_max_entries(1, MMAPABLE);
#[map]
pub static FILTER: Array<u64> = Array::with_max_entries(filter::WORDS, MMAPABLE);
#[map]
pub static INTERFACES: Array<Interface> = Array::with_max_entries(INTERFACE_PLACES, MMAPABLE);
#[map]
pub static VERDICTS: PerCpuArray<Count> = PerCpuArray::with_max_entries(MAX_VERDICTS, 0);
#[map]
pub static LISTENER_TRAFFIC: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(MAX_LISTENERS, 0);
#[map]
pub static BACKEND_TRAFFIC: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(MAX_BACKENDS, 0);

/// Programs that others go on in: the second one, that of the firewall, and that of SYN cookies.
#[map]
pub static STAGES: ProgramArray = ProgramArray::with_max_entries(3, 0);

#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// Where first fragments went, until their packets are whole.
#[map]
pub static FRAGMENTS: LruHashMap<FragmentKey, FragmentWay> =
    LruHashMap::with_max_entries(MAX_FRAGMENTED, 0);

/// This CPU's cursor over the sources of full NAT.
#[map]
pub static SOURCES_DRAWN: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
