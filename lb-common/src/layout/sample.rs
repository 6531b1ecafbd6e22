//! What is told of a packet: of one that was dropped, or one that is explained.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Address;

/// In the place of an id or a number that there is not.
pub const NOTHING: u32 = u32::MAX;

/// A packet and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Sample {
    /// The monotonic clock, in nanoseconds.
    pub time: u64,
    /// Source.
    pub source: Address,
    /// Destination.
    pub destination: Address,
    /// Index of the interface that it came by.
    pub interface: u32,
    /// Bytes of the frame.
    pub length: u32,
    /// Number of the counter of the rule that decided, 0 for the policy, or [`NOTHING`].
    pub rule: u32,
    /// Id of the listener that it was for, or [`NOTHING`].
    pub listener: u32,
    /// Id of the backend that it went to or came from, or [`NOTHING`].
    pub backend: u32,
    /// Source port, network order; 0 where it is not known.
    pub source_port: u16,
    /// Destination port, network order; 0 where it is not known.
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// 4 or 6; 0 where addresses and all that follows are not known.
    pub family: u8,
    /// Number of the verdict.
    pub verdict: u8,
    /// Zero.
    pub reserved: [u8; 5],
}

super::plain_data!(Sample);
