//! Waits until a drained backend has no flows.

use std::io::{self, Write};
use std::time::Duration;

use lb_common::api::FlowList;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Context;
use crate::args::backend::Which;
use crate::client::path;
use crate::error::Error;
use crate::render::units::count;

/// Each look lets the agent scan its flow table.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

/// Looks every `period`, for `patience` at most.
pub(super) async fn until_empty(
    which: &Which,
    patience: Duration,
    period: Duration,
    context: &Context,
) -> Result<(), Error> {
    let mut left = None;
    let ended = timeout(patience, watch(which, period, &mut left, context)).await;
    if context.progress {
        // Ends the line of the progress; standard error that is gone is nothing to report there.
        drop(writeln!(io::stderr()));
    }
    match (ended, left) {
        (Ok(ended), _) => ended,
        (Err(_elapsed), Some(left)) => Err(Error::FlowsLeft {
            service: which.service.clone(),
            backend: which.backend.clone(),
            left,
            after: patience,
        }),
        (Err(_elapsed), None) => {
            Err(Error::Silent { request: "GET /v1/flows".into(), after: patience })
        }
    }
}

/// Keeps the latest number in `left`, which outlives a wait that is given up.
async fn watch(
    which: &Which,
    period: Duration,
    left: &mut Option<u64>,
    context: &Context,
) -> Result<(), Error> {
    // The table itself is asked: the counters of services may be a few seconds old.
    let parameters = [
        ("limit", Some("0")),
        ("service", Some(which.service.as_str())),
        ("backend", Some(which.backend.as_str())),
    ];
    let path = path("/v1/flows", &parameters);
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let list: FlowList = match context.client.get(&path).await {
            // An agent that restarts keeps the drain and the flows: until it is back, nothing is known.
            Err(Error::Connect { source, .. }) if is_away(&source) => continue,
            Err(Error::Exchange { .. }) => continue,
            answer => answer?,
        };
        *left = Some(list.total);
        if context.progress {
            let what = count(list.total, "flow");
            drop(write!(
                io::stderr(),
                "\rdraining {}/{}: {what} left\u{1b}[K",
                which.service,
                which.backend
            ));
        }
        if list.total == 0 {
            return Ok(());
        }
    }
}

fn is_away(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}
