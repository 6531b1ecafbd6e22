//! Virtual routers in namespaces: two directors, or one beside keepalived or FRR, and who of them has the addresses.
#![cfg(feature = "root")]
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]

mod agent_dies;
mod cast;
mod clock_jump;
mod failover;
mod flows;
mod frr;
mod hostile;
mod keepalived;
mod killed;
mod steady;
mod untold;
mod virtual_mac;
