//! What a new flow is drawn from: slots, loads, and what is remembered of sources.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Address;

/// A place in a listener's run: whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Slot {
    /// Backend id.
    pub backend: u32,
    /// What the backend's load is divided by when two are compared; above zero.
    pub weight: u32,
}

/// How many flows a backend has: the sum of two words, one that the agent stores and one that all CPUs add to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Load {
    /// What the agent's last sweep of the flow table counted, less `change` at that moment. Wraps.
    pub base: u64,
    /// Flows that began, less those that ended, as the packet path saw them. Wraps; kept only for listeners
    /// that draw by load.
    pub change: u64,
    /// 1 while the backend is in its listener's slots.
    pub takes_flows: u32,
    /// Zero.
    pub reserved: u32,
}

impl Load {
    /// The number of flows. Between two sweeps it may be wrong, for a FIN may be lost, but not below zero.
    #[must_use]
    #[inline(always)]
    pub const fn flows(base: u64, change: u64) -> u64 {
        let sum = base.wrapping_add(change);
        if sum > u32::MAX as u64 { 0 } else { sum }
    }
}

/// Key of what is remembered of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AffinityKey {
    /// Listener id.
    pub listener: u32,
    /// The leading bits of the source address, the others zero.
    pub source: Address,
}

/// The backend that a source was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Affinity {
    /// Backend id.
    pub backend: u32,
    /// The lower half of the tick in which the source's last flow began.
    pub tick: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_never_below_zero() {
        assert_eq!(Load::flows(7, 2), 9);
        assert_eq!(Load::flows(7, 0_u64.wrapping_sub(3)), 4);
        assert_eq!(Load::flows(2, 0_u64.wrapping_sub(3)), 0);
    }
}
