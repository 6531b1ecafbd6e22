//! What the kernel gives to decapsulation: maps, a frame that comes in and one that goes out.

use core::mem::offset_of;

use aya_ebpf::bindings::{__sk_buff, TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::helpers::generated::bpf_l4_csum_replace;
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::lpm_trie::Key as Prefix;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, PerCpuArray};
use aya_ebpf::programs::{TcContext, XdpContext};
use lb_common::decap::{Key, MAX_ADDRESSES, MAX_SOURCES, Settings};
use lb_common::layout::Count;
use lb_common::verdict::{Kind, MAX_VERDICTS};
use lb_ebpf::decap::{Maps, Scratch, Segment};
use lb_ebpf::family::Family;
use lb_ebpf::flow::Tuple;
use lb_ebpf::packet::{Frame, Packet};
use lb_ebpf::tables::Entry;

use crate::program::{XdpFrame, edge, entry};

#[map]
static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);
#[map]
static ADDRESSES: HashMap<Key, u32> = HashMap::with_max_entries(MAX_ADDRESSES, 0);
#[map]
static SOURCES: LpmTrie<Key, u32> = LpmTrie::with_max_entries(MAX_SOURCES, 0);
#[map]
static VERDICTS: PerCpuArray<Count> = PerCpuArray::with_max_entries(MAX_VERDICTS, 0);
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);
#[map]
static NUMBER: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The program for what comes in.
#[xdp]
pub fn sluice_decap(context: XdpContext) -> u32 {
    let mut packet = Packet::new(XdpFrame::new(context.ctx));
    match lb_ebpf::decap::process(&mut packet, &KernelMaps).kind() {
        Kind::Forwarded | Kind::Passed => xdp_action::XDP_PASS,
        Kind::Dropped => xdp_action::XDP_DROP,
    }
}

/// The program for what goes out. Other programs and filters of the interface come after it.
#[classifier]
pub fn sluice_clamp(context: TcContext) -> i32 {
    let mut packet = Packet::new(SocketFrame::new(context.skb.skb));
    lb_ebpf::decap::clamp(&mut packet, &KernelMaps);
    TC_ACT_UNSPEC
}

/// The part of a socket buffer that lies in one piece, all headers of a SYN included.
struct SocketFrame {
    context: *mut __sk_buff,
    start: *mut u8,
    end: *mut u8,
}

impl SocketFrame {
    #[inline(always)]
    fn new(context: *mut __sk_buff) -> Self {
        // SAFETY: the context is valid while the program runs.
        let start = unsafe { edge::<{ offset_of!(__sk_buff, data) }, _>(context) };
        // SAFETY: as above.
        let end = unsafe { edge::<{ offset_of!(__sk_buff, data_end) }, _>(context) };
        Self { context, start, end }
    }
}

impl Frame for SocketFrame {
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
        unsafe { (*self.context).ifindex }
    }

    /// What goes out keeps its edges.
    #[inline(always)]
    fn move_start(&mut self, _delta: i32) -> bool {
        false
    }

    #[inline(always)]
    fn move_end(&mut self, _delta: i32) -> bool {
        false
    }

    /// Nobody asks.
    #[inline(always)]
    fn is_routed<A: Family>(&self, _ends: &Tuple<A>) -> bool {
        false
    }
}

impl Segment for SocketFrame {
    /// The helper knows whether the checksum is there, or the hardware has yet to compute it.
    #[inline(always)]
    fn fix_checksum(&mut self, at: usize, old: u16, new: u16) {
        const WORD: u64 = 2;
        // SAFETY: the context is valid; the helper refuses what lies outside of the frame. It cannot here.
        unsafe { bpf_l4_csum_replace(self.context, at as u32, old.into(), new.into(), WORD) };
        *self = Self::new(self.context);
    }
}

/// The maps above.
struct KernelMaps;

impl Maps for KernelMaps {
    #[inline(always)]
    fn settings(&self) -> Option<Settings> {
        SETTINGS.get(0).copied()
    }

    #[inline(always)]
    fn roles(&self, address: &Key) -> u32 {
        // SAFETY: the value is copied at once; a racing update replaces it whole.
        unsafe { ADDRESSES.get(address).copied().unwrap_or(0) }
    }

    #[inline(always)]
    fn is_listed(&self, source: &Key) -> bool {
        const ALL_BITS: u32 = Key::FAMILY_BITS + 128;
        SOURCES.get(Prefix::new(ALL_BITS, *source)).is_some()
    }

    #[inline(always)]
    fn scratch(&self) -> Option<Entry<Scratch>> {
        entry!(SCRATCH, 0)
    }

    #[inline(always)]
    fn number(&self) -> Option<Entry<u64>> {
        entry!(NUMBER, 0)
    }

    #[inline(always)]
    fn count(&self, number: u32) -> Option<Entry<Count>> {
        entry!(VERDICTS, number)
    }
}
