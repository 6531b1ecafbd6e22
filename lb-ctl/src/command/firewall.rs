//! `lb-ctl firewall …` and `lb-ctl set …`

use std::io::{self, Read, Write};
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use lb_common::api::{Applied, Firewall, Rule, RuleChange, Set, SetAction, SetChange, SetElements};
use tokio::time::interval;

use super::{Answer, Context, dry_run};
use crate::args::Change;
use crate::args::firewall::{ChangeElements, FirewallVerb, RuleVerb, SetVerb};
use crate::client::{Sent, path};
use crate::error::Error;
use crate::render::firewall as show;
use crate::render::units::bytes;

/// From one look at the progress of a load to the next.
const PERIOD: Duration = Duration::from_millis(200);

pub(super) async fn firewall(verb: FirewallVerb, context: &Context) -> Result<Answer, Error> {
    match verb {
        FirewallVerb::Rule(RuleVerb::List) => {
            let firewall: Firewall = context.client.get("/v1/firewall").await?;
            context.answer(&firewall, |look| show::rules(&firewall, look))
        }
        FirewallVerb::Rule(RuleVerb::Add(add)) => {
            let change =
                RuleChange::Add { rule: Box::new(Rule::from(&*add)), before: add.before.clone() };
            change_rule(&change, add.change, context).await
        }
        FirewallVerb::Rule(RuleVerb::Delete { name, change }) => {
            change_rule(&RuleChange::Delete { name }, change, context).await
        }
        FirewallVerb::Counters => {
            let firewall: Firewall = context.client.get("/v1/firewall").await?;
            context.answer(&firewall, |look| show::counters(&firewall, look))
        }
        FirewallVerb::Set(verb) => set(verb, context).await,
    }
}

async fn change_rule(
    rule: &RuleChange,
    change: Change,
    context: &Context,
) -> Result<Answer, Error> {
    let path = path("/v1/firewall/rules", &[dry_run(change), context.session()]);
    context.applied(&context.client.send::<Applied>(&path, rule).await?)
}

pub(super) async fn set(verb: SetVerb, context: &Context) -> Result<Answer, Error> {
    match verb {
        SetVerb::List => {
            let sets: Vec<Set> = context.client.get("/v1/sets").await?;
            context.answer(&sets, |look| show::sets(&sets, look))
        }
        SetVerb::Show { set, limit } => elements(&set, limit, context).await,
        SetVerb::Add(elements) => change_set(SetAction::Add, elements, context).await,
        SetVerb::Delete(elements) => change_set(SetAction::Delete, elements, context).await,
        SetVerb::Load { set, file, change } => load(&set, &file, change, context).await,
    }
}

async fn elements(set: &str, limit: usize, context: &Context) -> Result<Answer, Error> {
    let limit = limit.to_string();
    let path = path("/v1/sets/elements", &[("set", Some(set)), ("limit", Some(&limit))]);
    let list: SetElements = context.client.get(&path).await?;
    let mut answer = context.answer(&list, |_look| show::elements(&list))?;
    if context.for_a_person() && list.elements.len() < list.total {
        let (listed, total) = (list.elements.len(), list.total);
        answer.remarks.push(format!("{listed} of {total} elements listed; --limit lists more"));
    }
    Ok(answer)
}

async fn change_set(
    action: SetAction,
    elements: ChangeElements,
    context: &Context,
) -> Result<Answer, Error> {
    let ChangeElements { set, elements, change } = elements;
    let path = path("/v1/sets", &[dry_run(change), context.session()]);
    let change = SetChange { set, action, elements };
    context.applied(&context.client.send::<Applied>(&path, &change).await?)
}

async fn load(set: &str, file: &Path, change: Change, context: &Context) -> Result<Answer, Error> {
    let lines =
        read(file).map_err(|source| Error::Read { name: file.display().to_string(), source })?;
    let path = path("/v1/sets/load", &[("set", Some(set)), dry_run(change), context.session()]);
    let (total, sending) = (lines.len(), Sent::default());
    let loaded = context.client.send_text::<Applied>(&path, lines, sending.clone());
    context.applied(&shown(loaded, set, total, &sending, context).await?)
}

/// Shows how far a set has come, where a person watches.
async fn shown<T>(
    work: impl Future<Output = Result<T, Error>>,
    set: &str,
    total: usize,
    sending: &Sent,
    context: &Context,
) -> Result<T, Error> {
    let mut work = pin!(work);
    let (mut ticks, mut waited) = (interval(PERIOD), Duration::ZERO);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            _ = ticks.tick(), if context.progress => {
                let (line, seconds) = (progress(sending.bytes(), total), waited.as_secs_f32());
                drop(write!(io::stderr(), "\rloading {set}: {line}, {seconds:.1} s\u{1b}[K"));
                waited += PERIOD;
            }
        }
    };
    if context.progress {
        drop(writeln!(io::stderr()));
    }
    done
}

/// The agent answers when packets meet the new elements.
fn progress(sent: usize, total: usize) -> String {
    if sent < total {
        format!(
            "{} % of {} sent",
            sent * 100 / total,
            bytes(u64::try_from(total).unwrap_or(u64::MAX))
        )
    } else {
        "all sent, being put into force".to_owned()
    }
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    if file != Path::new("-") {
        return std::fs::read(file);
    }
    let mut text = Vec::new();
    io::stdin().lock().read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_shown_in_parts_until_all_is_sent() {
        assert_eq!(progress(512 << 10, 2 << 20), "25 % of 2.0 MiB sent");
        assert_eq!(progress(2 << 20, 2 << 20), "all sent, being put into force");
        assert_eq!(progress(0, 0), "all sent, being put into force");
    }
}
