//! Durations with a unit: `500ms`, `2s`, `1h30m`.

use std::ops::RangeInclusive;
use std::time::Duration;

use lb_common::cell::{MAX_TIMEOUT_TICKS, TICK_SHIFT};
use toml::de::DeValue;

use super::problem::Fault;
use super::value::{Parsed, type_name};

const HELP: &str = "give whole numbers with the units h, m, s and ms, as in \"2s\" or \"1h30m\"";

/// Units from the longest, in milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A duration within a range.
pub(super) fn duration(
    range: RangeInclusive<Duration>,
) -> impl Fn(&DeValue<'_>) -> Parsed<Duration> {
    move |value| {
        let text = match value {
            DeValue::String(text) => text,
            DeValue::Integer(number) => {
                let help = format!("write \"{number}s\" for seconds or \"{number}ms\"");
                return Err(Fault::new(format!("the duration {number} has no unit"), help));
            }
            DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                let message = format!("expected a duration, found {}", type_name(value));
                return Err(Fault::new(message, HELP));
            }
        };
        let found = parse_duration(text)?;
        if range.contains(&found) {
            return Ok(found);
        }
        let (low, high) = (encode_duration(*range.start()), encode_duration(*range.end()));
        let message = format!("{text:?} is not within {low} to {high}");
        Err(Fault::new(message, format!("give a duration from \"{low}\" to \"{high}\"")))
    }
}

/// The idle timeout of a flow: what the age of a cell can tell.
pub(super) fn idle_timeout(value: &DeValue<'_>) -> Parsed<Duration> {
    let tick = Duration::from_nanos(1 << TICK_SHIFT);
    // Rounded inwards to whole milliseconds, which is what a file can say.
    let least = Duration::from_millis(whole_millis(tick).saturating_add(1));
    let most = Duration::from_millis(whole_millis(tick * u32::from(MAX_TIMEOUT_TICKS)));
    duration(least..=most)(value)
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn parse_duration(text: &str) -> Parsed<Duration> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let help = format!("write \"{text}s\" for seconds or \"{text}ms\"");
        return Err(Fault::new(format!("the duration {text:?} has no unit"), help));
    }
    let wrong = || Fault::new(format!("{text:?} is not a duration"), HELP);
    let mut rest = text;
    let mut millis = 0_u64;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let (number, unit, tail) = split_part(rest).ok_or_else(wrong)?;
        // Longer units first, each once: `units` only ever moves on.
        let (_, length) = units.find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let part = number.checked_mul(*length).ok_or_else(wrong)?;
        millis = millis.checked_add(part).ok_or_else(wrong)?;
        rest = tail;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(Duration::from_millis(millis)) }
}

/// A number and its unit, and what follows them.
fn split_part(text: &str) -> Option<(u64, &str, &str)> {
    let (digits, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, tail) = rest.split_at(end);
    Some((digits.parse().ok()?, unit, tail))
}

/// A duration as a file would say it; a minute is `60s`, because most timeouts are said in seconds.
pub fn encode_duration(duration: Duration) -> String {
    let millis = whole_millis(duration);
    let fits = |length: u64| millis.is_multiple_of(length);
    if millis != 0 && fits(3_600_000) {
        format!("{}h", millis / 3_600_000)
    } else if millis > 60_000 && fits(60_000) {
        format!("{}m", millis / 60_000)
    } else if fits(1_000) {
        format!("{}s", millis / 1_000)
    } else {
        format!("{millis}ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(text: &str) -> Option<u64> {
        parse_duration(text).ok().map(whole_millis)
    }

    #[test]
    fn a_duration_adds_its_parts() {
        assert_eq!(millis("500ms"), Some(500));
        assert_eq!(millis("2s"), Some(2_000));
        assert_eq!(millis("5m"), Some(300_000));
        assert_eq!(millis("1h30m"), Some(5_400_000));
        assert_eq!(millis("1h2m3s4ms"), Some(3_723_004));
    }

    #[test]
    fn a_duration_has_units_in_order() {
        for wrong in ["", "s", "2", "1.5s", "-1s", "2 s", "30m1h", "1s1s", "2d", "99999999999999h"]
        {
            assert_eq!(millis(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_duration_is_printed_as_it_is_said() {
        for text in ["0s", "500ms", "60s", "90s", "5m", "2h", "90m", "1500ms"] {
            assert_eq!(encode_duration(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn an_idle_timeout_is_a_tick_to_half_of_the_wrap() {
        let timeout = |text: &str| idle_timeout(&DeValue::String(text.into())).is_ok();
        assert!(!timeout("4294ms") && timeout("4295ms"));
        assert!(timeout("2h26m") && !timeout("2h27m"));
    }
}
