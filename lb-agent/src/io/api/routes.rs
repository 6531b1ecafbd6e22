//! The table of routes; see `lb_common::api` for what each one means.

use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, Uri};
use axum::routing::{get, post};
use hyper::StatusCode;
use lb_common::api::{
    Applied, BackendChange, Check, ConfigDiff, ConfigReport, ConfigText, FlowList, HealthChange,
    Release, RouterChange, Service, Status, SyncStatus, TargetHealth, VerdictCount, VrrpStatus,
};
use lb_common::config_file;
use serde::Deserialize;

use super::wire::{Answer, Body, Params};
use crate::io::message::{Call, Core, Failure, Fate, FlowFilter, Mode};
use crate::model::agent::Session;
use crate::model::overlay::change::Change;

/// Most flows that one answer lists.
const MAX_FLOWS_LISTED: usize = 100_000;
/// Flows that an answer lists unless told.
const FLOWS_LISTED: usize = 100;

/// A configuration as a JSON string: line ends and quotes take two bytes.
const LONGEST_BODY: usize = 2 * config_file::LONGEST + (64 << 10);

/// All routes, in front of the core loop.
pub fn router(core: Core) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/services", get(services))
        .route("/v1/health", get(health))
        .route("/v1/health/history", get(history))
        .route("/v1/flows", get(flows))
        .route("/v1/drops", get(drops))
        .route("/v1/sync", get(sync))
        .route("/v1/doctor", get(doctor))
        .route("/v1/config", get(config))
        .route("/v1/config/diff", get(diff))
        .route("/v1/config/check", post(check))
        .route("/v1/config/apply", post(apply))
        .route("/v1/config/confirm", post(confirm))
        .route("/v1/reload", post(reload))
        .route("/v1/backends", post(change))
        .merge(firewall::routes())
        .route("/v1/vrrp", get(vrrp))
        .route("/v1/vrrp/history", get(vrrp_history))
        .route("/v1/vrrp/release", post(release))
        .merge(trace::routes())
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .with_state(core)
}

async fn status(State(core): State<Core>) -> Answer<Status> {
    core.ask(Call::Status).await.into()
}

async fn services(State(core): State<Core>) -> Answer<Vec<Service>> {
    core.ask(Call::Services).await.into()
}

async fn health(State(core): State<Core>) -> Answer<Vec<TargetHealth>> {
    core.ask(Call::Health).await.into()
}

async fn history(State(core): State<Core>) -> Answer<Vec<HealthChange>> {
    core.ask(Call::History).await.into()
}

async fn drops(State(core): State<Core>) -> Answer<Vec<VerdictCount>> {
    core.ask(Call::Drops).await.into()
}

async fn sync(State(core): State<Core>) -> Answer<SyncStatus> {
    core.ask(Call::Sync).await.into()
}

async fn doctor(State(core): State<Core>) -> Answer<Vec<Check>> {
    core.ask(Call::Doctor).await.into()
}

async fn config(State(core): State<Core>) -> Answer<ConfigText> {
    core.ask(Call::Config).await.into()
}

async fn diff(State(core): State<Core>) -> Answer<ConfigDiff> {
    core.ask(Call::Diff).await.into()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckParams {
    session: Option<Session>,
}

async fn check(
    State(core): State<Core>,
    Params(CheckParams { session }): Params<CheckParams>,
    Body(text): Body<ConfigText>,
) -> Answer<ConfigReport> {
    core.ask(|reply| Call::Check(text, session, reply)).await.into()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FlowParams {
    limit: Option<usize>,
    service: Option<String>,
    backend: Option<String>,
}

async fn flows(State(core): State<Core>, Params(params): Params<FlowParams>) -> Answer<FlowList> {
    let limit = params.limit.unwrap_or(FLOWS_LISTED).min(MAX_FLOWS_LISTED);
    let filter = FlowFilter { limit, service: params.service, backend: params.backend };
    core.ask(|reply| Call::Flows(filter, reply)).await.into()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeParams {
    #[serde(default)]
    dry_run: bool,
    /// What `SSH_CONNECTION` says where the one who asks sits.
    session: Option<Session>,
}

impl From<ChangeParams> for Mode {
    fn from(ChangeParams { dry_run, session }: ChangeParams) -> Self {
        Self { dry_run, session, ..Self::default() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApplyParams {
    #[serde(default)]
    dry_run: bool,
    session: Option<Session>,
    confirm_seconds: Option<u32>,
}

async fn apply(
    State(core): State<Core>,
    Params(params): Params<ApplyParams>,
    Body(text): Body<ConfigText>,
) -> Answer<Applied> {
    let ApplyParams { dry_run, session, confirm_seconds } = params;
    let confirm_within = confirm_seconds.map(|seconds| Duration::from_secs(seconds.into()));
    let mode = Mode { dry_run, session, confirm_within, ..Mode::default() };
    core.ask(|reply| Call::Apply(text, mode, reply)).await.into()
}

async fn confirm(State(core): State<Core>) -> Answer<()> {
    core.ask(Call::Confirm).await.into()
}

async fn change(
    State(core): State<Core>,
    Params(params): Params<ChangeParams>,
    Body(change): Body<BackendChange>,
) -> Answer<Applied> {
    core.ask(|reply| Call::Change(Change::Backend(change), params.into(), reply)).await.into()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReloadParams {
    #[serde(default)]
    discard: bool,
    #[serde(default)]
    save: bool,
    #[serde(default)]
    dry_run: bool,
    session: Option<Session>,
}

impl ReloadParams {
    fn fate(&self) -> Result<Fate, Failure> {
        match (self.discard, self.save) {
            (false, false) => Ok(Fate::Keep),
            (true, false) => Ok(Fate::Discard),
            (false, true) => Ok(Fate::Save),
            (true, true) => {
                let error = "the changes made at run time cannot be both discarded and saved";
                Err(Failure::new(StatusCode::BAD_REQUEST, error).with_help("give one of the two"))
            }
        }
    }
}

async fn reload(State(core): State<Core>, Params(params): Params<ReloadParams>) -> Answer<Applied> {
    let overlay = match params.fate() {
        Ok(overlay) => overlay,
        Err(failure) => return Err(failure).into(),
    };
    let ReloadParams { dry_run, session, .. } = params;
    let mode = Mode { dry_run, overlay, session, confirm_within: None };
    core.ask(|reply| Call::Reload(mode, reply)).await.into()
}

async fn vrrp(State(core): State<Core>) -> Answer<VrrpStatus> {
    core.ask(Call::Vrrp).await.into()
}

async fn vrrp_history(State(core): State<Core>) -> Answer<Vec<RouterChange>> {
    core.ask(Call::VrrpHistory).await.into()
}

async fn release(State(core): State<Core>, Body(release): Body<Release>) -> Answer<VrrpStatus> {
    core.ask(|reply| Call::Release(release, reply)).await.into()
}

async fn no_route(method: Method, uri: Uri) -> Failure {
    Failure::new(StatusCode::NOT_FOUND, format!("no route {method} {}", uri.path()))
        .with_help("lb-ctl and lb-agent may be of different versions: compare `lb-ctl version`")
}

async fn no_method(method: Method, uri: Uri) -> Failure {
    let error = format!("{} does not answer {method}", uri.path());
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, error)
}

mod firewall;
#[cfg(test)]
mod tests;
mod trace;
