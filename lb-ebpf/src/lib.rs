//! The packet path of Sluice, free of the kernel: a pure library that also runs on the host.
#![cfg_attr(target_arch = "bpf", no_std)]
