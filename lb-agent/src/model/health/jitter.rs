//! Varies the waits between probes, so that directors and backends do not fall into step.
//!
//! Marsaglia's xorshift: good enough to spread probes, the same for the same seed, and no secret.

use std::time::Duration;

/// A source of shortened waits.
#[derive(Clone, Debug)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        // Zero is the one state that xorshift never leaves.
        Self(seed.max(1))
    }

    /// `interval` less a random part of it, `share` at most.
    pub(super) fn shortened(&mut self, interval: Duration, share: f64) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let [high, low, ..] = self.0.to_be_bytes();
        let random = f64::from(u16::from_be_bytes([high, low])) / f64::from(u16::MAX);
        interval.mul_f64(1.0 - share.clamp(0.0, 0.5) * random)
    }
}
