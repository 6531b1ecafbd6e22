//! What is kept of a flow beside its cells, and of packets in fragments.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Address;

/// The flow that a cell stands for, in full. With the backend that the cell names, it gives the 5-tuples of
/// both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Detail {
    /// The client's address.
    pub client: Address,
    /// The source that the backend sees: the client's address, or the one that full NAT gave.
    pub source: Address,
    /// The client's port, network order.
    pub client_port: u16,
    /// The source port that the backend sees, network order.
    pub source_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// 4 or 6.
    pub family: u8,
    /// 1 from a SYN cookie until the backend has answered: the deltas hold the numbers that the client was given.
    pub is_opening: u8,
    /// By how many bits the backend's windows are shifted to the left, to the right if negative; 0 unless a SYN
    /// cookie opened the flow.
    pub window_shift: i8,
    /// Added to the backend's sequence numbers; 0 unless a SYN cookie opened the flow.
    pub sequence_delta: u32,
    /// Added to the backend's timestamps; 0 unless a SYN cookie opened the flow.
    pub timestamp_delta: u32,
    /// The interface that the client's last packet came in by.
    pub hop_interface: u32,
    /// The MAC address that it came from; what is sent to the client goes back to it.
    pub hop_neighbour: [u8; 6],
    /// Its VLAN tags (TCI, network order), outer first; 0: none.
    pub hop_tags: [u16; 2],
    /// `EtherType` of the outer tag, network order.
    pub hop_tag_type: u16,
}

/// What the fragments of one packet have in common (RFC 791, RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FragmentKey {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Identification, as it stands in the header.
    pub identification: u32,
    /// IP protocol number; 0 in IPv6, whose fragments are known without.
    pub protocol: u8,
    /// 4 or 6.
    pub family: u8,
    /// Zero.
    pub reserved: u16,
}

/// Where the first fragment of a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FragmentWay {
    /// Hash of its 5-tuple, so that all fragments go through the same tunnel.
    pub hash: u64,
    /// Backend id.
    pub backend: u32,
    /// Index of the cell of its flow.
    pub cell: u32,
    /// When it came, in ticks, cut to 32 bits.
    pub tick: u32,
    /// 1 where it came from the backend.
    pub is_reply: u32,
}
