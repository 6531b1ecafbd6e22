//! One network namespace, made by name and removed by `Drop`.
//!
//! It is entered by `setns`, never by `ip netns exec`: that mounts /sys anew, and hides /sys/fs/bpf.

use std::ffi::OsStr;
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};

use crate::command::{run, run_with_input};
use crate::stale;

/// A network namespace.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    keep: AtomicBool,
}

impl Namespace {
    /// Makes a namespace, with `lo` up and without duplicate address detection.
    pub fn create(name: &str) -> Result<Self> {
        run(Command::new("ip").args(["netns", "add", name]))?;
        let namespace = Self { name: name.to_owned(), keep: AtomicBool::new(false) };
        namespace.ip("link set lo up")?;
        namespace.sysctl("ipv6/conf/default/accept_dad", "0")?;
        Ok(namespace)
    }

    /// Its name, as `ip netns list` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Leaves the namespace behind when this value is dropped.
    pub fn keep(&self) {
        self.keep.store(true, Ordering::Relaxed);
    }

    /// A command that will run inside.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Runs commands of `ip`, one a line, inside.
    pub fn ip(&self, lines: &str) -> Result<()> {
        run_with_input(Command::new("ip").args(["-n", &self.name, "-batch", "-"]), lines)?;
        Ok(())
    }

    /// Sets a value under /proc/sys/net inside.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/net/{key}");
        self.enter(|| std::fs::write(&path, value))?
            .with_context(|| format!("set {path} to {value} in {}", self.name))
    }

    /// Calls `act` on a thread of its own inside, and returns what it returned.
    pub fn enter<T: Send>(&self, act: impl FnOnce() -> T + Send) -> Result<T> {
        let door = self.open()?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&door, CloneFlags::CLONE_NEWNET)?;
                anyhow::Ok(act())
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
        .with_context(|| format!("enter {}", self.name))
    }

    /// Starts a thread inside.
    pub fn spawn<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let door = self.open()?;
        let name = self.name.clone();
        Ok(std::thread::spawn(move || {
            setns(&door, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {name}"))?;
            Ok(act())
        }))
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    fn open(&self) -> Result<File> {
        File::open(self.path()).with_context(|| format!("open network namespace {}", self.name))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if self.keep.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = stale::remove_namespace(&self.name) {
            eprintln!("{error:#}");
        }
    }
}
