//! Scripts that are told of changes (`notify`). They can hold up nothing: each runs as a process group of its own with a
//! limit of time, and what waits for it is bounded.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::model::vrrp::Change;

/// Changes that wait for the script of an earlier one; more are not told.
const LONGEST_QUEUE: usize = 64;
/// After which a script is killed, with all that it has started.
const PATIENCE: Duration = Duration::from_secs(10);
/// The time that all those which are still to run have when the agent stops.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// Runs scripts one after the other, in the order of the changes.
#[derive(Debug)]
pub struct Scripts {
    changes: mpsc::Sender<(PathBuf, Change)>,
    runner: JoinHandle<()>,
}

impl Scripts {
    /// To be called in a tokio runtime.
    pub fn start() -> Self {
        let (changes, mut waiting) = mpsc::channel::<(PathBuf, Change)>(LONGEST_QUEUE);
        let runner = tokio::spawn(async move {
            while let Some((script, change)) = waiting.recv().await {
                run(&script, &change).await;
            }
        });
        Self { changes, runner }
    }

    /// Has the script of a change run, if it has one.
    pub fn tell(&self, change: &Change) {
        let Some(script) = change.notify.clone() else { return };
        if self.changes.try_send((script, change.clone())).is_err() {
            let router = &change.router;
            tracing::warn!(
                "virtual router {router}: its script is not run: {LONGEST_QUEUE} others wait"
            );
        }
    }

    /// Waits for those that are still to run, for a time.
    pub async fn finish(self) {
        let Self { changes, mut runner } = self;
        drop(changes);
        if timeout(LAST_PATIENCE, &mut runner).await.is_err() {
            runner.abort();
            tracing::warn!(
                "scripts of virtual routers were not done {LAST_PATIENCE:?} after the end"
            );
            // It ends at once, and then the script is killed.
            drop(runner.await);
        }
    }
}

async fn run(script: &Path, change: &Change) {
    let (router, priority) = (&change.router, change.priority.to_string());
    let mut command = Command::new(script);
    command.args([router, change.to.name(), &priority]);
    command.env("LB_FROM", change.from.name()).env("LB_REASON", &change.reason);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let problem = match timeout(PATIENCE, finish(&mut command)).await {
        Ok(Ok(status)) if status.success() => return,
        Ok(Ok(status)) => status.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_elapsed) => format!("killed after {PATIENCE:?}"),
    };
    tracing::warn!("virtual router {router}: {}: {problem}", script.display());
}

/// Runs a command to its end; dropped before that, it kills the command and all that it has started.
async fn finish(command: &mut Command) -> io::Result<ExitStatus> {
    let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
    let group = Group(child.id().and_then(|id| i32::try_from(id).ok()));
    let status = child.wait().await;
    group.has_ended();
    status
}

/// The process group of a command that runs.
struct Group(Option<i32>);

impl Group {
    /// What the command has left behind is meant to stay.
    fn has_ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.0 {
            // It may be gone by now.
            killpg(Pid::from_raw(id), Signal::SIGKILL).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    async fn wait_until(mut holds: impl FnMut() -> bool) {
        let turns = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(20), turns).await.unwrap();
    }

    /// A zombie is waited for by whoever has become its parent.
    fn is_alive(id: &str) -> bool {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    }

    #[tokio::test]
    async fn what_a_script_has_started_is_killed_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("id");
        let mut shell = Command::new("/bin/sh");
        shell
            .arg("-c")
            .arg(format!("sleep 600 & echo $! > {0}.new; mv {0}.new {0}; wait", note.display()));
        let running = tokio::spawn(async move { finish(&mut shell).await });
        wait_until(|| note.exists()).await;
        let id = fs::read_to_string(&note).unwrap().trim().to_owned();
        assert!(is_alive(&id));
        running.abort();
        wait_until(|| !is_alive(&id)).await;
    }
}
