//! What the kernel gives the packet path: the program, and in `maps` and `parts` all else.

mod maps;
mod parts;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::bpf_redirect;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use lb_ebpf::Exit;
use lb_ebpf::packet::Packet;

use crate::program::XdpFrame;
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
