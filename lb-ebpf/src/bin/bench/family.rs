//! What differs between IPv4 and IPv6, at fixed places: no options, no extension headers, TCP.

use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{LpmTrie, LruHashMap};
use aya_ebpf::programs::XdpContext;
use lb_common::bench::{Feed, LENGTH_V4, LENGTH_V6};

use crate::frame::{Frame, checksum};
use crate::harness::Flow;

/// The family of a frame.
pub(crate) trait Family {
    /// Length of a frame.
    const LENGTH: usize;
    /// Length of an IP header.
    const HEADER: usize;
    /// A 5-tuple.
    type Key: Copy + 'static;
    /// An address.
    type Address: Copy + 'static;

    /// Writes the packet of a flow; with these flags where some are given, else with the frame's own.
    ///
    /// A handshake's checksum is that of the frame's own flags. The program under test only corrects it.
    fn write(context: &XdpContext, feed: &Feed, flow: Flow, flags: Option<u64>) -> Option<()>;

    /// Gives a packet this source, in network order. The TCP checksum stays as it was: nobody here reads it.
    fn come_from(context: &XdpContext, feed: &Feed, source: &[u64; 2]) -> Option<()>;

    /// Whether the kernel's trie holds the source of a packet.
    fn is_in_trie(key: &Self::Key) -> bool;

    /// Makes the answer to a SYN from the SYN as its backend got it.
    fn turn(context: &XdpContext) -> Option<()>;

    /// The 5-tuple of a packet.
    fn key(context: &XdpContext) -> Option<Self::Key>;

    /// The floor's flow table.
    fn table() -> &'static LruHashMap<Self::Key, Backend<Self::Address>>;

    /// Where the floor sends its flows.
    fn backend() -> Backend<Self::Address>;

    /// Rewrites a packet as NAT does: address, port, checksums, TTL, MAC addresses.
    fn nat(context: &XdpContext, backend: &Backend<Self::Address>) -> Option<()>;

    /// Writes the headers of a tunnel into the space that was made for them.
    fn encapsulate(context: &XdpContext, backend: &Backend<Self::Address>) -> Option<()>;

    /// Sends a packet back.
    fn bounce(context: &XdpContext) -> Option<()>;
}

/// What a floor's table has for a flow.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Backend<A> {
    address: A,
    port: u16,
    transport_delta: u16,
    address_delta: u16,
    mac: [u16; 3],
}

const MAC: [u16; 3] = [0x0002, 0x0000, 0x0100];
const PORT: u16 = 8080_u16.to_be();
const FLAGS: u64 = 0xff00;

#[map]
static LRU_V4: LruHashMap<[u32; 4], Backend<u32>> = LruHashMap::with_max_entries(1024, 0);
#[map]
static LRU_V6: LruHashMap<[u32; 10], Backend<[u32; 4]>> = LruHashMap::with_max_entries(1024, 0);
#[map]
static LPM_V4: LpmTrie<u32, u32> = LpmTrie::with_max_entries(1, 0);
#[map]
static LPM_V6: LpmTrie<[u32; 4], u32> = LpmTrie::with_max_entries(1, 0);

#[inline(always)]
fn with_flags(word: u64, flags: Option<u64>) -> u64 {
    flags.map_or(word, |flags| (word & !FLAGS) | flags << 8)
}

/// Adds a difference to a checksum (RFC 1624, equation 3).
#[inline(always)]
fn corrected(old: u16, delta: u16) -> u16 {
    checksum(u32::from(!old) + u32::from(delta))
}

#[inline(always)]
fn write_macs<const N: usize>(frame: &Frame<N>, mac: [u16; 3]) {
    let ours: (u32, u16) = (frame.get::<_, 0>(), frame.get::<_, 4>());
    frame.set::<_, 0>(u32::from(mac[0]) | u32::from(mac[1]) << 16);
    frame.set::<_, 4>(mac[2]);
    frame.set::<_, 6>(ours.0);
    frame.set::<_, 10>(ours.1);
}

/// IPv4.
pub(crate) enum V4 {}

impl Family for V4 {
    const LENGTH: usize = LENGTH_V4;
    const HEADER: usize = 20;
    type Key = [u32; 4];
    type Address = u32;

    #[inline(always)]
    fn write(context: &XdpContext, feed: &Feed, flow: Flow, flags: Option<u64>) -> Option<()> {
        let frame = Frame::<LENGTH_V4>::of(context)?;
        let word = |at: usize| word(feed, at);
        frame.set::<_, 0>(word(0));
        frame.set::<_, 8>(word(8) as u32);
        frame.set::<_, 12>(word(12) as u16);
        frame.set::<_, 14>(word(14));
        let sum = checksum(feed.ip_sum + u32::from(flow.address));
        frame.set::<_, 22>(word(22) as u16 as u32 | u32::from(sum) << 16);
        frame.set::<_, 26>(word(26) | u64::from(flow.address) << 16);
        frame.set::<_, 34>(flow.ports());
        frame.set::<_, 38>(word(38));
        let sum = checksum(feed.transport_sum + flow.sum());
        frame.set::<_, 46>(with_flags(word(46), flags) | u64::from(sum) << 32);
        frame.set::<_, 54>(word(54));
        frame.set::<_, 62>(word(62) as u16);
        Some(())
    }

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

