//! Scripts that are told of changes (`notify`). They can hold up nothing: each runs as a process of its own with a
//! limit of time, and what waits for it is bounded.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::model::vrrp::Change;

/// Changes that wait for the script of an earlier one; more are not told.
const LONGEST_QUEUE: usize = 64;
/// After which a script is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs scripts one after the other, in the order of the changes.
#[derive(Debug)]
pub struct Scripts(mpsc::Sender<(PathBuf, Change)>);

impl Scripts {
    /// To be called in a tokio runtime.
    pub fn start() -> Self {
        let (changes, mut waiting) = mpsc::channel::<(PathBuf, Change)>(LONGEST_QUEUE);
        tokio::spawn(async move {
            while let Some((script, change)) = waiting.recv().await {
                run(&script, &change).await;
            }
        });
        Self(changes)
    }

    /// Has the script of a change run, if it has one.
    pub fn tell(&self, change: &Change) {
        let Some(script) = change.notify.clone() else { return };
        if self.0.try_send((script, change.clone())).is_err() {
            let router = &change.router;
            tracing::warn!(
                "virtual router {router}: its script is not run: {LONGEST_QUEUE} others wait"
            );
        }
    }
}

async fn run(script: &Path, change: &Change) {
    let (router, priority) = (&change.router, change.priority.to_string());
    let mut command = Command::new(script);
    command.args([router, change.to.name(), &priority]).kill_on_drop(true);
    command.env("LB_FROM", change.from.name()).env("LB_REASON", &change.reason);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let problem = match timeout(PATIENCE, command.status()).await {
        Ok(Ok(status)) if status.success() => return,
        Ok(Ok(status)) => status.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_elapsed) => format!("killed after {PATIENCE:?}"),
    };
    tracing::warn!("virtual router {router}: {}: {problem}", script.display());
}
