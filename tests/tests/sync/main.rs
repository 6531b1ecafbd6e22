//! Replication of the flow table between two directors.
#![cfg(feature = "root")]
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]
#![expect(unreachable_pub, reason = "modules of one test")]

mod directors;
mod faults;
mod handed_over;
mod moved_vip;
