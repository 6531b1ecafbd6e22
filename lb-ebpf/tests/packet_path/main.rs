//! What the packet path decides, and what it remembers: no frame is compared here but with itself.

#![expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

#[path = "../cast/mod.rs"]
mod cast;

mod adopting;
mod affinity;
mod conflicts;
mod dead_backends;
mod floods;
mod flow_states;
mod flow_table;
mod grown;
mod hash;
mod held;
mod limits;
mod one_cell;
mod open_flows;
mod properties;
mod quick;
mod rotation;
mod schedulers;
mod sources;
mod timeouts;
mod truncation;
mod verdicts;
