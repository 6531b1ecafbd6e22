//! `over = { … }` of a rule.

use std::time::Duration;

use lb_common::api;
use lb_common::layout::limit::{MOST_ROOM, TIME_SHIFT};
use toml::Spanned;
use toml::de::DeValue;

use crate::model::config::Word;
use crate::model::config::problem::Fault;
use crate::model::config::reader::{Located, Table};
use crate::model::config::setting::{Literal, quote};
use crate::model::config::value::{Parsed, choice, integer, string};
use crate::model::firewall::{Counted, Over, OverRate, Per, Rate, Unit};

const PREFIX_V4: u32 = 32;
const PREFIX_V6: u32 = 64;
/// Most a second that are told apart: a limit beyond is none.
const MOST: u32 = 10_000_000;
/// The same for each source.
const MOST_PER_SOURCE: u32 = 1_000_000;
/// Most flows that a source may have open: more than any table holds.
const MOST_FLOWS: u32 = 16_777_216;
const EXAMPLE: &str = "\"2000/s\"";

/// Whose tokens they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Source,
}

impl Word for Whose {
    const ALL: &'static [Self] = &[Self::Source];

    fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
        }
    }
}

impl Word for Counted {
    const ALL: &'static [Self] = &[Self::Packets, Self::NewFlows];

    fn word(self) -> &'static str {
        match self {
            Self::Packets => "packets",
            Self::NewFlows => "new_flows",
        }
    }
}

impl Word for Unit {
    const ALL: &'static [Self] = &[Self::Second, Self::Minute, Self::Hour];

    fn word(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "m",
            Self::Hour => "h",
        }
    }
}

/// Reads the table of a rule.
pub(super) fn over<'r>(rule: &Table<'r>, value: &'r Spanned<DeValue<'r>>) -> Option<Over> {
    let mut table = rule.of("over = { … }", value)?;
    match table.optional("flows", integer(1..=MOST_FLOWS))? {
        Some(most) => over_flows(table, most.value),
        None => over_rate(table).map(Over::Rate),
    }
}

/// So many flows that a source has open.
fn over_flows(mut table: Table<'_>, most: u32) -> Option<Over> {
    for key in ["rate", "burst", "count"] {
        if let Some(value) = table.raw(key) {
            let message = format!("`flows` counts what is open, and `{key}` what comes in a time");
            let fault = Fault::new(message, format!("remove `{key}`, or `flows`"));
            table.report.add(fault.at(&value.span()));
        }
    }
    let whose = table.required("per", "\"source\"", choice::<Whose>(&[]));
    let prefixes = prefixes(&mut table);
    table.finish(&[]);
    let (_, (v4, v6)) = (whose?, prefixes?);
    Some(Over::Flows { most, per: per_source(v4, v6) })
}

/// So many in a time.
fn over_rate(mut table: Table<'_>) -> Option<OverRate> {
    let rate = table.required("rate", EXAMPLE, rate);
    let burst = table.optional("burst", integer(1..=MOST));
    let count = table.or("count", Counted::Packets, choice(&[]));
    let per = per(&mut table);
    let (report, span) = (table.report, table.span.clone());
    table.finish(&[]);
    let (rate, per) = (rate?.value, per?);
    // What comes in a tenth of the time may come at once.
    let burst = burst?.map_or((rate.amount / 10).max(1), |burst| burst.value);
    let over = OverRate { rate, burst, count: count?.value, per };
    match check(&over) {
        Ok(()) => Some(over),
        Err(fault) => {
            report.add(fault.at(&span));
            None
        }
    }
}

/// The prefixes of sources; the outer `None`: something is wrong.
#[expect(clippy::option_option, reason = "wrong, missing and present are three things")]
fn per(table: &mut Table<'_>) -> Option<Option<Per>> {
    let whose = table.optional("per", choice::<Whose>(&[]));
    let prefixes = prefixes(table);
    let (whose, (v4, v6)) = (whose?, prefixes?);
    if whose.is_none() {
        for prefix in [&v4, &v6].into_iter().flatten() {
            let help = "add `per = \"source\"`, or remove it";
            let fault = Fault::new("without `per` no sources are told apart", help);
            table.report.add(fault.at(&prefix.span));
        }
    }
    Some(whose.map(|_| per_source(v4, v6)))
}

