//! What the decapsulating programs of a backend and their command agree on: maps, and what can happen to a
//! packet.

use core::net::IpAddr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::layout::{self, Address, plain_data};
use crate::verdict::{Kind, verdicts};

/// Names of the maps as the object declares them.
pub mod map {
    /// One [`Settings`](super::Settings).
    pub const SETTINGS: &str = "SETTINGS";
    /// [`Key`](super::Key) of an address to what it is, a sum of [`HOST`](super::HOST) and [`VIP`](super::VIP).
    pub const ADDRESSES: &str = "ADDRESSES";
    /// Prefixes of [`Key`](super::Key)s: the outer sources that are allowed.
    pub const SOURCES: &str = "SOURCES";
    /// Per CPU [`Count`](crate::layout::Count) by number of the verdict.
    pub const VERDICTS: &str = "VERDICTS";
}

/// Most addresses of the host and VIPs together.
pub const MAX_ADDRESSES: u32 = 8_192;

/// Most prefixes of outer sources.
pub const MAX_SOURCES: u32 = 1_024;

/// An address of this host: tunnels end here.
pub const HOST: u32 = 1;
/// A VIP: what is sent to it through a tunnel is for this host.
pub const VIP: u32 = 2;

/// What is the same for all packets.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Settings {
    /// UDP port of GUE, network order; 0: none.
    pub gue_port: u16,
    /// 1 where only listed outer sources are allowed.
    pub restricted: u16,
    /// The largest segments that peers of a VIP may send, over IPv4 and over IPv6; 0: any.
    pub segments: [u16; 2],
}

/// An address of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Key {
    /// 4 or 6; first, so that a prefix of a key has its family whole.
    pub family: u32,
    /// The address.
    pub address: Address,
}

impl Key {
    /// Bits before those of the address.
    pub const FAMILY_BITS: u32 = 32;
}

impl From<IpAddr> for Key {
    fn from(ip: IpAddr) -> Self {
        let (address, family) = layout::address(ip);
        Self { family: family.into(), address }
    }
}

plain_data!(Settings, Key);

verdicts! {
    /// What became of a packet that came to a backend.
    Verdict:
    1 Decapsulated "decapsulated" Forwarded "The outer header was taken off, and the packet for a VIP went to the host.";
    2 SegmentClamped "segment_clamped" Forwarded "A SYN from a VIP left with a smaller MSS, so that what is sent in return fits into the tunnel.";
    10 NotIp "not_ip" Passed "Neither IPv4 nor IPv6: ARP, LLDP, more than two VLAN tags and the like.";
    11 NotTunnel "not_tunnel" Passed "Neither IP in IP nor UDP to the port of GUE.";
    12 NotHere "not_here" Passed "Of a tunnel, but not sent to an address of this host.";
    13 NotVip "not_vip" Passed "Of a tunnel, but what it carries is not for a VIP: another tunnel of this host, or a VIP that was not named.";
    14 Fragment "fragment" Passed "A fragment of a tunnel's packet, which cannot be decapsulated: the way from the director has too small an MTU, or segments are too large.";
    15 Malformed "malformed" Passed "Outer headers that contradict themselves or the frame's length.";
    16 OtherGue "other_gue" Passed "To the port of GUE, but a control message, with options, or of another version or protocol.";
    20 MalformedInner "malformed_inner" Dropped "What a tunnel carried was cut short, or contradicts itself or the outer length.";
    21 ForbiddenSource "forbidden_source" Dropped "For a VIP, from an outer source that is not allowed: a director that was not named, or somebody who injects.";
    22 Congestion "congestion" Dropped "Marked for congestion on the way through the tunnel, while the sender does not heed such marks (RFC 6040).";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::tests::check_list;

    #[test]
    fn verdicts_are_a_list_like_the_director_s() {
        let rows = Verdict::ALL.iter().map(|row| (row.number(), row.name(), row.help()));
        check_list(&rows.collect::<Vec<_>>());
    }

    #[test]
    fn the_same_words_of_two_families_are_two_keys() {
        let v4 = Key::from("32.1.13.184".parse::<IpAddr>().unwrap());
        let v6 = Key::from("2001:db8::".parse::<IpAddr>().unwrap());
        assert_eq!(v4.address, v6.address);
        assert_ne!(v4, v6);
        assert_eq!(v4.as_bytes()[..8], [4, 0, 0, 0, 32, 1, 13, 184]);
    }
}
