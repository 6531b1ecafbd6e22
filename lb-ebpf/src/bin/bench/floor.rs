//! Floors: the least that any XDP program of a kind must do.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_TX};
use aya_ebpf::helpers::generated::bpf_xdp_adjust_head;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::XdpContext;

use crate::family::{Family, V4, V6};
use crate::harness::miss;

/// Nothing at all: what the harness itself costs.
#[xdp]
pub fn floor_nothing(_context: XdpContext) -> u32 {
    XDP_TX
}

/// Drops.
#[xdp]
pub fn floor_drop(_context: XdpContext) -> u32 {
    XDP_DROP
}

/// Packets that have arrived at a sink.
#[map]
static ARRIVED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The end of a wire: counts and drops.
#[xdp]
pub fn sink(_context: XdpContext) -> u32 {
    if let Some(arrived) = ARRIVED.get_ptr_mut(0) {
        // SAFETY: memory of this CPU, which lives as long as the program.
        unsafe { *arrived += 1 };
    }
    XDP_DROP
}

#[inline(always)]
fn sent(done: Option<()>) -> u32 {
    if done.is_some() { XDP_TX } else { miss() }
}

/// Parses the packet and sends it back.
#[inline(always)]
fn transmit<F: Family>(context: &XdpContext) -> Option<()> {
    F::key(context)?;
    F::bounce(context)
}

/// Finds the flow in an LRU hash, and rewrites the packet as NAT does.
#[inline(always)]
fn lru_nat<F: Family>(context: &XdpContext) -> Option<()> {
    let key = F::key(context)?;
    // SAFETY: a racing update replaces the value whole, and there is none.
    let backend = unsafe { F::table().get(key) }?;
    F::nat(context, backend)
}

/// Finds the flow in an LRU hash, and puts the packet into another.
#[inline(always)]
fn lru_ipip<F: Family>(context: &XdpContext) -> Option<()> {
    let key = F::key(context)?;
    // SAFETY: a racing update replaces the value whole, and there is none.
    let backend = unsafe { F::table().get(key) }?;
    // SAFETY: the context is valid; the helper refuses what does not fit.
    let result = unsafe { bpf_xdp_adjust_head(context.ctx, -(F::HEADER as i32)) };
    if result == 0 { F::encapsulate(context, backend) } else { None }
}

/// Puts the flow into an LRU hash.
#[inline(always)]
fn lru_insert<F: Family>(context: &XdpContext) -> Option<()> {
    let key = F::key(context)?;
    F::table().insert(key, F::backend(), 0).ok()
}

macro_rules! programs {
    ($($name:ident: $work:ident of $family:ident;)+) => {$(
        /// The work of its name, for one family.
        #[xdp]
        pub fn $name(context: XdpContext) -> u32 {
            sent($work::<$family>(&context))
        }
    )+};
}

programs! {
    floor_transmit_v4: transmit of V4;
    floor_transmit_v6: transmit of V6;
    floor_lru_nat_v4: lru_nat of V4;
    floor_lru_nat_v6: lru_nat of V6;
    floor_lru_ipip_v4: lru_ipip of V4;
    floor_lru_ipip_v6: lru_ipip of V6;
    floor_lru_insert_v4: lru_insert of V4;
    floor_lru_insert_v6: lru_insert of V6;
}

/// Sends every frame back, whatever it is.
#[xdp]
pub fn transmit_all(context: XdpContext) -> u32 {
    sent(V4::bounce(&context))
}
