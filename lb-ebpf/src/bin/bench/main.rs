//! The BPF programs of `cargo xtask bench`: a harness that feeds packets, and floors to compare with.
//!
//! They measure the packet path and are no part of it. On any other target than BPF this is an empty program.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod family;
#[cfg(target_arch = "bpf")]
mod floor;
#[cfg(target_arch = "bpf")]
mod frame;
#[cfg(target_arch = "bpf")]
mod harness;
#[cfg(target_arch = "bpf")]
mod spread;

#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // The verifier proves that no path leads here.
    loop {}
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
