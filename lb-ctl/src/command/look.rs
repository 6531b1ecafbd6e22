//! Commands that only look: `service`, `health`, `conn`, `sync`.

use lb_common::api::{FlowList, HealthChange, SyncStatus, TargetHealth};

use super::find;
use super::{Answer, Context};
use crate::args::look::{ConnVerb, Filter, FlowFilter, HealthVerb, History, ServiceVerb};
use crate::client::path;
use crate::error::Error;
use crate::render::{
    backend, flow, health as probes, service as services_text, sync as replication,
};

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

pub(super) async fn sync(context: &Context) -> Result<Answer, Error> {
    let status: SyncStatus = context.client.get("/v1/sync").await?;
    context.answer(&status, |look| replication::page(&status, look))
}
