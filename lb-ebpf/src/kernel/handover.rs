//! From a program of the layout of maps before this one to the one in this object, on all interfaces and CPUs with
//! one store of the agent.
//!
//! The old program knows nothing of the new table. So no packet may meet the old one after any has met the new one,
//! and interfaces get their programs one by one. While they do, this stands in for both.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::XdpContext;

use super::declared::SETTINGS;

/// The old program, and the new one.
#[map]
static HANDOVER: ProgramArray = ProgramArray::with_max_entries(2, 0);

/// 1 where cells of the other table are of the layout before this one.
#[unsafe(no_mangle)]
static OTHER_IS_BEFORE: u8 = 0;

/// Runs the old program until the settings of the new one have a layout.
#[xdp]
pub fn sluice_handover(context: XdpContext) -> u32 {
    let has_begun = SETTINGS.get(0).is_some_and(|settings| settings.layout != 0);
    // Comes back only where the agent has not set it up.
    // SAFETY: a tail call with the program's own context.
    unsafe { HANDOVER.tail_call(&context, u32::from(has_begun)) };
    xdp_action::XDP_ABORTED
}

#[inline(always)]
pub fn other_is_before() -> bool {
    let is_before = &raw const OTHER_IS_BEFORE;
    // SAFETY: a constant of this program; volatile, since the agent sets it before the program is loaded.
    unsafe { is_before.read_volatile() != 0 }
}
