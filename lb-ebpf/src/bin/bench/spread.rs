//! Packets from listed addresses, and the kernel's own way to find a prefix of one.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::XdpContext;

use crate::family::{Family, V4, V6};
use crate::harness::{Flow, call, feed, miss, restore_length};

/// Where packets come from, in network order; the bench says how many there are.
#[map]
static SOURCES: Array<[u64; 2]> = Array::with_max_entries(1, 0);

/// The next packet, from the next address of the list.
#[inline(always)]
fn from_list<F: Family>(context: &XdpContext) -> Option<()> {
    let feed = feed()?;
    restore_length::<F>(context)?;
    let number = feed.next;
    feed.next = if number + 1 >= feed.end { 0 } else { number + 1 };
    let flow = Flow { address: 0, ..Flow::number(feed, number) };
    F::write(context, feed, flow, None)?;
    F::come_from(context, feed, SOURCES.get(number)?)
}

/// Drops what comes from a prefix of the trie.
#[inline(always)]
fn by_trie<F: Family>(context: &XdpContext) -> u32 {
    match F::key(context) {
        Some(key) if F::is_in_trie(&key) => XDP_DROP,
        Some(_) => XDP_PASS,
        None => miss(),
    }
}

/// Feeds IPv4.
#[xdp]
pub fn spread_v4(context: XdpContext) -> u32 {
    call(&context, from_list::<V4>(&context))
}

/// Feeds IPv6.
#[xdp]
pub fn spread_v6(context: XdpContext) -> u32 {
    call(&context, from_list::<V6>(&context))
}

/// Judges IPv4.
#[xdp]
pub fn floor_lpm_v4(context: XdpContext) -> u32 {
    by_trie::<V4>(&context)
}

/// Judges IPv6.
#[xdp]
pub fn floor_lpm_v6(context: XdpContext) -> u32 {
    by_trie::<V6>(&context)
}
