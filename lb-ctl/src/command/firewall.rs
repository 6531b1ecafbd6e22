//! `lb-ctl firewall …` and `lb-ctl set …`

use std::io::{self, Read};
use std::path::Path;

use lb_common::api::{Applied, Firewall, Rule, RuleChange, Set, SetAction, SetChange, SetElements};

use super::{Answer, Context, dry_run};
use crate::args::Change;
use crate::args::firewall::{ChangeElements, FirewallVerb, RuleVerb, SetVerb};
use crate::client::path;
use crate::error::Error;
use crate::render::firewall as show;

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
    let text =
        read(file).map_err(|source| Error::Read { name: file.display().to_string(), source })?;
    let path = path("/v1/sets/load", &[("set", Some(set)), dry_run(change), context.session()]);
    context.applied(&context.client.send_text::<Applied>(&path, text).await?)
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    if file != Path::new("-") {
        return std::fs::read(file);
    }
    let mut text = Vec::new();
    io::stdin().lock().read_to_end(&mut text)?;
    Ok(text)
}
