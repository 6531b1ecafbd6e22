//! `limits = { … }` of a service.

use toml::Spanned;
use toml::de::DeValue;

use super::Limits;
use super::reader::Table;
use super::value::integer;

/// Most new connections that can be told apart: a limit beyond is none.
const MOST: u32 = 10_000_000;

/// Reads the table of a service.
pub(super) fn limits<'r>(service: &Table<'r>, value: &'r Spanned<DeValue<'r>>) -> Option<Limits> {
    let mut table = service.of("limits = { … }", value)?;
    let wanted = "new_connections_per_second";
    let rate = table.required(wanted, "20_000", integer(1..=MOST));
    let burst = table.optional("burst", integer(1..=MOST));
    table.finish(&[]);
    let rate = rate?.value;
    // What comes in a tenth of a second may come at once.
    let burst = burst?.map_or((rate / 10).max(1), |burst| burst.value);
    Some(Limits { new_connections_per_second: rate, burst })
}
