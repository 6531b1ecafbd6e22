//! What the firewall's maps hold.
//!
//! A packet has seven properties that rules ask about. Each property, whatever its value, leads to a [`Row`]: the
//! set of rules that do not mind this value. The rule that decides is the first one in all seven rows. An address
//! leads to its row by its class: all addresses that lie in the same prefixes of rules and sets are of one.
//!
//! Every map is there twice, as two halves of one map: packets read the one that [`Firewall::word`] names, the
//! agent writes the other. An index in a half, as values hold it, starts at zero.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Most rules that a half holds, those that come from `protect_ports` and `allow` included.
pub const MAX_RULES: usize = 64 * RULE_WORDS;
/// Words of a set of rules.
pub const RULE_WORDS: usize = 32;
/// Most rows of a half.
pub const MAX_ROWS: u32 = 8_192;
/// Most classes of addresses: each has a row as a source and one as a destination.
pub const MAX_CLASSES: u16 = 4_000;
/// Most nodes of a half.
pub const MAX_NODES: u32 = 8_192;
/// Counters of rules; the first is that of what the policy drops.
pub const MAX_RULE_COUNTS: u32 = 4_096;

/// Entries of [`FIREWALL_LINKS`](crate::map::FIREWALL_LINKS).
pub const MAX_LINKS: u32 = 512;

/// Values that lie together in one entry of a map.
pub const PAGE: usize = 256;

/// Entries of [`FIREWALL_ROOTS`](crate::map::FIREWALL_ROOTS) for one family: one word for each of 65,536 values
/// of the first 16 bits of an address.
pub const ROOT_PAGES: u32 = 256;
/// Entries of [`FIREWALL_PORTS`](crate::map::FIREWALL_PORTS) for one direction.
pub const PORT_PAGES: u32 = 256;
/// Entries of [`FIREWALL_SERVICES`](crate::map::FIREWALL_SERVICES) for one half.
pub const SERVICE_PAGES: u32 = crate::MAX_LISTENERS / 256 + 1;
/// In the place of a listener's id: a packet that is for none.
pub const NO_LISTENER: u32 = crate::MAX_LISTENERS;
/// The number of no counter.
pub const NO_COUNT: u32 = MAX_RULE_COUNTS;

/// What is the same for all packets. Only the word and the masks change while packets are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Firewall {
    /// The half in use, and what its rules ask about: bits below.
    pub word: u64,
    /// By half, buckets of [`FIREWALL_CELLS`](crate::map::FIREWALL_CELLS) that it uses, less one; they are a power of two,
    /// and no more than it takes: what lies close together is at hand sooner. Changes only while no packet reads the half.
    pub cell_masks: [u32; 2],
    /// Buckets of [`FIREWALL_LONG`](crate::map::FIREWALL_LONG) in a half, less one; they are a power of two.
    pub long_mask: u32,
    /// Entries of [`FIREWALL_FRONTS`](crate::map::FIREWALL_FRONTS) in a half.
    pub chunks: u32,
    /// Entries of [`FIREWALL_CELLS`](crate::map::FIREWALL_CELLS) in a half.
    pub cell_buckets: u32,
    /// Zero.
    pub reserved: u32,
}

impl Firewall {
    /// Packets are looked at. Without it all other bits mean nothing.
    pub const ON: u64 = 1;
    /// The second half is in use, not the first.
    pub const SECOND_HALF: u64 = 1 << 1;
    /// What matches no rule is dropped.
    pub const POLICY_DROP: u64 = 1 << 2;
    /// A packet whose source lies in no prefix is accepted, whatever else it is, and by no rule that counts.
    pub const STRANGERS_PASS: u64 = 1 << 3;
    /// There are rules about the source address, or lists of who may use a service.
    pub const BY_SOURCE: u64 = 1 << 4;
    /// There are rules about the destination address.
    pub const BY_DESTINATION: u64 = 1 << 5;
    /// There are rules about the source port.
    pub const BY_SOURCE_PORT: u64 = 1 << 6;
    /// There are rules about the destination port.
    pub const BY_DESTINATION_PORT: u64 = 1 << 7;
    /// There are rules about the protocol, or about what only some protocols have.
    pub const BY_KIND: u64 = 1 << 8;
    /// There are rules about the interface.
    pub const BY_INTERFACE: u64 = 1 << 9;
    /// There are rules about the service, or lists of who may use it.
    pub const BY_SERVICE: u64 = 1 << 10;
    /// Some IPv4 address lies in a prefix. Without it they all are of class 0.
    pub const HAS_V4: u64 = 1 << 11;
    /// Some IPv6 address lies in a prefix. Without it they all are of class 0.
    pub const HAS_V6: u64 = 1 << 12;

    /// The number of the half in use: 0 or 1.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::as_conversions, reason = "one bit")]
    pub const fn half(word: u64) -> u32 {
        ((word >> 1) & 1) as u32
    }
}