    #[inline(always)]
    fn turn(context: &XdpContext) -> Option<()> {
        let frame = Frame::<LENGTH_V4>::of(context)?;
        frame.swap_macs();
        let (source, destination): (u32, u32) = (frame.get::<_, 26>(), frame.get::<_, 30>());
        frame.set::<_, 26>(destination);
        frame.set::<_, 30>(source);
        frame.set::<_, 34>(frame.get::<u32, 34>().rotate_left(16));
        frame.set::<_, 47>((crate::harness::SYN | crate::harness::ACK) as u8);
        Some(())
    }

    #[inline(always)]
    fn key(context: &XdpContext) -> Option<Self::Key> {
        let frame = Frame::<LENGTH_V4>::of(context)?;
        let tcp = frame.get::<u16, 12>() == 0x0800_u16.to_be()
            && frame.get::<u8, 14>() == 0x45
            && frame.get::<u16, 20>() & 0x3fff_u16.to_be() == 0
            && frame.get::<u8, 23>() == 6;
        tcp.then(|| [frame.get::<_, 26>(), frame.get::<_, 30>(), frame.get::<_, 34>(), 6])
    }

    #[inline(always)]
    fn table() -> &'static LruHashMap<Self::Key, Backend<u32>> {
        &LRU_V4
    }

    #[inline(always)]
    fn backend() -> Backend<u32> {
        let address = 0x0a00_0005_u32.to_be();
        Backend { address, port: PORT, transport_delta: 0x1234, address_delta: 0x123, mac: MAC }
    }

    #[inline(always)]
    fn nat(context: &XdpContext, backend: &Backend<u32>) -> Option<()> {
        let frame = Frame::<LENGTH_V4>::of(context)?;
        frame.set::<_, 30>(backend.address);
        frame.set::<_, 36>(backend.port);
        frame.set::<_, 22>(frame.get::<u8, 22>() - 1);
        // One hop less is one less in the upper byte of its word, which the agent could have put in the delta.
        frame.set::<_, 24>(corrected(frame.get::<_, 24>(), backend.address_delta));
        frame.set::<_, 50>(corrected(frame.get::<_, 50>(), backend.transport_delta));
        write_macs(&frame, backend.mac);
        Some(())
    }

    #[inline(always)]
    fn encapsulate(context: &XdpContext, backend: &Backend<u32>) -> Option<()> {
        let frame = Frame::<{ LENGTH_V4 + 20 }>::of(context)?;
        move_macs::<{ LENGTH_V4 + 20 }, 20>(&frame, backend.mac);
        frame.set::<_, 12>(0x0800_u16.to_be());
        let length = (u16::from_be(frame.get::<_, 36>()) + 20).to_be();
        let source = 0xac10_0000_u32.to_be() | (frame.get::<u32, 46>() & 0xffff_0000);
        let halves = |word: u32| (word & 0xffff) + (word >> 16);
        let kind = 64 | 4 << 8;
        let sum = 0x45 + u32::from(length) + kind + halves(source) + halves(backend.address);
        frame.set::<_, 14>(0x45 | u64::from(length) << 16);
        frame.set::<_, 22>(kind | u32::from(checksum(sum)) << 16);
        frame.set::<_, 26>(source);
        frame.set::<_, 30>(backend.address);
        Some(())
    }

    #[inline(always)]
    fn bounce(context: &XdpContext) -> Option<()> {
        Frame::<LENGTH_V4>::of(context).map(|frame| frame.swap_macs())
    }
}

/// IPv6.
pub(crate) enum V6 {}

impl Family for V6 {
    const LENGTH: usize = LENGTH_V6;
    const HEADER: usize = 40;
    type Key = [u32; 10];
    type Address = [u32; 4];

    #[inline(always)]
    fn write(context: &XdpContext, feed: &Feed, flow: Flow, flags: Option<u64>) -> Option<()> {
        let frame = Frame::<LENGTH_V6>::of(context)?;
        let word = |at: usize| word(feed, at);
        frame.set::<_, 0>(word(0));
        frame.set::<_, 8>(word(8) as u32);
        frame.set::<_, 12>(word(12) as u16);
        frame.set::<_, 14>(word(14));
        frame.set::<_, 22>(word(22));
        frame.set::<_, 30>(word(30) | u64::from(flow.address) << 48);
        frame.set::<_, 38>(word(38));
        frame.set::<_, 46>(word(46));
        frame.set::<_, 54>(flow.ports());
        frame.set::<_, 58>(word(58));
        let sum = checksum(feed.transport_sum + flow.sum());
        frame.set::<_, 66>(with_flags(word(66), flags) | u64::from(sum) << 32);
        frame.set::<_, 74>(word(74) as u32);
        frame.set::<_, 78>(0_u16);
        Some(())
    }

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

