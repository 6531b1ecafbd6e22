//! What CPUs share without locks stays exact although flows come in on two of them at once.
#![cfg(feature = "root")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]
#![expect(unreachable_pub, reason = "a module that several tests share")]

mod loads;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "../packet_path/mod.rs"]
mod packet_path;
mod rates;
mod rotation;
mod sources;

use std::net::SocketAddr;

/// A client of its own for each CPU.
fn client(cpu: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, cpu], port))
}
