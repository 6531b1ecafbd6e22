//! Commands that only look: `service`, `health`, `conn`, `drops`.

use lb_common::api::{FlowList, HealthChange, TargetHealth, VerdictCount};
use lb_common::verdict::Kind;

use super::find;
use super::{Answer, Context};
use crate::args::look::{
    By, ConnVerb, Drops, Filter, FlowFilter, HealthVerb, History, ServiceVerb,
};
use crate::client::path;
use crate::error::Error;
use crate::render::{backend, flow, health as probes, service as services_text};

pub(super) async fn service(verb: ServiceVerb, context: &Context) -> Result<Answer, Error> {
    let services = find::services(context).await?;
    match verb {
        ServiceVerb::List => context.answer(&services, |look| services_text::list(&services, look)),
        ServiceVerb::Show { service } => {
            let service = find::service(&services, &service)?;
            context.answer(service, |look| services_text::page(service, look))
        }
        ServiceVerb::Stats { service: None } => {
            context.answer(&services, |look| services_text::stats(&services, look))
        }
        ServiceVerb::Stats { service: Some(name) } => {
            let service = find::service(&services, &name)?;
            context.answer(service, |look| services_text::stats_of(service, look))
        }
    }
}

pub(super) async fn health(verb: HealthVerb, context: &Context) -> Result<Answer, Error> {
    match verb {
        HealthVerb::List(filter) => targets(&filter, context).await,
        HealthVerb::Show(which) => {
            let filter = Filter { service: Some(which.service), backend: Some(which.backend) };
            targets(&filter, context).await
        }
        HealthVerb::History(history) => changes(&history, context).await,
    }
}

async fn targets(filter: &Filter, context: &Context) -> Result<Answer, Error> {
    find::check(&find::services(context).await?, filter)?;
    let mut targets: Vec<TargetHealth> = context.client.get("/v1/health").await?;
    targets.retain(|target| find::names_match(filter, &target.service, &target.backend));
    context.answer(&targets, |look| probes::list(&targets, look))
}

/// Names are not checked: the history may tell of backends that are gone.
async fn changes(history: &History, context: &Context) -> Result<Answer, Error> {
    let mut changes: Vec<HealthChange> = context.client.get("/v1/health/history").await?;
    changes.retain(|change| find::names_match(&history.filter, &change.service, &change.backend));
    let older = changes.len().saturating_sub(history.limit.unwrap_or(usize::MAX));
    let latest = changes.split_off(older);
    context.answer(&latest, |look| probes::history(&latest, look))
}

pub(super) async fn conn(verb: ConnVerb, context: &Context) -> Result<Answer, Error> {
    match verb {
        ConnVerb::List(filter) => flows(&filter, context).await,
        ConnVerb::Count(filter) => {
            let services = find::services(context).await?;
            find::check(&services, &filter)?;
            let rows = backend::rows(&services);
            let rows = rows.iter().filter(|row| find::matches(&filter, row));
            let counts: Vec<_> = rows.map(flow::FlowCount::new).collect();
            context.answer(&counts, |look| flow::counts(&counts, look))
        }
    }
}

async fn flows(wanted: &FlowFilter, context: &Context) -> Result<Answer, Error> {
    let Filter { service, backend } = &wanted.filter;
    let limit = wanted.limit.to_string();
    let parameters = [
        ("limit", Some(limit.as_str())),
        ("service", service.as_deref()),
        ("backend", backend.as_deref()),
    ];
    let list: FlowList = context.client.get(&path("/v1/flows", &parameters)).await?;
    if list.total == 0 {
        find::check(&find::services(context).await?, &wanted.filter)?;
    }
    let mut answer = context.answer(&list, |look| flow::list(&list.flows, look))?;
    let listed = u64::try_from(list.flows.len()).unwrap_or(u64::MAX);
    if context.for_a_person() && listed < list.total {
        answer.remarks.push(format!("{listed} of {} flows listed; --limit lists more", list.total));
    }
    Ok(answer)
}

pub(super) async fn drops(wanted: &Drops, context: &Context) -> Result<Answer, Error> {
    match wanted.by {
        By::Reason => drops_by_reason(wanted, context).await,
        By::Service => {
            let services = find::services(context).await?;
            let mut rows: Vec<_> = services.iter().map(flow::ServiceDrops::new).collect();
            rows.retain(|row| wanted.all || row.packets > 0);
            rows.sort_by_key(|row| std::cmp::Reverse(row.packets));
            context.answer(&rows, |look| flow::by_service(&rows, look))
        }
    }
}

async fn drops_by_reason(wanted: &Drops, context: &Context) -> Result<Answer, Error> {
    let mut counts: Vec<VerdictCount> = context.client.get("/v1/drops").await?;
    if !wanted.all {
        counts.retain(|count| count.kind == Kind::Dropped.name());
    }
    context.answer(&counts, |look| {
        let mut shown = counts.clone();
        if !wanted.all {
            shown.retain(|count| count.packets > 0);
            shown.sort_by_key(|count| std::cmp::Reverse(count.packets));
        }
        flow::verdicts(&shown, look)
    })
}
