//! A listener as the packet path knows it, and how it draws backends.
#![expect(clippy::as_conversions, reason = "`From` is not const")]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Address;

/// One VIP, port and protocol; where its flows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Listener {
    /// Where the slots are: [`run`]. Swapped by one 64-bit store.
    pub run: u64,
    /// Index of the cursor that round robin draws from; listeners of one service may share it.
    pub cursor: u32,
    /// How an index is drawn: a [`Scheduler`] number.
    pub scheduler: u8,
    /// IP protocol number.
    pub protocol: u8,
    /// Port, network order.
    pub port: u16,
    /// VIP.
    pub address: Address,
    /// 4 or 6; 0 where the entry is free.
    pub family: u8,
    /// When SYNs are answered with cookies: a [`SynCookies`] number; only where replies pass the director.
    pub syn_cookies: u8,
    /// Zero.
    pub reserved: [u8; 6],
    /// For how many ticks a source is sent to the backend of its last flow; 0: not at all.
    pub affinity_ticks: u32,
    /// How many leading bits of the source address count for that.
    pub affinity_prefix: u32,
    /// Nanoseconds in which a new flow may begin, and how many may at once; 0: there is no limit.
    pub flow_cost: u32,
    /// See `flow_cost`.
    pub flow_burst: u32,
    /// Nanoseconds in which a SYN may be followed by nothing before cookies are sent, and how many may be at once;
    /// with [`SynCookies::Auto`].
    pub syn_cost: u32,
    /// See `syn_cost`.
    pub syn_burst: u32,
}

/// Packs the first slot and the number of slots of a run.
#[must_use]
pub const fn run(base: u32, length: u32) -> u64 {
    ((base as u64) << 32) | length as u64
}

/// First slot and number of slots of a run.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "the halves of a word")]
pub const fn run_parts(run: u64) -> (u32, u32) {
    ((run >> 32) as u32, run as u32)
}

/// How the index of a slot is drawn for a new flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Scheduler {
    /// Each new flow takes the next slot.
    RoundRobin = 0,
    /// A hash of the client's address names the slot.
    SourceHash = 1,
    /// A hash of the flow's 5-tuple names the slot.
    FlowHash = 2,
    /// Chance names the slot.
    Random = 3,
    /// Chance names two slots, and the one with less load for its weight is taken.
    LeastLoad = 4,
}

impl Scheduler {
    /// The number in [`Listener::scheduler`].
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// When SYNs are answered with cookies, so that a flow begins with the client's ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SynCookies {
    /// Never.
    Off = 0,
    /// While too many SYNs are followed by nothing.
    Auto = 1,
    /// Always.
    Always = 2,
}

impl SynCookies {
    /// The number in [`Listener::syn_cookies`].
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}
