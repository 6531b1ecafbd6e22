//! What the kernel gives the packet path: the program, the frame, and in `maps` and `parts` all else.

mod maps;
mod parts;

use core::arch::asm;

use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::helpers::generated::{bpf_redirect, bpf_xdp_adjust_head, bpf_xdp_adjust_tail};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use lb_ebpf::Exit;
use lb_ebpf::packet::{Frame, Packet};

use maps::KernelTables;

/// The program.
#[xdp]
pub fn sluice(context: XdpContext) -> u32 {
    let mut packet = Packet::new(XdpFrame::new(context.ctx));
    match lb_ebpf::process(&mut packet, &KernelTables).exit {
        Exit::Pass => xdp_action::XDP_PASS,
        Exit::Drop => xdp_action::XDP_DROP,
        Exit::Transmit => xdp_action::XDP_TX,
        Exit::Redirect(interface) => redirect(interface),
    }
}

#[inline(always)]
fn redirect(interface: u32) -> u32 {
    // SAFETY: a helper without pointers.
    unsafe { bpf_redirect(interface, 0) as u32 }
}

/// The frame behind the program's argument, with its edges as pointers.
struct XdpFrame {
    context: *mut xdp_md,
    start: *mut u8,
    end: *mut u8,
}

impl XdpFrame {
    /// The kernel gives the edges as 32-bit words, which the compiler would go on to reckon with in 32 bits;
    /// the verifier knows them as pointers and wants 64. Hence the two loads by hand.
    #[inline(always)]
    fn new(context: *mut xdp_md) -> Self {
        let (start, end): (*mut u8, *mut u8);
        // SAFETY: the context is valid while the program runs; `data` is its first word.
        unsafe { asm!("{0} = *(u32 *)({1} + 0)", out(reg) start, in(reg) context) };
        // SAFETY: `data_end` is the context's second word.
        unsafe { asm!("{0} = *(u32 *)({1} + 4)", out(reg) end, in(reg) context) };
        Self { context, start, end }
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
        // SAFETY: the kernel's context is valid while the program runs.
        unsafe { (*self.context).ingress_ifindex }
    }

    #[inline(always)]
    fn move_start(&mut self, delta: i32) -> bool {
        // SAFETY: the context is valid; the helper refuses what does not fit.
        let result = unsafe { bpf_xdp_adjust_head(self.context, delta) };
        *self = Self::new(self.context);
        result == 0
    }

    #[inline(always)]
    fn move_end(&mut self, delta: i32) -> bool {
        // SAFETY: the context is valid; the helper refuses what does not fit.
        let result = unsafe { bpf_xdp_adjust_tail(self.context, delta) };
        *self = Self::new(self.context);
        result == 0
    }
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // The verifier proves that no path leads here.
    loop {}
}
