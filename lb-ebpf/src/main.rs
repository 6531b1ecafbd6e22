//! The XDP program: a thin shell around the library, with the maps.
//!
//! On any other target than BPF this is an empty program, so that the crate is an ordinary member of the
//! workspace.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(
    target_arch = "bpf",
    feature(core_intrinsics, asm_experimental_arch),
    allow(internal_features, reason = "atomics of maps")
)]

#[cfg(target_arch = "bpf")]
mod kernel;
#[cfg(target_arch = "bpf")]
mod program;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