/// What is said of IPv4, and of IPv6.
type Prefixes = (Option<Located<u32>>, Option<Located<u32>>);

fn prefixes(table: &mut Table<'_>) -> Option<Prefixes> {
    let v4 = table.optional("prefix_v4", integer(1..=32));
    let v6 = table.optional("prefix_v6", integer(1..=128));
    Some((v4?, v6?))
}

fn per_source(v4: Option<Located<u32>>, v6: Option<Located<u32>>) -> Per {
    let bits = |prefix: u32| u8::try_from(prefix).unwrap_or(u8::MAX);
    Per {
        prefix_v4: bits(v4.map_or(PREFIX_V4, |prefix| prefix.value)),
        prefix_v6: bits(v6.map_or(PREFIX_V6, |prefix| prefix.value)),
    }
}

/// `2000/s`
fn rate(value: &DeValue<'_>) -> Parsed<Rate> {
    let text = string(value, EXAMPLE)?;
    let parsed = text.split_once('/').and_then(|(amount, unit)| {
        let unit = Unit::ALL.iter().find(|known| known.word() == unit)?;
        let are_digits = amount.bytes().all(|byte| byte.is_ascii_digit());
        let amount = amount.parse().ok().filter(|amount| are_digits && *amount > 0)?;
        Some(Rate { amount, unit: *unit })
    });
    parsed.ok_or_else(|| {
        let help = "write how many in a second, a minute or an hour: \"2000/s\", \"10/m\", \"5/h\"";
        Fault::new(format!("{text:?} is not a rate"), help)
    })
}

/// Whether the packet path can count it.
fn check(over: &OverRate) -> Result<(), Fault> {
    let seconds = u32::try_from(over.rate.unit.duration().as_secs()).unwrap_or(u32::MAX);
    let most = if over.per.is_some() { MOST_PER_SOURCE } else { MOST };
    if over.rate.amount / seconds > most {
        let message = format!("a limit of more than {most} a second is none");
        return Err(Fault::new(message, "write a lower `rate`"));
    }
    let longest = Duration::from_nanos(MOST_ROOM << TIME_SHIFT);
    if over.room() > longest {
        let minutes = longest.as_secs() / 60;
        let message = format!("`burst` is more than what `rate` gives in {minutes} minutes");
        return Err(Fault::new(message, "write a lower `burst` or a higher `rate`"));
    }
    Ok(())
}

/// As it is written.
pub(super) fn to_text(over: Over) -> api::Over {
    match over {
        Over::Rate(OverRate { rate: Rate { amount, unit }, burst, count, per }) => api::Over {
            rate: Some(format!("{amount}/{}", unit.word())),
            burst: Some(burst),
            count: Some(count.word().to_owned()),
            ..per.map_or_else(api::Over::default, per_to_text)
        },
        Over::Flows { most, per } => api::Over { flows: Some(most), ..per_to_text(per) },
    }
}

fn per_to_text(per: Per) -> api::Over {
    api::Over {
        per: Some(Whose::Source.word().to_owned()),
        prefix_v4: Some(per.prefix_v4.into()),
        prefix_v6: Some(per.prefix_v6.into()),
        ..api::Over::default()
    }
}

/// The same as a table of the file.
pub(super) fn literal(over: &api::Over) -> Literal {
    let api::Over { rate, burst, count, flows, per, prefix_v4, prefix_v6 } = over;
    let text = |value: &String| quote(value);
    let keys = [
        ("rate", rate.as_ref().map(text)),
        ("burst", burst.map(|burst| burst.to_string())),
        ("count", count.as_ref().map(text)),
        ("flows", flows.map(|flows| flows.to_string())),
        ("per", per.as_ref().map(text)),
        ("prefix_v4", prefix_v4.map(|prefix| prefix.to_string())),
        ("prefix_v6", prefix_v6.map(|prefix| prefix.to_string())),
    ];
    let keys = keys.into_iter().filter_map(|(key, value)| Some(format!("{key} = {}", value?)));
    Literal::Bare(format!("{{ {} }}", keys.collect::<Vec<_>>().join(", ")))
}
