//! Limits of rules: how much of what a rule matches may go on before it matches indeed.
//!
//! A token bucket is one word that says when it is full again; a token is the time in which one comes. That of a rule
//! as a whole counts nanoseconds of the monotonic clock. That of a source counts [`TIME_SHIFT`] bits coarser, in
//! [`TIME_BITS`] bits below a tag which tells sources of a bucket of [`FIREWALL_LIMITED`](crate::map::FIREWALL_LIMITED)
//! apart. A source whose tokens are all there is as good as none, so its place can be another's at any time.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::firewall::MAX_RULE_COUNTS;

/// Most rules with a limit, in a half.
pub const MAX_LIMITS: u32 = 32;

/// What a rule lets go on before it matches.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Limit {
    /// Time in which a token comes: in nanoseconds, or with [`Self::per_source`] as a source's word has it.
    pub cost: u64,
    /// Time in which all tokens come; of open flows, how many there may be.
    pub room: u64,
    /// Number of the rule's counter, which its sources' places are found by.
    pub counter: u32,
    /// What it counts: [`COUNTS_PACKETS`] and so on.
    pub counts: u8,
    /// 1 where each source has a bucket of its own.
    pub per_source: u8,
    /// Leading bits by which sources of IPv4 are told apart.
    pub prefix_v4: u8,
    /// Leading bits by which sources of IPv6 are told apart.
    pub prefix_v6: u8,
}

/// Every packet counts, those of known flows as well.
pub const COUNTS_PACKETS: u8 = 1;
/// Packets that begin a flow count.
pub const COUNTS_NEW_FLOWS: u8 = 2;
/// Flows that the source has open count, as [`SOURCE_FLOWS`](crate::map::SOURCE_FLOWS) tells; [`Limit::room`] is how many
/// it may have before another one is too many.
pub const COUNTS_OPEN_FLOWS: u8 = 4;
/// Nothing counts, and the rule matches nothing. It stands for one that counts packets with certain TCP flags: of the
/// flows that it would match whatever their flags are, every packet is to be judged.
pub const COUNTS_NOTHING: u8 = 3;

/// By how many bits the time of a source is coarser than nanoseconds.
pub const TIME_SHIFT: u32 = 6;
/// Bits of a source's word that are time. They wrap after 78 hours.
pub const TIME_BITS: u32 = 42;
/// No room for tokens of sources is greater, so that a time beyond is one that has passed long ago: 2 h 26 min.
pub const MOST_ROOM: u64 = 1 << 37;

/// Buckets of [`FIREWALL_LIMITED`](crate::map::FIREWALL_LIMITED) with a word for each counter of a rule.
pub const RULE_BUCKETS: u32 = MAX_RULE_COUNTS / 8;
/// Buckets of sources, behind these: one cache line each, with places for eight. A power of two.
pub const SOURCE_BUCKETS: u32 = 16_384;

/// The entry of [`SOURCE_FLOWS`](crate::map::SOURCE_FLOWS) behind its buckets, with the bits of an address by which
/// sources are told apart, in network order: a word for IPv4, which is zero where nobody asks, and two for IPv6.
pub const SOURCE_MASKS: u32 = SOURCE_BUCKETS;
/// Bits of a word of [`SOURCE_FLOWS`](crate::map::SOURCE_FLOWS) that are the number of flows, below the source's tag.
pub const OPEN_BITS: u32 = TIME_BITS;

super::plain_data!(Limit);
