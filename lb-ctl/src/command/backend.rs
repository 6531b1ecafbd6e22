//! `lb-ctl backend …`

use lb_common::api::{Applied, BackendAction, BackendChange, BackendState};

use super::{Answer, Context, dry_run, find, wait};
use crate::args::Change;
use crate::args::backend::{Add, BackendVerb, Drain, Set, Switch, Which};
use crate::client::path;
use crate::error::Error;
use crate::render::backend::{Row, list, page, rows};

pub(super) async fn backend(verb: BackendVerb, context: &Context) -> Result<Answer, Error> {
    match verb {
        BackendVerb::List { service } => show_all(service, context).await,
        BackendVerb::Show(which) => show(&which, context).await,
        BackendVerb::Add(add) => add_one(add, context).await,
        BackendVerb::Set(set) => {
            let Set { which, address, weight, backup, state, change } = set;
            let address = if address.is_empty() { None } else { Some(address) };
            let state = state.map(BackendState::from);
            let action = BackendAction::Set { address, weight, backup, state };
            context.applied(&change_one(which, action, change, context).await?)
        }
        BackendVerb::Delete(Switch { which, change }) => {
            context.applied(&change_one(which, BackendAction::Delete, change, context).await?)
        }
        BackendVerb::Ready(switch) => turn(switch, BackendState::Ready, context).await,
        BackendVerb::Maint(switch) => turn(switch, BackendState::Maint, context).await,
        BackendVerb::Drain(drain) => drain_one(drain, context).await,
        BackendVerb::Weight(weight) => {
            let action = BackendAction::Set {
                address: None,
                weight: Some(weight.value),
                backup: None,
                state: None,
            };
            context.applied(&change_one(weight.which, action, weight.change, context).await?)
        }
    }
}

async fn show_all(service: Option<String>, context: &Context) -> Result<Answer, Error> {
    let mut services = find::services(context).await?;
    if let Some(name) = service {
        services = vec![find::service(&services, &name)?.clone()];
    }
    let rows = rows(&services);
    context.answer(&rows, |look| list(&rows, look))
}

async fn show(which: &Which, context: &Context) -> Result<Answer, Error> {
    let services = find::services(context).await?;
    let service = find::service(&services, &which.service)?;
    let backend = find::backend(service, &which.backend)?;
    let row = Row { service: &service.name, backend };
    context.answer(&row, |_look| page(&row))
}

async fn add_one(add: Add, context: &Context) -> Result<Answer, Error> {
    let Add { which, address, weight, backup, change } = add;
    let action = BackendAction::Add { address, weight, backup };
    context.applied(&change_one(which, action, change, context).await?)
}

async fn turn(switch: Switch, state: BackendState, context: &Context) -> Result<Answer, Error> {
    let applied = set_state(switch.which, state, switch.change, context).await?;
    context.applied(&applied)
}

async fn drain_one(drain: Drain, context: &Context) -> Result<Answer, Error> {
    let Drain { which, wait, timeout, change } = drain;
    let applied = set_state(which.clone(), BackendState::Drain, change, context).await?;
    if wait {
        wait::until_empty(&which, timeout, wait::PERIOD, context).await?;
    }
    context.applied(&applied)
}

async fn set_state(
    which: Which,
    state: BackendState,
    change: Change,
    context: &Context,
) -> Result<Applied, Error> {
    let action =
        BackendAction::Set { address: None, weight: None, backup: None, state: Some(state) };
    change_one(which, action, change, context).await
}

async fn change_one(
    which: Which,
    action: BackendAction,
    change: Change,
    context: &Context,
) -> Result<Applied, Error> {
    let Which { service, backend } = which;
    let body = BackendChange { service, backend, action };
    context.client.send(&path("/v1/backends", &[dry_run(change)]), &body).await
}
