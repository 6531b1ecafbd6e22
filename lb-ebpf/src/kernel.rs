//! What the kernel gives the packet path: the program, and in `maps` and `parts` all else.

mod declared;
mod explain;
mod firewall;
mod handover;
mod maps;
mod parts;
mod tick;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::generated::bpf_redirect;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use lb_ebpf::Exit;
use lb_ebpf::packet::Packet;

use crate::program::{LateFrame, XdpFrame};
use declared::STAGES;
use lb_common::map::{STAGE_COOKIES, STAGE_FIREWALL, STAGE_SECOND};
use maps::KernelTables;

/// The program that is attached.
#[xdp]
pub fn sluice(context: XdpContext) -> u32 {
    let mut packet = Packet::new(XdpFrame::new(context.ctx));
    // It tells nobody of what it does.
    if !explain::explains()
        && let Some(outcome) = lb_ebpf::first(&mut packet, &KernelTables::<true>)
    {
        return action(outcome.exit);
    }
    let has_rules = lb_ebpf::firewall::is_on(&KernelTables::<true>);
    go_on(&context, if has_rules { STAGE_FIREWALL } else { STAGE_SECOND })
}

/// The program that judges by the rules what the first one has not finished, where there are any.
#[xdp]
pub fn sluice_firewall(context: XdpContext) -> u32 {
    let mut packet = Packet::new(LateFrame(context.ctx));
    match lb_ebpf::judge(&mut packet, &KernelTables::<false>) {
        Some(outcome) => action(outcome.exit),
        None => go_on(&context, STAGE_SECOND),
    }
}

/// The program that goes on where the first one has not finished: its stack is its own.
#[xdp]
pub fn sluice_second(context: XdpContext) -> u32 {
    let mut packet = Packet::new(LateFrame(context.ctx));
    match lb_ebpf::second(&mut packet, &KernelTables::<false>) {
        Some(outcome) => action(outcome.exit),
        None => go_on(&context, STAGE_COOKIES),
    }
}

/// The program that goes on where SYN cookies are concerned.
#[xdp]
pub fn sluice_cookies(context: XdpContext) -> u32 {
    let mut packet = Packet::new(LateFrame(context.ctx));
    action(lb_ebpf::cookie::third(&mut packet, &KernelTables::<false>).exit)
}

/// Goes on in another program.
#[inline(always)]
fn go_on(context: &XdpContext, stage: u32) -> u32 {
    // Comes back only where the agent has not set it up.
    // SAFETY: a tail call with the program's own context.
    unsafe { STAGES.tail_call(context, stage) };
    xdp_action::XDP_ABORTED
}

#[inline(always)]
fn action(exit: Exit) -> u32 {
    match exit {
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

/// Adds to a word, and returns what it was. LLVM's BPF backend returns the addend for weaker orderings.
#[inline(always)]
unsafe fn fetch_add(word: *mut u64, addend: u64) -> u64 {
    use core::intrinsics::{AtomicOrdering, atomic_xadd};
    // SAFETY: the caller's.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::AcqRel }>(word, addend) }
}
