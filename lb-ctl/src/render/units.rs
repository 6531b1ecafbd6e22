//! Numbers as a person reads them. JSON and YAML keep the raw ones.

use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

/// `999 B`, `1.5 KiB`, `3.2 GiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit = 1024_u64;
    for name in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
        // Tenths, rounded down, so that 1023.99 KiB never reads 1024.0 KiB.
        let tenths = u128::from(bytes) * 10 / u128::from(unit);
        if tenths < 10_240 {
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
        unit = unit.saturating_mul(1024);
    }
    format!("{} EiB", bytes >> 60)
}

/// `42s`, `3m 5s`, `2h 3m`, `4d 2h`: the two largest units.
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A time in UTC after RFC 3339.
pub(crate) fn time(unix_seconds: u64) -> String {
    /// The last second of the year 9999, after which RFC 3339 has no form.
    const LAST: u64 = 253_402_300_799;
    match UNIX_EPOCH.checked_add(Duration::from_secs(unix_seconds)) {
        Some(at) if unix_seconds <= LAST => humantime::format_rfc3339_seconds(at).to_string(),
        Some(_) | None => unix_seconds.to_string(),
    }
}

/// `1 flow`, `2 flows`.
pub(crate) fn count(number: impl TryInto<u64>, noun: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    if number == 1 { format!("{number} {noun}") } else { format!("{number} {noun}s") }
}

/// `12.3 %`
pub(crate) fn share(part: u64, whole: u64) -> String {
    match (u128::from(part) * 1000).checked_div(u128::from(whole)) {
        Some(tenths) => format!("{}.{} %", tenths / 10, tenths % 10),
        None => "-".into(),
    }
}

/// Addresses, separated by commas.
pub(crate) fn addresses(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

pub(crate) fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_one_digit_after_the_point() {
        for (number, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1024 * 1024 - 1, "1023.9 KiB"),
            (10 * 1024 * 1024, "10.0 MiB"),
            (u64::MAX, "15 EiB"),
        ] {
            assert_eq!(bytes(number), shown);
        }
    }

    #[test]
    fn spans_show_their_two_largest_units() {
        for (seconds, shown) in
            [(0, "0s"), (59, "59s"), (185, "3m 5s"), (7384, "2h 3m"), (352_800, "4d 2h")]
        {
            assert_eq!(span(seconds), shown);
        }
    }

    #[test]
    fn times_are_utc_and_impossible_ones_are_shown_raw() {
        assert_eq!(time(1_795_243_562), "2026-11-21T06:46:02Z");
        assert_eq!(time(253_402_300_799), "9999-12-31T23:59:59Z");
        assert_eq!(time(253_402_300_800), "253402300800");
        assert_eq!(time(u64::MAX), u64::MAX.to_string());
    }

    #[test]
    fn one_thing_has_no_plural() {
        assert_eq!([count(0_u64, "flow"), count(1_usize, "flow")], ["0 flows", "1 flow"]);
    }

    #[test]
    fn shares_of_nothing_are_a_dash() {
        assert_eq!(share(1, 8), "12.5 %");
        assert_eq!(share(0, 0), "-");
    }
}
