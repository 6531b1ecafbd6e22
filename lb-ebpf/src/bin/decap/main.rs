//! The programs of a backend: thin shells around the library's `decap`, with the maps.
//!
//! On any other target than BPF this is an empty program, so that the crate is an ordinary member of the
//! workspace.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod kernel;
#[cfg(target_arch = "bpf")]
#[path = "../../program.rs"]
mod program;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
