//! What the packet path counts.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Packets and bytes (of whole frames) with one verdict.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Count {
    /// Number of packets.
    pub packets: u64,
    /// Number of bytes, Ethernet header included, as they arrived.
    pub bytes: u64,
}

impl Count {
    /// Counts one packet.
    #[inline(always)]
    pub fn add(&mut self, bytes: u64) {
        self.packets += 1;
        self.bytes += bytes;
    }
}

/// What passed through a listener or a backend.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Traffic {
    /// From clients to backends.
    pub forward: Count,
    /// From backends to clients.
    pub reply: Count,
    /// New flows.
    pub flows: u64,
    /// Packets that were dropped although they belong here.
    pub dropped: u64,
}
