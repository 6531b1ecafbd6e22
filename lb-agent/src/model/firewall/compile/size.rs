//! How large the maps of the firewall are.

use super::CompileError;
use crate::model::config::Config;
use crate::model::firewall::{Action, Firewall};

/// Values of the first 16 bits of IPv6 addresses outside of `2000::/3` that there is room for. Those of private use
/// (`fc00::/7`), of links (`fe80::/10`) and of groups (`ff00::/8`) are 832.
pub const MOST_OTHERS: u32 = 1_024;

/// Chunks that can be needed: one for each value of the first 16 bits of an IPv4 address and of a global IPv6
/// address (`2000::/3`), and some for others.
const MOST_CHUNKS: u32 = 65_536 + 8_192 + MOST_OTHERS;

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
    /// That of maps which packets are never judged by: less than any configuration has room for.
    #[must_use]
    pub fn none() -> Self {
        Self::for_prefixes(0)
    }

    /// What the firewall of a configuration needs from the start, as far as the file tells.
    #[must_use]
    pub fn at_start(config: &Config) -> Self {
        let Firewall { policy, rules, max_prefixes, .. } = &config.firewall;
        let has_lists = config.services.iter().any(|service| !service.allow.is_empty());
        let is_on = *policy == Action::Drop || !rules.is_empty() || has_lists;
        if is_on { Self::for_prefixes(*max_prefixes) } else { Self::none() }
    }

    /// What there is no room for when all chunks are used.
    pub(super) fn no_chunk(self) -> CompileError {
        if self.chunks > MOST_CHUNKS { CompileError::Networks } else { CompileError::Prefixes }
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cast::{config, shop};
    use crate::model::firewall::{Match, Rule};

    #[test]
    fn maps_are_made_for_the_rules_of_the_file() {
        let plain = config(vec![shop(1)]);
        assert_eq!(Size::at_start(&plain), Size::none());
        let room = Size::for_prefixes(plain.firewall.max_prefixes);
        let mut policy = plain.clone();
        policy.firewall.policy = Action::Drop;
        let mut rule = plain.clone();
        rule.firewall.rules = vec![Rule::any(Action::Drop)];
        let mut list = plain;
        list.services[0].allow = vec![Match::Set("office".into())];
        assert_eq!([policy, rule, list].map(|config| Size::at_start(&config)), [room; 3]);
        assert_ne!(Size::for_prefixes(1_024), Size::none());
    }
}
