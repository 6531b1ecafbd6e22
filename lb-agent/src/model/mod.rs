//! The daemon's mind: pure state machines. Events go in, effects come out; time is an argument.
//!
//! ```text
//! configuration, API command, probe result, next hop, flow count, timer
//!       -> Event -> Agent::handle(now, event) -> Vec<Effect>
//! ```

pub mod agent;
#[cfg(test)]
pub(crate) mod cast;
pub mod config;
pub mod decap;
pub mod desired;
pub mod firewall;
pub mod health;
pub mod made;
pub mod overlay;
pub mod paces;
pub mod plan;
pub mod sync;
pub mod tables;
pub mod views;
pub mod vrrp;
