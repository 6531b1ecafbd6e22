//! A child process whose output goes to a file, shown if a test fails, and which `Drop` ends.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::clock::wait_for;

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    keep: bool,
}

impl Process {
    /// Starts `command`; what it prints is appended to `<folder>/<name>.log`.
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("open {}", log.display()))?;
        let errors = output.try_clone().with_context(|| format!("open {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log, keep: false })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Lets it run on when this value is dropped.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> Result<bool> {
        let status = self.child.try_wait().with_context(|| format!("look at {}", self.name))?;
        Ok(status.is_none())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.id()).context("a process id is a pid_t")?;
        kill(Pid::from_raw(pid), signal)
            .with_context(|| format!("send {} to {}", signal.as_str(), self.name))
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("kill {}", self.name))?;
        self.child.wait().with_context(|| format!("wait for the end of {}", self.name))?;
        Ok(())
    }

    /// Asks it to end, and waits until it has.
    pub fn terminate(&mut self, within: Duration) -> Result<ExitStatus> {
        if self.is_running()? {
            self.signal(Signal::SIGTERM)?;
        }
        self.wait(within)
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        let child = &mut self.child;
        wait_for(&what, within, || child.try_wait().with_context(|| what.clone()))
            .with_context(|| format!("its log:\n{}", self.log()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        // An error means that it has ended already, which is what is wanted.
        self.kill().ok();
        if std::thread::panicking() {
            eprintln!("---- log of {} ----\n{}", self.name, self.log());
        }
    }
}