/// Entries of [`FIREWALL_BITS`](crate::map::FIREWALL_BITS) for one family: a bit for each value of the first 24 bits of
/// an address. All addresses of one that is not set have the value 0, so that most packets need no other look.
pub const BIT_WORDS: u32 = (1 << 24) / 64;

/// Planes of [`FIREWALL_BITS`](crate::map::FIREWALL_BITS): one for each family, and that of [`alone_mark`].
pub const BIT_PLANES: u32 = 3;

/// In the place of a family: the plane of [`alone_mark`].
pub const ALONE_PLANE: u32 = 2;

/// The word of its plane, and two bits in it, that the hash of the first 32 bits of an IPv6 address leads to. Both are set
/// where a prefix is [`ALONE`] in them; rarely they are where there is none.
#[must_use]
#[inline(always)]
#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "few bits")]
pub const fn alone_mark(hash: u64) -> (u32, u64) {
    let word = (hash >> (64 - BIT_WORDS.trailing_zeros())) as u32;
    (word, (1 << ((hash >> 40) & 63)) | (1 << ((hash >> 34) & 63)))
}

/// The first 16 bits of an address lead here: `chunk << ROOT_SHIFT | value`.
///
/// Without a chunk (0) the value is that of all addresses that begin so and whose bit is set. With one it is the value
/// of those whose front says [`FRONT_COMMON`].
#[must_use]
#[inline(always)]
pub const fn root(chunk: u32, value: u16) -> u32 {
    (chunk << ROOT_SHIFT) | (value & VALUE) as u32
}

/// Bits of a [`root`] that are its value; all others are the chunk, of which there may be more than 2^16.
pub const ROOT_SHIFT: u32 = VALUE.trailing_ones();

/// What the next eight bits lead to: two bits for each of 256 values, 32 in a word, from the lowest on.
pub type Front = [u64; 8];

/// Addresses that begin with these 24 bits lie in no prefix: their value is 0.
pub const FRONT_NONE: u64 = 0;
/// They all have the value that stands in the root.
pub const FRONT_COMMON: u64 = 1;
/// Some whole addresses of 32 bits have a value of their own, in the cells; the others lie in no prefix.
pub const FRONT_SINGLES: u64 = 2;
/// All is to be read from the entry of [`FIREWALL_VALUES`](crate::map::FIREWALL_VALUES): see [`HAS_SINGLES`].
pub const FRONT_MIXED: u64 = 3;

/// Some whole addresses of 32 bits have a value of their own, in the cells.
pub const HAS_SINGLES: u16 = 1 << 15;
/// So have some prefixes of 25 to 31 bits. The cell of the prefix of 24 bits tells which lengths there are: bit
/// `length - 25`.
pub const HAS_SPANS: u16 = 1 << 14;
/// The value of all others.
pub const VALUE: u16 = HAS_SPANS - 1;

/// A word of [`FIREWALL_CELLS`](crate::map::FIREWALL_CELLS), eight in a bucket: `key << CELL_SHIFT | value`. The
/// key names family, prefix and length, see [`cell_key`]; no key is 0.
pub const CELL_SHIFT: u32 = 17;
/// Set in the first word of a bucket, used or not: some key whose first bucket this is lies in its second.
pub const CELL_SPILLED: u64 = 1 << 16;

/// The key of a prefix of 24 to 32 bits of an address, in host order, with zeros behind the prefix.
#[must_use]
#[inline(always)]
pub const fn cell_key(plane: u32, prefix: u32, length: u32) -> u64 {
    ((prefix as u64) << 8) | ((length as u64) << 1) | (plane as u64)
}

/// What the first 32 bits of an IPv6 address lead to: the value of the second plane.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Node {
    /// The lengths of longer prefixes that begin so: bit `128 - length`, the lower word first.
    pub lengths: [u64; 2],
    /// The class of addresses that lie in none of these.
    pub class: u64,
}

/// Prefixes of IPv6 with more than 32 bits: three of them.
///
/// One with whose first 32 bits no other begins is [`ALONE`], and lies where the hash of these leads: then the address at
/// hand tells its place, whatever its length is. The others are found by [`Node`]s.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(64))]
pub struct LongBucket {
    /// The prefixes, in host order, the more significant half first.
    pub prefixes: [[u64; 2]; LONG_PER_BUCKET],
    /// `length << 16 | class`, the length with [`ALONE`] where that is so; 0 marks a free place.
    pub values: [u32; LONG_PER_BUCKET],
    /// 1 where some prefix whose first bucket this is lies in its second.
    pub spilled: u32,
}

/// Beside the length of a prefix: no other of more than 32 bits begins with its first 32 bits.
pub const ALONE: u32 = 1 << 8;

/// Prefixes in a [`LongBucket`].
pub const LONG_PER_BUCKET: usize = 3;

