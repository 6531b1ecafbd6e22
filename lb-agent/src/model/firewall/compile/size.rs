//! How large the maps of the firewall are.

/// Chunks that can be needed: one for each value of the first 16 bits of an IPv4 address and of a global IPv6
/// address (`2000::/3`), and some for others.
const MOST_CHUNKS: u32 = 65_536 + 8_192 + 1_024;

/// Fewest prefixes that there is room for.
const FEWEST: u32 = 256;

/// Entries of one half of the maps whose size depends on the number of prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Fronts, and pages of values. The first is never used.
    pub chunks: u32,
    /// Buckets of cells; a power of two.
    pub cell_buckets: u32,
    /// Buckets of long prefixes; a power of two.
    pub long_buckets: u32,
}

impl Size {
    /// A prefix needs at most a chunk and a cell, or two cells; or a chunk, a cell and a place among the long ones.
    #[must_use]
    pub fn for_prefixes(max_prefixes: u32) -> Self {
        let prefixes = max_prefixes.clamp(FEWEST, 1 << 26);
        let power = |entries: u32| entries.checked_next_power_of_two().unwrap_or(1 << 31);
        Self {
            chunks: prefixes.min(MOST_CHUNKS) + 1,
            // Two to four places for each prefix, and one and a half to three.
            cell_buckets: power(prefixes / 4),
            long_buckets: power(prefixes / 2),
        }
    }
}
