//! How a backend is chosen for a new flow.

use std::time::Duration;

/// How a backend is chosen for a new flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduler {
    /// In turn; weights other than 0 count alike.
    RoundRobin,
    /// In turn, by weight, smoothly interleaved.
    WeightedRoundRobin,
    /// To the one of two drawn by chance that has fewer flows; weights other than 0 count alike.
    LeastConnections,
    /// To the one of two drawn by chance and weight that has fewer flows for its weight.
    WeightedLeastConnections,
    /// By the client's address, on a ring by weight.
    SourceHash,
    /// By the flow's addresses and ports, on a ring by weight.
    Maglev,
    /// By chance and weight.
    Random,
}

impl Scheduler {
    /// Whether a hash names a slot on a ring.
    pub fn is_by_hash(self) -> bool {
        match self {
            Self::SourceHash | Self::Maglev => true,
            Self::RoundRobin
            | Self::WeightedRoundRobin
            | Self::LeastConnections
            | Self::WeightedLeastConnections
            | Self::Random => false,
        }
    }

    /// Whether a backend of twice the weight gets twice the flows.
    pub fn minds_weights(self) -> bool {
        match self {
            Self::RoundRobin | Self::LeastConnections => false,
            Self::WeightedRoundRobin
            | Self::WeightedLeastConnections
            | Self::SourceHash
            | Self::Maglev
            | Self::Random => true,
        }
    }
}

/// Whether a source is sent to the backend that it was sent to before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affinity {
    /// What is remembered.
    pub by: AffinityBy,
    /// How many leading bits of an IPv4 address count.
    pub prefix_v4: u32,
    /// How many leading bits of an IPv6 address count.
    pub prefix_v6: u32,
    /// How long after the source's last new flow.
    pub timeout: Duration,
}

/// What affinity goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AffinityBy {
    /// The leading bits of the client's address.
    Source,
}