/// A set of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Row {
    /// Which of the words are not zero.
    pub used: u64,
    /// A rule's bit is `number % 64` of word `number / 64`.
    pub rules: [u64; RULE_WORDS],
}

/// The row that holds every rule: that of what no rule asks about.
pub const ROW_ALL: u32 = 0;

/// The row of sources of a class.
#[must_use]
#[inline(always)]
pub const fn source_row(class: u32) -> u32 {
    2 * class + 1
}

/// The row of destinations of a class.
#[must_use]
#[inline(always)]
pub const fn destination_row(class: u32) -> u32 {
    2 * class + 2
}

/// Kinds of packets, [`PAGE`] each: by protocol number.
pub const KIND_PROTOCOL: u32 = 0;
/// TCP, by its flags.
pub const KIND_TCP: u32 = 1;
/// ICMP, by its type.
pub const KIND_ICMP: u32 = 2;
/// `ICMPv6`, by its type.
pub const KIND_ICMPV6: u32 = 3;
/// Fragments but the first, by protocol number.
pub const KIND_LATER: u32 = 4;
/// Number of kinds of packets.
pub const KINDS: u32 = 5;

/// What a listener leads to: its row, and 1 more than the number of the rule that holds who may use it, or 0.
#[must_use]
#[inline(always)]
pub const fn service(row: u16, allow: u16) -> u32 {
    ((allow as u32) << 16) | row as u32
}

/// Set in a rule's word: what it matches is dropped. The lowest bits are the number of its counter.
pub const RULE_DROPS: u32 = 1 << 31;
/// Bits of a rule's word that are the number of its counter.
pub const RULE_COUNTER: u32 = 2 * MAX_RULE_COUNTS - 1;
/// From this bit on stands 1 more than the number of the rule's [`Limit`](super::limit::Limit), or 0.
pub const RULE_LIMIT_SHIFT: u32 = 16;

/// 1 more than the number of a rule's limit, or 0.
#[must_use]
#[inline(always)]
pub const fn rule_limit(word: u32) -> u32 {
    (word & !RULE_DROPS) >> RULE_LIMIT_SHIFT
}

/// Entries of [`FIREWALL_ASKED`](crate::map::FIREWALL_ASKED) for one half: a bit for each destination port, which says
/// that some rule asks about it.
pub const ASKED_WORDS: u32 = 65_536 / 64;
/// Entries of [`FIREWALL_OUTCOMES`](crate::map::FIREWALL_OUTCOMES) for one half.
pub const OUTCOME_PAGES: u32 = 32;
/// Set in an outcome: the source is enough to tell what becomes of a packet, if it is one of TCP or UDP with all its
/// headers and no rule asks about its destination port. Without it, nothing else is set.
pub const OUTCOME_KNOWN: u32 = 1 << 30;
/// Set in an outcome: it is dropped.
pub const OUTCOME_DROPS: u32 = 1 << 31;
/// Set in an outcome: by the policy.
pub const OUTCOME_POLICY: u32 = 1 << 29;
/// Bits of an outcome that are the number of a counter, or [`NO_COUNT`].
pub const OUTCOME_COUNTER: u32 = 2 * MAX_RULE_COUNTS - 1;

/// The place of an outcome in its half: that of packets of TCP or UDP whose source is of a class.
#[must_use]
#[inline(always)]
#[expect(clippy::as_conversions, reason = "one bit")]
pub const fn outcome_place(class: u32, is_udp: bool) -> u32 {
    2 * class + is_udp as u32
}

/// An interface, in one half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LinkKey {
    /// The half.
    pub half: u32,
    /// Its index; 0 for all that have no entry.
    pub interface: u32,
}

super::plain_data!(Firewall, Node, LongBucket, LinkKey, Row);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_random_addresses_read_fills_whole_cache_lines() {
        assert_eq!(size_of::<Front>(), 64);
        assert_eq!(size_of::<LongBucket>(), 64);
    }

    #[test]
    fn the_key_of_a_cell_leaves_room_for_the_value() {
        let longest = cell_key(1, u32::MAX, 32);
        assert_eq!((longest << CELL_SHIFT) >> CELL_SHIFT, longest);
        assert!(u64::from(VALUE) < CELL_SPILLED && CELL_SPILLED < 1 << CELL_SHIFT);
    }

    #[test]
    fn there_is_an_outcome_for_every_class() {
        let last = outcome_place(u32::from(MAX_CLASSES - 1), true);
        assert!(usize::try_from(last / OUTCOME_PAGES).unwrap() < PAGE);
    }

    #[test]
    fn the_word_names_the_half() {
        assert_eq!(Firewall::half(Firewall::ON | Firewall::SECOND_HALF), 1);
        assert_eq!(Firewall::half(!Firewall::SECOND_HALF), 0);
    }
}
