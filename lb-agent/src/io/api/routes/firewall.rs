//! Rules and sets.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::{get, post};
use lb_common::api::{Applied, Firewall, RuleChange, Set, SetChange, SetElements};
use serde::Deserialize;

use super::{Answer, Body, ChangeParams, Params};
use crate::io::message::{Call, Core, Failure, Mode};
use crate::model::agent::Session;
use crate::model::firewall::{LONGEST_SET, parse_set};
use crate::model::overlay::change::Change;

/// Elements that an answer lists unless told.
const LISTED: usize = 100;

pub(super) fn routes() -> Router<Core> {
    let load = post(load).layer(DefaultBodyLimit::max(LONGEST_SET));
    Router::new()
        .route("/v1/firewall", get(firewall))
        .route("/v1/firewall/rules", post(change_rule))
        .route("/v1/sets", get(sets).post(change_set))
        .route("/v1/sets/elements", get(elements))
        .route("/v1/sets/load", load)
}

async fn firewall(State(core): State<Core>) -> Answer<Firewall> {
    core.ask(Call::Firewall).await.into()
}

async fn sets(State(core): State<Core>) -> Answer<Vec<Set>> {
    core.ask(Call::Sets).await.into()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ElementParams {
    set: String,
    limit: Option<usize>,
}

async fn elements(
    State(core): State<Core>,
    Params(params): Params<ElementParams>,
) -> Answer<SetElements> {
    let ElementParams { set, limit } = params;
    core.ask(|reply| Call::SetElements(set, limit.unwrap_or(LISTED), reply)).await.into()
}

async fn change_rule(
    State(core): State<Core>,
    Params(params): Params<ChangeParams>,
    Body(change): Body<RuleChange>,
) -> Answer<Applied> {
    core.ask(|reply| Call::Change(Change::Rule(change), params.into(), reply)).await.into()
}

async fn change_set(
    State(core): State<Core>,
    Params(params): Params<ChangeParams>,
    Body(change): Body<SetChange>,
) -> Answer<Applied> {
    core.ask(|reply| Call::Change(Change::Elements(change), params.into(), reply)).await.into()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoadParams {
    set: String,
    #[serde(default)]
    dry_run: bool,
    session: Option<Session>,
}

/// A million lines are parsed beside the loop and beside the other requests.
async fn load(
    State(core): State<Core>,
    Params(LoadParams { set, dry_run, session }): Params<LoadParams>,
    text: Bytes,
) -> Answer<Applied> {
    let parsed = tokio::task::spawn_blocking(move || parse_set(&text)).await;
    let elements = match parsed.map_err(Failure::internal) {
        Ok(Ok(elements)) => elements,
        Ok(Err(bad)) => return Err(Failure::invalid(bad)).into(),
        Err(failure) => return Err(failure).into(),
    };
    let mode = Mode { dry_run, session, ..Mode::default() };
    let change = Change::Contents { set, elements };
    core.ask(|reply| Call::Change(change, mode, reply)).await.into()
}
