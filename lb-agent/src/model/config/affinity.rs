//! `affinity = { … }` of a service.

use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::duration::duration;
use super::reader::Table;
use super::value::{choice, integer};
use super::{Affinity, AffinityBy};

const PREFIX_V4: u32 = 32;
const PREFIX_V6: u32 = 64;
const TIMEOUT: Duration = Duration::from_mins(5);
/// The packet path's clock has ticks of 4.3 s.
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_hours(24);

/// Reads the table of a service.
pub(super) fn affinity<'r>(
    service: &Table<'r>,
    value: &'r Spanned<DeValue<'r>>,
) -> Option<Affinity> {
    let mut table = service.of("affinity = { … }", value)?;
    let by = table.or("by", AffinityBy::Source, choice(&[]));
    let prefix_v4 = table.or("prefix_v4", PREFIX_V4, integer(1..=32));
    let prefix_v6 = table.or("prefix_v6", PREFIX_V6, integer(1..=128));
    let timeout = table.or("timeout", TIMEOUT, duration(SHORTEST..=LONGEST));
    table.finish(&[]);
    Some(Affinity {
        by: by?.value,
        prefix_v4: prefix_v4?.value,
        prefix_v6: prefix_v6?.value,
        timeout: timeout?.value,
    })
}