    #[inline(always)]
    fn turn(context: &XdpContext) -> Option<()> {
        let frame = Frame::<LENGTH_V6>::of(context)?;
        frame.swap_macs();
        let source: (u64, u64) = (frame.get::<_, 22>(), frame.get::<_, 30>());
        frame.set::<u64, 22>(frame.get::<_, 38>());
        frame.set::<u64, 30>(frame.get::<_, 46>());
        frame.set::<_, 38>(source.0);
        frame.set::<_, 46>(source.1);
        frame.set::<_, 54>(frame.get::<u32, 54>().rotate_left(16));
        frame.set::<_, 67>((crate::harness::SYN | crate::harness::ACK) as u8);
        Some(())
    }

    #[inline(always)]
    fn key(context: &XdpContext) -> Option<Self::Key> {
        let frame = Frame::<LENGTH_V6>::of(context)?;
        let tcp = frame.get::<u16, 12>() == 0x86dd_u16.to_be()
            && frame.get::<u8, 14>() >> 4 == 6
            && frame.get::<u8, 20>() == 6;
        tcp.then(|| {
            [
                frame.get::<_, 22>(),
                frame.get::<_, 26>(),
                frame.get::<_, 30>(),
                frame.get::<_, 34>(),
                frame.get::<_, 38>(),
                frame.get::<_, 42>(),
                frame.get::<_, 46>(),
                frame.get::<_, 50>(),
                frame.get::<_, 54>(),
                6,
            ]
        })
    }

    #[inline(always)]
    fn table() -> &'static LruHashMap<Self::Key, Backend<Self::Address>> {
        &LRU_V6
    }

    #[inline(always)]
    fn backend() -> Backend<Self::Address> {
        let address = [0x2001_0db8_u32.to_be(), 0, 0, 5_u32.to_be()];
        Backend { address, port: PORT, transport_delta: 0x1234, address_delta: 0, mac: MAC }
    }

    #[inline(always)]
    fn nat(context: &XdpContext, backend: &Backend<Self::Address>) -> Option<()> {
        let frame = Frame::<LENGTH_V6>::of(context)?;
        frame.set::<_, 38>(backend.address[0]);
        frame.set::<_, 42>(backend.address[1]);
        frame.set::<_, 46>(backend.address[2]);
        frame.set::<_, 50>(backend.address[3]);
        frame.set::<_, 56>(backend.port);
        frame.set::<_, 21>(frame.get::<u8, 21>() - 1);
        frame.set::<_, 70>(corrected(frame.get::<_, 70>(), backend.transport_delta));
        write_macs(&frame, backend.mac);
        Some(())
    }

    #[inline(always)]
    fn encapsulate(context: &XdpContext, backend: &Backend<Self::Address>) -> Option<()> {
        let frame = Frame::<{ LENGTH_V6 + 40 }>::of(context)?;
        move_macs::<{ LENGTH_V6 + 40 }, 40>(&frame, backend.mac);
        frame.set::<_, 12>(0x86dd_u16.to_be());
        let length = (u16::from_be(frame.get::<_, 58>()) + 40).to_be();
        frame.set::<_, 14>(0x60_u32);
        // Next header 41 (IPv6), 64 hops.
        frame.set::<_, 18>(u32::from(length) | 41 << 16 | 64 << 24);
        frame.set::<_, 22>(0x2001_0db8_u32.to_be());
        frame.set::<_, 26>(0_u32);
        frame.set::<_, 30>(0_u32);
        frame.set::<_, 34>(frame.get::<u32, 74>());
        frame.set::<_, 38>(backend.address[0]);
        frame.set::<_, 42>(backend.address[1]);
        frame.set::<_, 46>(backend.address[2]);
        frame.set::<_, 50>(backend.address[3]);
        Some(())
    }

    #[inline(always)]
    fn bounce(context: &XdpContext) -> Option<()> {
        Frame::<LENGTH_V6>::of(context).map(|frame| frame.swap_macs())
    }
}

/// Eight bytes of the frame that is fed.
#[inline(always)]
fn word(feed: &Feed, at: usize) -> u64 {
    // SAFETY: every caller's place is within the frame or, for the last word, within the feed.
    unsafe { (&raw const feed.frame).cast::<u8>().add(at).cast::<u64>().read_volatile() }
}

/// MAC addresses in front of a frame that has grown by `BY` bytes.
#[inline(always)]
fn move_macs<const N: usize, const BY: usize>(frame: &Frame<N>, mac: [u16; 3]) {
    // SAFETY: `BY` and four or six more bytes are less than `N` for both families.
    let ours: (u32, u16) = unsafe { (frame.read(BY), frame.read(BY + 4)) };
    frame.set::<_, 0>(u32::from(mac[0]) | u32::from(mac[1]) << 16);
    frame.set::<_, 4>(mac[2]);
    frame.set::<_, 6>(ours.0);
    frame.set::<_, 10>(ours.1);
}
