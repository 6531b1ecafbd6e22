//! What tells one virtual router from all others, and the addresses that follow from it.

use std::net::Ipv6Addr;

/// Identity of a router; the order is the same on all directors, unless they name interfaces differently.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Its id.
    pub id: u8,
    /// Its family.
    pub is_ipv6: bool,
    /// Name of its interface.
    pub interface: String,
}

impl Key {
    /// The virtual router's MAC address (RFC 9568 7.3).
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        [0, 0, 0x5e, 0, if self.is_ipv6 { 2 } else { 1 }, self.id]
    }
}

/// The link-local address that follows from the MAC address (RFC 9568 7.3, RFC 4291 appendix A).
pub(super) fn link_local(id: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0x0200, 0x5eff, 0xfe00, 0x0200 | u16::from(id))
}
