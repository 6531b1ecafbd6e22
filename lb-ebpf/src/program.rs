//! What every BPF program here has: the way to its frame and its maps, a licence, and nowhere to panic to.

use core::arch::asm;
use core::mem::offset_of;

use aya_ebpf::bindings::{
    BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS, bpf_fib_lookup, xdp_md,
};
use aya_ebpf::helpers::generated::{
    bpf_fib_lookup as fib_lookup, bpf_xdp_adjust_head, bpf_xdp_adjust_tail,
};
use lb_common::layout::Address;
use lb_ebpf::family::Family;
use lb_ebpf::flow::Tuple;
use lb_ebpf::packet::Frame;

/// Address families as the kernel numbers them.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// An edge of the frame, at an offset of the program's argument.
///
/// The kernel gives the edges as 32-bit words, which the compiler would go on to reckon with in 32 bits; the
/// verifier knows them as pointers and wants 64. Hence the load by hand.
///
/// # Safety
///
/// `context` is the program's argument, and an edge lies at the offset.
#[inline(always)]
pub(crate) unsafe fn edge<const OFFSET: usize, C>(context: *mut C) -> *mut u8 {
    let edge: *mut u8;
    // SAFETY: the caller's.
    unsafe { asm!("{0} = *(u32 *)({1} + {2})", out(reg) edge, in(reg) context, const OFFSET) };
    edge
}

/// The frame behind the program's argument, whose edges are read anew at each look. No register holds them in between,
/// so the verifier takes two ways to a place for one, however much of the frame each of them has seen.
pub(crate) struct LateFrame(pub(crate) *mut xdp_md);

impl Frame for LateFrame {
    #[inline(always)]
    fn start(&self) -> *mut u8 {
        // SAFETY: the context is valid while the program runs; `data` is its first word.
        unsafe { edge::<{ offset_of!(xdp_md, data) }, _>(self.0) }
    }

    #[inline(always)]
    fn end(&self) -> *mut u8 {
        // SAFETY: as above; `data_end` is its second.
        unsafe { edge::<{ offset_of!(xdp_md, data_end) }, _>(self.0) }
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        // SAFETY: the kernel's context is valid while the program runs.
        unsafe { (*self.0).ingress_ifindex }
    }

    #[inline(always)]
    fn move_start(&mut self, delta: i32) -> bool {
        // SAFETY: the context is valid; the helper refuses what does not fit.
        let result = unsafe { bpf_xdp_adjust_head(self.0, delta) };
        result == 0
    }

    #[inline(always)]
    fn move_end(&mut self, delta: i32) -> bool {
        // SAFETY: the context is valid; the helper refuses what does not fit.
        let result = unsafe { bpf_xdp_adjust_tail(self.0, delta) };
        result == 0
    }

    #[inline(always)]
    fn is_routed<A: Family>(&self, ends: &Tuple<A>) -> bool {
        const { assert!(size_of::<Question>() == size_of::<bpf_fib_lookup>()) };
        let mut question = Question::new(ends, self.interface());
        let size = size_of::<Question>() as i32;
        // SAFETY: the context is valid, and the kernel reads and writes a question of this size.
        let answer = unsafe { fib_lookup(self.0.cast(), (&raw mut question).cast(), size, 0) };
        answer == ROUTED || answer == WITHOUT_NEIGHBOUR
    }
}

/// The answers of `bpf_fib_lookup` to what is sent on, where the neighbour is known and where it is not.
const ROUTED: i64 = BPF_FIB_LKUP_RET_SUCCESS as i64;
const WITHOUT_NEIGHBOUR: i64 = BPF_FIB_LKUP_RET_NO_NEIGH as i64;

/// What `bpf_fib_lookup` is asked: the kernel's `struct bpf_fib_lookup`, with arrays for its unions.
#[repr(C)]
struct Question {
    family: u8,
    protocol: u8,
    source_port: u16,
    destination_port: u16,
    /// Zero: whatever the MTU.
    length: u16,
    interface: u32,
    class: u32,
    source: Address,
    destination: Address,
    answer: [u32; 4],
}

impl Question {
    #[inline(always)]
    fn new<A: Family>(ends: &Tuple<A>, interface: u32) -> Self {
        Self {
            family: if A::NUMBER == 4 { AF_INET } else { AF_INET6 },
            protocol: ends.protocol,
            source_port: ends.source_port,
            destination_port: ends.destination_port,
            length: 0,
            interface,
            class: 0,
            source: A::to_words(ends.source),
            destination: A::to_words(ends.destination),
            answer: [0; 4],
        }
    }
}

/// The same with its edges at hand, for a program that is to be quick.
pub(crate) struct XdpFrame {
    frame: LateFrame,
    start: *mut u8,
    end: *mut u8,
}

impl XdpFrame {
    #[inline(always)]
    pub(crate) fn new(context: *mut xdp_md) -> Self {
        let frame = LateFrame(context);
        Self { start: frame.start(), end: frame.end(), frame }
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
        self.frame.interface()
    }

    #[inline(always)]
    fn move_start(&mut self, delta: i32) -> bool {
        let is_moved = self.frame.move_start(delta);
        *self = Self::new(self.frame.0);
        is_moved
    }

    #[inline(always)]
    fn move_end(&mut self, delta: i32) -> bool {
        let is_moved = self.frame.move_end(delta);
        *self = Self::new(self.frame.0);
        is_moved
    }

    #[inline(always)]
    fn is_routed<A: Family>(&self, ends: &Tuple<A>) -> bool {
        self.frame.is_routed(ends)
    }
}

/// A value of an array, as an [`Entry`](lb_ebpf::tables::Entry).
macro_rules! entry {
    ($map:ident, $index:expr) => {{
        let value = $map.get_ptr_mut($index)?;
        // SAFETY: a value of an array lives as long as the program.
        Some(unsafe { Entry::new(value) })
    }};
}

pub(crate) use entry;

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // The verifier proves that no path leads here.
    loop {}
}
