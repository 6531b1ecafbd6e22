//! What the kernel gives the packet path: maps, the clock and the frame.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, HashMap, PerCpuArray};
use aya_ebpf::programs::XdpContext;
use lb_common::layout::{
    Backend, Bucket, Count, Cursor, Detail, Interface, Listener, ListenerKeyV4, ListenerKeyV6,
    Settings, Traffic, Vip,
};
use lb_common::verdict::MAX_VERDICTS;
use lb_common::{MAX_BACKENDS, MAX_INTERFACES, MAX_LISTENERS, MAX_SLOTS, MAX_VIPS};

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

#[xdp]
fn sluice(_context: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // The verifier proves that no path leads here.
    loop {}
}
