//! `[health_check.NAME]` and `health_check = { … }` of a service.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use super::duration::{duration, encode_duration};
use super::problem::Fault;
use super::reader::{Located, Table};
use super::value::{Parsed, choice, integer, percent, string, type_name};
use super::word::Kind;

const MILLISECOND: Duration = Duration::from_millis(1);
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
const LONGEST_INTERVAL: Duration = Duration::from_hours(24);
const INTERVAL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(1);
const JITTER: f64 = 0.1;
const RISE: u32 = 2;
const FALL: u32 = 3;
const MOST_IN_A_ROW: u32 = 1_000;
const PATH: &str = "/";
const EXPECT_STATUS: RangeInclusive<u16> = 200..=299;
const LATER_KINDS: &[&str] = &["https", "dns", "grpc", "postgresql", "mysql", "redis", "exec"];

/// `[health_check.NAME]` or an inline table.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// Its name; `None` for an inline table.
    pub name: Option<String>,
    /// What a probe does.
    pub kind: CheckKind,
    /// From the start of one probe to the start of the next.
    pub interval: Duration,
    /// After which a probe has failed; at most the interval.
    pub timeout: Duration,
    /// Share of the interval by which it is varied, 0.0 to 0.5.
    pub jitter: f64,
    /// Successes in a row that make a backend that was down healthy.
    pub rise: u32,
    /// Failures in a row that make a healthy backend down.
    pub fall: u32,
}

/// What a probe does.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckKind {
    /// Opens a connection.
    Tcp,
    /// Sends `GET path` over HTTP/1.1.
    Http {
        /// The request target.
        path: String,
        /// The `Host` header; `None`: the address.
        host: Option<String>,
        /// Status codes that count as healthy.
        expect_status: Vec<RangeInclusive<u16>>,
    },
}

/// Reads a health check.
pub(super) fn health_check(mut table: Table<'_>, name: Option<String>) -> Option<HealthCheck> {
    let kind = table.required("type", "\"tcp\"", choice(LATER_KINDS));
    let interval = table.or("interval", INTERVAL, duration(SHORTEST_INTERVAL..=LONGEST_INTERVAL));
    // An interval below the usual timeout shortens that too.
    let usual = interval.as_ref().map_or(TIMEOUT, |interval| interval.value.min(TIMEOUT));
    let timeout = table.or("timeout", usual, duration(MILLISECOND..=LONGEST_INTERVAL));
    if let (Some(interval), Some(timeout)) = (&interval, &timeout) {
        fits(&table, interval, timeout);
    }
    let jitter = table.or("jitter", JITTER, percent(50));
    let rise = table.or("rise", RISE, integer(1..=MOST_IN_A_ROW));
    let fall = table.or("fall", FALL, integer(1..=MOST_IN_A_ROW));
    let kind = check_kind(&mut table, kind.map(|kind| kind.value));
    table.finish(&[]);
    Some(HealthCheck {
        name,
        kind: kind?,
        interval: interval?.value,
        timeout: timeout?.value,
        jitter: jitter?.value,
        rise: rise?.value,
        fall: fall?.value,
    })
}

fn fits(table: &Table<'_>, interval: &Located<Duration>, timeout: &Located<Duration>) {
    if timeout.value > interval.value {
        let longest = encode_duration(interval.value);
        let message = format!("the timeout is longer than the interval of {longest}");
        let help = format!("give a timeout of at most \"{longest}\", or a longer interval");
        table.report.add(Fault::new(message, help).at(&timeout.span));
    }
}

/// What depends on the type. If that has a problem, the keys of the richest type are checked.
fn check_kind(table: &mut Table<'_>, kind: Option<Kind>) -> Option<CheckKind> {
    if matches!(kind, Some(Kind::Tcp)) {
        for key in ["path", "host", "expect_status"] {
            only_http(table, key);
        }
        return Some(CheckKind::Tcp);
    }
    let path = table.or("path", PATH.to_owned(), request_target);
    let host = table.optional("host", host_header);
    let expect_status = table.list("expect_status", "[\"200-299\"]", status).map_or_else(
        || vec![EXPECT_STATUS],
        |list| list.items.into_iter().map(|status| status.value).collect(),
    );
    kind?;
    Some(CheckKind::Http { path: path?.value, host: host?.map(|host| host.value), expect_status })
}

fn only_http(table: &mut Table<'_>, key: &'static str) {
    if let Some(value) = table.raw(key) {
        let message = format!("`{key}` has no meaning for a check of type \"tcp\"");
        let help = format!("remove `{key}`, or write `type = \"http\"`");
        table.report.add(Fault::new(message, help).at(&value.span()));
    }
}

/// RFC 9112, 3.2.1: a path and perhaps a query, of visible ASCII.
fn request_target(value: &DeValue<'_>) -> Parsed<String> {
    let text = string(value, "\"/healthz\"")?;
    if !text.starts_with('/') {
        return Err(Fault::new(format!("the path {text:?} does not start with '/'"), "add it"));
    }
    visible(text, "encode others with '%'")
}

/// RFC 9110, 7.2: a host and perhaps a port.
fn host_header(value: &DeValue<'_>) -> Parsed<String> {
    visible(string(value, "\"shop.example\"")?, "give a host name, as in \"shop.example\"")
}

/// Only visible characters, so that nothing can be smuggled into the request.
fn visible(text: &str, help: &str) -> Parsed<String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(format!("{text:?} is empty or contains more than visible ASCII"), help))
}

/// `200`, `"200"` or `"200-299"`.
fn status(value: &DeValue<'_>) -> Parsed<RangeInclusive<u16>> {
    let help = "give a status from 100 to 599 or a range of them, as in \"200-299\"";
    let text = match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => {
            let message = format!("expected an HTTP status, found {}", type_name(value));
            return Err(Fault::new(message, help));
        }
    };
    let (first, last) = text.split_once('-').unwrap_or((&text, &text));
    let code = |text: &str| text.parse().ok().filter(|code| (100_u16..=599).contains(code));
    match (code(first), code(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        (Some(_) | None, Some(_) | None) => {
            Err(Fault::new(format!("{text:?} is not an HTTP status"), help))
        }
    }
}
