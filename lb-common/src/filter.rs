//! Which addresses and ports may be ours: a word of bits for each address, asked before anything else is.
//!
//! Addresses share words and ports share bits, so a bit that is set says "perhaps"; one that is not set says "no",
//! always. The agent sets bits before it writes what they are about, and clears them after it is removed.
#![expect(clippy::as_conversions, reason = "what is cut off of a word is meant to be")]

use crate::layout::{Address, Backend};

/// Number of words; a power of two.
pub const WORDS: u32 = 1 << WORD_BITS;
const WORD_BITS: u32 = 14;

/// The address is a VIP.
pub const VIP: u64 = 1 << 63;
/// Set beside a protocol whose port is that of replies.
const REPLY: u8 = 0x80;

/// A word, by its number, and bits of it.
pub type Mark = (u32, u64);

/// Number of the word of an address. It spreads addresses and nothing more: whoever makes them collide gains that
/// packets are looked at as closely as those for a VIP.
#[must_use]
#[inline(always)]
pub const fn word(address: &Address) -> u32 {
    let [a, b, c, d] = *address;
    let first = (((a as u64) << 32) | b as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let second = (((d as u64) << 32) | c as u64).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    ((first ^ second) >> (64 - WORD_BITS)) as u32
}

/// The bit of a listener's port, in network order, and its protocol.
#[must_use]
#[inline(always)]
pub const fn requests(port: u16, protocol: u8) -> u64 {
    bit(port, protocol)
}

/// The bit of the port of a backend whose replies are rewritten, likewise.
#[must_use]
#[inline(always)]
pub const fn replies(port: u16, protocol: u8) -> u64 {
    bit(port, protocol | REPLY)
}

#[inline(always)]
const fn bit(port: u16, protocol: u8) -> u64 {
    let number = (((protocol as u32) << 16) | port as u32).wrapping_mul(0x9e37_79b1);
    1 << (number >> 26)
}

/// The mark of a VIP.
#[must_use]
pub const fn of_vip(address: &Address) -> Mark {
    (word(address), VIP)
}

/// The mark of a listener; its port in network order.
#[must_use]
pub const fn of_listener(address: &Address, port: u16, protocol: u8) -> Mark {
    (word(address), requests(port, protocol))
}

/// The mark of a backend, if its replies are rewritten.
#[must_use]
pub const fn of_backend(backend: &Backend) -> Option<Mark> {
    if backend.state != 0 && backend.is_nat() {
        Some((word(&backend.address), replies(backend.port, backend.protocol)))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::address;

    fn words<'a>(addresses: impl Iterator<Item = std::net::IpAddr> + 'a) -> usize {
        addresses.map(|ip| word(&address(ip).0)).collect::<std::collections::BTreeSet<_>>().len()
    }

    #[test]
    fn neighbours_have_words_of_their_own_nearly_always() {
        let v4 = (0..1_000_u32).map(|number| std::net::Ipv4Addr::from(0x0a00_0000 + number).into());
        let v6 =
            (0..1_000_u128).map(|number| std::net::Ipv6Addr::from((0x2001 << 112) + number).into());
        assert!(words(v4) > 940, "chance alone leaves 970 of a thousand");
        assert!(words(v6) > 940);
    }

    #[test]
    fn ports_spread_over_all_bits() {
        let bits = (0..1_000_u16).fold(0, |bits, number| bits | requests(number.to_be(), 6));
        assert_eq!(bits, u64::MAX);
        assert_ne!(requests(53_u16.to_be(), 6), requests(53_u16.to_be(), 17));
        assert_ne!(requests(53_u16.to_be(), 6), replies(53_u16.to_be(), 6));
    }
}
