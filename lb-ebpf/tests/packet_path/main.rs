//! What the packet path decides, and what it remembers: no frame is compared here but with itself.

#[path = "../cast/mod.rs"]
mod cast;

mod conflicts;
mod dead_backends;
mod flow_states;
mod flow_table;
mod properties;
mod rotation;
mod truncation;
mod verdicts;
