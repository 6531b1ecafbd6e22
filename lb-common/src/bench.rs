//! What `cargo xtask bench` and its BPF programs agree on. No part of the product.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::layout::plain_data;

/// Length of an IPv4 frame of the harness: Ethernet, IPv4, TCP and ten bytes.
pub const LENGTH_V4: usize = 64;
/// Length of an IPv6 frame of the harness: Ethernet, IPv6, TCP and six bytes.
pub const LENGTH_V6: usize = 80;

/// Bits of a flow's number that are in its source port; the rest is in its address.
pub const PORT_BITS: u32 = 15;

/// What the harness feeds to the program under test, and what it has noticed.
///
/// Flow number `i` comes from port `first_port + i % 2^15` of the address whose last two bytes are
/// `i / 2^15`, and goes to port `first_service + i & services`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Feed {
    /// The frame, with zeros where flows differ and in the checksums.
    pub frame: [u64; 10],
    /// Number of the next flow.
    pub next: u32,
    /// Numbers from here on begin with 0 again.
    pub end: u32,
    /// 0: flows in their order; else one less than the power of two of flows to choose from at random.
    pub random_mask: u32,
    /// State of the generator of random numbers; never 0.
    pub random: u32,
    /// Sum of the IPv4 header, not folded.
    pub ip_sum: u32,
    /// Sum of the TCP segment and its pseudo header, not folded.
    pub transport_sum: u32,
    /// Source port of flow 0.
    pub first_port: u16,
    /// Destination port of flow 0.
    pub first_service: u16,
    /// One less than the power of two of destination ports.
    pub services: u32,
    /// Which packet of a flow's handshake comes next: SYN, SYN-ACK, ACK.
    pub step: u32,
    /// 1: nobody answers, so that a handshake has no SYN-ACK.
    pub one_way: u32,
    /// Packets that a floor did not find in its table, or that the harness could not send.
    pub missed: u64,
}

plain_data!(Feed);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_frame_fits() {
        assert_eq!(size_of::<[u64; 10]>(), LENGTH_V6);
        const { assert!(LENGTH_V4 < LENGTH_V6) };
    }
}
