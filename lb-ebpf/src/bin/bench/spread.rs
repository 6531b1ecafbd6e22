//! Packets from listed addresses, and the kernel's own way to find a prefix of one.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{Array, LpmTrie};
use aya_ebpf::programs::XdpContext;
use lb_common::bench::{Feed, LENGTH_V4, LENGTH_V6};

use crate::family::{Family, V4, V6, word};
use crate::frame::{Frame, checksum};
use crate::harness::{Flow, call, feed, miss, restore_length};

/// Where packets come from, in network order; the bench says how many there are.
#[map]
static SOURCES: Array<[u64; 2]> = Array::with_max_entries(1, 0);

#[map]
static LPM_V4: LpmTrie<u32, u32> = LpmTrie::with_max_entries(1, 0);
#[map]
static LPM_V6: LpmTrie<[u32; 4], u32> = LpmTrie::with_max_entries(1, 0);

/// A family with packets from listed addresses.
trait Spread: Family {
    /// Gives a packet this source, in network order. The TCP checksum stays as it was: nobody here reads it.
    fn come_from(context: &XdpContext, feed: &Feed, source: &[u64; 2]) -> Option<()>;

    /// Whether the kernel's trie holds the source of a packet.
    fn is_in_trie(key: &Self::Key) -> bool;
}

impl Spread for V4 {
    #[inline(always)]
    fn come_from(context: &XdpContext, feed: &Feed, source: &[u64; 2]) -> Option<()> {
        let frame = Frame::<LENGTH_V4>::of(context)?;
        let word = |at: usize| word(feed, at);
        let source = source[0] as u32;
        let sum = checksum(feed.ip_sum + (source & 0xffff) + (source >> 16));
        frame.set::<_, 22>(word(22) as u16 as u32 | u32::from(sum) << 16);
        frame.set::<_, 26>(u64::from(source) | word(30) << 32);
        Some(())
    }

    #[inline(always)]
    fn is_in_trie(key: &Self::Key) -> bool {
        LPM_V4.get(Key::new(32, key[0])).is_some()
    }
}

impl Spread for V6 {
    #[inline(always)]
    fn come_from(context: &XdpContext, _feed: &Feed, source: &[u64; 2]) -> Option<()> {
        let frame = Frame::<LENGTH_V6>::of(context)?;
        frame.set::<_, 22>(source[0]);
        frame.set::<_, 30>(source[1]);
        Some(())
    }

    #[inline(always)]
    fn is_in_trie(key: &Self::Key) -> bool {
        LPM_V6.get(Key::new(128, [key[0], key[1], key[2], key[3]])).is_some()
    }
}

/// The next packet, from the next address of the list.
#[inline(always)]
fn from_list<F: Spread>(context: &XdpContext) -> Option<()> {
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
fn by_trie<F: Spread>(context: &XdpContext) -> u32 {
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
