//! `/metrics`, `/livez` and `/readyz` over HTTP.
//!
//! Nothing is counted for the sake of metrics: a scrape asks the core loop for a [`Snapshot`], which reads
//! the kernel's maps at that moment, and `text` renders it.

mod firewall;
mod replication;
#[cfg(test)]
mod tests;
mod text;
mod vrrp;

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::StatusCode;
use lb_common::api::{
    Firewall, FlowMove, Service, Set, SyncStatus, TargetHealth, VerdictCount, VrrpStatus,
};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

use super::message::{Call, Core};

/// How long the core loop may take to answer before it counts as stuck.
const LIVE_WITHIN: Duration = Duration::from_secs(1);

/// Everything that metrics tell, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Counters by verdict, all of them.
    pub verdicts: Vec<VerdictCount>,
    /// Services and backends with their counters.
    pub services: Vec<Service>,
    /// The firewall and its counters.
    pub firewall: Option<Firewall>,
    /// The sets of the firewall.
    pub sets: Vec<Set>,
    /// Health of all targets.
    pub health: Vec<TargetHealth>,
    /// Changes of health since the agent started.
    pub health_changes: u64,
    /// Flows in the flow table.
    pub flows: u64,
    /// Most flows that the table is made for.
    pub max_flows: u64,
    /// Virtual routers.
    pub vrrp: VrrpStatus,
    /// Whether flows are being moved to a table of another size.
    pub is_moving: bool,
    /// How far they have moved, where that is known.
    pub flow_move: Option<FlowMove>,
    /// Configurations taken and refused since the agent started.
    pub reloads: Reloads,
    /// How replication stands, if there is any.
    pub sync: Option<SyncStatus>,
}

/// How reloads went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reloads {
    /// Taken.
    pub succeeded: u64,
    /// Refused.
    pub failed: u64,
    /// Whether the last one was taken; the configuration at the start counts.
    pub last_succeeded: bool,
}

impl Default for Reloads {
    fn default() -> Self {
        Self { succeeded: 0, failed: 0, last_succeeded: true }
    }
}

impl Reloads {
    /// Counts one.
    pub fn count(&mut self, succeeded: bool) {
        if succeeded {
            self.succeeded += 1;
        } else {
            self.failed += 1;
        }
        self.last_succeeded = succeeded;
    }
}

/// Serves metrics until `stop` turns true or its sender is gone.
pub async fn serve(listener: TcpListener, core: Core, mut stop: watch::Receiver<bool>) {
    let stopped = async move {
        // An error means that the sender is gone, and so is the agent.
        drop(stop.wait_for(|stop| *stop).await);
    };
    if let Err(error) = axum::serve(listener, router(core)).with_graceful_shutdown(stopped).await {
        tracing::error!("serve metrics: {error}");
    }
}

/// The routes, in front of the core loop.
pub fn router(core: Core) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(core)
}

async fn metrics(State(core): State<Core>) -> impl IntoResponse {
    let text = match core.ask(Call::Metrics).await {
        Ok(snapshot) => text::render(snapshot).map_err(|error| error.to_string()),
        Err(failure) => Err(failure.problem.error),
    };
    match text {
        Ok(text) => (StatusCode::OK, [(CONTENT_TYPE, text::CONTENT)], text),
        Err(error) => {
            (StatusCode::SERVICE_UNAVAILABLE, [(CONTENT_TYPE, "text/plain")], error + "\n")
        }
    }
}

/// Whether the core loop turns; what it has to say does not matter.
async fn livez(State(core): State<Core>) -> (StatusCode, String) {
    match timeout(LIVE_WITHIN, core.ask(Call::Ready)).await {
        Ok(_answered) => (StatusCode::OK, "ok\n".into()),
        Err(_elapsed) => {
            let reason = format!("the core loop has not answered within {LIVE_WITHIN:?}\n");
            (StatusCode::SERVICE_UNAVAILABLE, reason)
        }
    }
}

async fn readyz(State(core): State<Core>) -> (StatusCode, String) {
    match timeout(LIVE_WITHIN, core.ask(Call::Ready)).await {
        Ok(Ok(())) => (StatusCode::OK, "ok\n".into()),
        Ok(Err(failure)) => (StatusCode::SERVICE_UNAVAILABLE, failure.problem.error + "\n"),
        Err(_elapsed) => {
            let reason = format!("the core loop has not answered within {LIVE_WITHIN:?}\n");
            (StatusCode::SERVICE_UNAVAILABLE, reason)
        }
    }
}
