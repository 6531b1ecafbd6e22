//! Frames that leave the packet path are, byte for byte, what an independent builder makes.

#[path = "../cast/mod.rs"]
mod cast;

mod nat;
