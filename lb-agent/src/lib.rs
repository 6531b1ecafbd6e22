//! The daemon of Sluice, as a library so that tests and tools can use its parts.
//!
//! `model` decides: it has no socket, clock, thread or log. `io` acts: it does what `model` says and tells
//! it what happened. Nothing in `model` may import from `io`.

pub mod args;
pub mod io;
pub mod model;
