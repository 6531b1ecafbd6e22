//! What may be ours: a bit for each VIP, each listener and each backend's replies, asked before anything else is.
//!
//! Any of them may share its bit with others, so a bit that is set says "perhaps"; one that is not set says "no",
//! always. The agent sets bits before it writes what they are about, and clears them after it is removed.
#![expect(clippy::as_conversions, reason = "what is cut off of a word is meant to be")]

use crate::layout::{Address, Backend};

/// Number of words; a power of two.
pub const WORDS: u32 = 1 << WORD_BITS;
const WORD_BITS: u32 = 14;
/// Number of bits of the number of a bit in its word.
const BIT_BITS: u32 = u64::BITS.trailing_zeros();

/// A word, by its number, and bits of it.
pub type Mark = (u32, u64);

/// What a bit says of its address, beside a port and a protocol.
const VIP: u32 = 1 << 24;
const LISTENER: u32 = 2 << 24;
const REPLIES: u32 = 3 << 24;

/// The mark of a VIP.
#[must_use]
#[inline(always)]
pub const fn of_vip(address: &Address) -> Mark {
    mark(address, VIP)
}

/// The mark of a listener; its port in network order.
#[must_use]
#[inline(always)]
pub const fn of_listener(address: &Address, port: u16, protocol: u8) -> Mark {
    mark(address, LISTENER | ((protocol as u32) << 16) | port as u32)
}

/// The mark of replies that are rewritten, by where they come from; the port in network order.
#[must_use]
#[inline(always)]
pub const fn of_replies(address: &Address, port: u16, protocol: u8) -> Mark {
    mark(address, REPLIES | ((protocol as u32) << 16) | port as u32)
}

/// It spreads what is given and nothing more: whoever makes addresses collide gains that packets are looked at as
/// closely as those for a VIP.
#[inline(always)]
const fn mark(address: &Address, what: u32) -> Mark {
    let [a, b, c, d] = *address;
    let first = (((a as u64) << 32) | b as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let second = (((d as u64) << 32) | c as u64).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    let third = (what as u64).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let hash = (first ^ second).wrapping_add(third);
    let bit = (hash >> (u64::BITS - WORD_BITS - BIT_BITS)) as u32 & (u64::BITS - 1);
    ((hash >> (u64::BITS - WORD_BITS)) as u32, 1 << bit)
}

/// The mark of a backend, if its replies are rewritten.
#[must_use]
pub const fn of_backend(backend: &Backend) -> Option<Mark> {
    if backend.state != 0 && backend.is_nat() {
        Some(of_replies(&backend.address, backend.port, backend.protocol))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;
    use crate::layout::address;

    /// How many marks differ from all others.
    fn different(marks: impl Iterator<Item = Mark>) -> usize {
        marks.collect::<std::collections::BTreeSet<_>>().len()
    }

    fn addresses_v4() -> impl Iterator<Item = Address> {
        (0..1_000_u32).map(|number| address(Ipv4Addr::from(0x0a00_0000 + number).into()).0)
    }

    fn addresses_v6() -> impl Iterator<Item = Address> {
        (0..1_000_u128).map(|number| address(Ipv6Addr::from((0x2001 << 112) + number).into()).0)
    }

    #[test]
    fn neighbours_have_bits_of_their_own_nearly_always() {
        assert!(different(addresses_v4().map(|ip| of_vip(&ip))) > 990);
        assert!(different(addresses_v6().map(|ip| of_vip(&ip))) > 990);
        assert!(different(addresses_v4().map(|ip| of_listener(&ip, 80_u16.to_be(), 6))) > 990);
        assert!(different(addresses_v6().map(|ip| of_replies(&ip, 80_u16.to_be(), 6))) > 990);
    }

    #[test]
    fn ports_of_an_address_have_bits_of_their_own_nearly_always() {
        let vip = address(Ipv4Addr::new(203, 0, 113, 10).into()).0;
        let ports = || (0..1_000_u16).map(u16::to_be);
        assert!(different(ports().map(|port| of_listener(&vip, port, 6))) > 990);
        assert!(different(ports().map(|port| of_replies(&vip, port, 6))) > 990);
        let port = 53_u16.to_be();
        let marks = [
            of_vip(&vip),
            of_listener(&vip, port, 6),
            of_listener(&vip, port, 17),
            of_replies(&vip, port, 6),
        ];
        assert_eq!(different(marks.into_iter()), 4);
    }
}
