//! Frames that leave the packet path are, byte for byte, what an independent builder makes.

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

mod dsr;
mod fragments;
mod full_nat;
mod headers;
mod icmp_to_backend;
mod icmp_to_client;
mod nat;
mod relay;
mod reset;
mod too_big;
mod tunnel;
mod vlan;

use cast::packet::Packet;
use cast::{DIRECTOR_BACK, DIRECTOR_FRONT, ROUTER, SERVERS, World};

/// The client's packet as the first backend gets it.
fn at_backend(world: &World, packet: &Packet) -> Packet {
    let packet = packet.clone().to(world.cast.backends[0]).ttl(packet.ttl - 1);
    packet.link(DIRECTOR_BACK, SERVERS[0])
}

/// A backend's packet as the client gets it.
fn at_client(world: &World, packet: &Packet) -> Packet {
    let packet = packet.clone().from(world.cast.vip).ttl(packet.ttl - 1);
    packet.link(DIRECTOR_FRONT, ROUTER)
}
