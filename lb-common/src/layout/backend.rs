//! A backend as the packet path knows it, and the ways to forward packets to it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Address;

/// Number of a backend's [`Backend::state`] in which it is served as usual.
pub const BACKEND_UP: u8 = 1;
/// The backend is dead or gone, and its open flows are left to it.
pub const BACKEND_DOWN_KEEP: u8 = 2;
/// The backend is dead or gone, and its open TCP flows are reset on their next packet.
pub const BACKEND_DOWN_RESET: u8 = 3;

/// How packets reach a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Forward {
    /// The destination is rewritten; replies come back through the director.
    Nat = 0,
    /// Source and destination are rewritten.
    FullNat = 1,
    /// Only the MAC address is rewritten; the backend has the VIP, replies go past the director.
    Dsr = 2,
    /// An IPv4 header is put in front (RFC 2003; RFC 4213 for IPv6 inside).
    IpipV4 = 3,
    /// An IPv6 header is put in front (RFC 2473).
    IpipV6 = 4,
    /// IPv4 and UDP headers are put in front (GUE, variant 1).
    GueV4 = 5,
    /// IPv6 and UDP headers are put in front (GUE, variant 1).
    GueV6 = 6,
}

impl Forward {
    /// The mode with this number, if there is one.
    #[must_use]
    #[inline(always)]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Nat,
            1 => Self::FullNat,
            2 => Self::Dsr,
            3 => Self::IpipV4,
            4 => Self::IpipV6,
            5 => Self::GueV4,
            6 => Self::GueV6,
            _ => return None,
        })
    }

    /// The number that a backend's entry holds.
    #[must_use]
    #[inline(always)]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// A backend as one listener sees it.
///
/// A server behind two listeners has two backend ids, so that an id names both the server and the VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Backend {
    /// Where packets of clients go, by the family of [`Self::forward`] where that has one of its own.
    pub address: Address,
    /// The VIP, which replies come from.
    pub vip: Address,
    /// Id of the listener that the backend serves.
    pub listener: u32,
    /// Interface of the next hop; 0 while it is not resolved.
    pub interface: u32,
    /// MAC address of the next hop, then of the interface.
    pub macs: [u8; 12],
    /// Port of the backend, network order.
    pub port: u16,
    /// Port of the VIP, network order.
    pub vip_port: u16,
    /// Ones' complement sum that, added to the complement of a TCP or UDP checksum, turns VIP and port into
    /// the backend's (RFC 1624).
    pub delta: u16,
    /// Bytes of the longest IP packet that the way to the backend takes; 0: not known.
    pub mtu: u16,
    /// [`BACKEND_UP`], [`BACKEND_DOWN_KEEP`] or [`BACKEND_DOWN_RESET`]; 0 where the entry is free.
    pub state: u8,
    /// IP protocol number.
    pub protocol: u8,
    /// Family of the VIP: 4 or 6.
    pub family: u8,
    /// How packets reach it: a [`Forward`] number.
    pub forward: u8,
}

impl Backend {
    /// Whether its replies pass the director, so that a flow has a cell for them.
    #[must_use]
    #[inline(always)]
    pub const fn is_nat(&self) -> bool {
        self.forward <= Forward::FullNat.number()
    }

    /// Family of its address: 4 or 6.
    #[must_use]
    pub const fn address_family(&self) -> u8 {
        match Forward::from_number(self.forward) {
            Some(Forward::IpipV4 | Forward::GueV4) => 4,
            Some(Forward::IpipV6 | Forward::GueV6) => 6,
            Some(Forward::Nat | Forward::FullNat | Forward::Dsr) | None => self.family,
        }
    }
}
