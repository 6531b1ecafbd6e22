//! SYN cookies: every frame of a connection that one opens, byte for byte what an independent builder makes.

#![expect(
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

#[path = "../cast/mod.rs"]
mod cast;

mod handshake;
mod invalid;
mod limited;
mod repeated;
mod scene;
mod translated;
