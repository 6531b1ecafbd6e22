//! `over = { … }` of a rule: it matches only what is beyond a limit.

use std::time::Duration;

/// What a rule lets go on before it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// So many in a time.
    Rate(OverRate),
    /// A flow of a source that has fewer open.
    Flows {
        /// How many; at least 1.
        most: u32,
        /// How sources are told apart.
        per: Per,
    },
}

/// How many may come in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverRate {
    /// How many may come in a time.
    pub rate: Rate,
    /// How many may come at once, after a time without any; at least 1.
    pub burst: u32,
    /// What counts.
    pub count: Counted,
    /// Each source by itself; `None`: the rule as a whole.
    pub per: Option<Per>,
}

/// So many in a unit of time; at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub amount: u32,
    /// In which time.
    pub unit: Unit,
}

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A second
    Second,
    /// A minute
    Minute,
    /// An hour
    Hour,
}

impl Unit {
    /// How long it is.
    pub fn duration(self) -> Duration {
        match self {
            Self::Second => Duration::from_secs(1),
            Self::Minute => Duration::from_mins(1),
            Self::Hour => Duration::from_hours(1),
        }
    }
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Every packet, those of known flows as well.
    Packets,
    /// Packets that begin a flow.
    NewFlows,
}

/// The leading bits by which sources are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Per {
    /// Of IPv4, 1 to 32.
    pub prefix_v4: u8,
    /// Of IPv6, 1 to 128.
    pub prefix_v6: u8,
}

impl OverRate {
    /// The time in which all of the burst comes.
    pub fn room(&self) -> Duration {
        self.rate.unit.duration() * self.burst / self.rate.amount.max(1)
    }
}

impl Over {
    /// Whether every packet counts, those of known flows as well.
    pub fn counts_packets(&self) -> bool {
        matches!(self, Self::Rate(OverRate { count: Counted::Packets, .. }))
    }
}
