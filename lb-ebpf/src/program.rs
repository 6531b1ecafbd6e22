//! What every BPF program here has: the way to its frame and its maps, a licence, and nowhere to panic to.

use core::arch::asm;
use core::mem::offset_of;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail};
use lb_ebpf::packet::Frame;

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
