//! Time that a core spends on us: on the calling thread, and on the kernel's thread for what it leaves over.
//!
//! What the network does for a thread's packets (softirqs) is part of the thread's time, unless there is so much
//! of it that `ksoftirqd` takes it over.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};

/// Reads the time of the calling thread and of a CPU's `ksoftirqd`.
pub(crate) struct Meter {
    schedstat: PathBuf,
}

impl Meter {
    /// For threads that stay on this CPU.
    pub(crate) fn of_cpu(cpu: usize) -> Result<Self> {
        let name = format!("ksoftirqd/{cpu}\n");
        let processes = std::fs::read_dir("/proc").context("list processes")?;
        let mut folders = processes.flatten().map(|entry| entry.path());
        let is_it = |folder: &PathBuf| {
            std::fs::read_to_string(folder.join("comm")).is_ok_and(|comm| comm == name)
        };
        let folder = folders.find(is_it).with_context(|| format!("find {}", name.trim()))?;
        Ok(Self { schedstat: folder.join("schedstat") })
    }

    /// Time spent so far.
    pub(crate) fn read(&self) -> Result<Duration> {
        let text = std::fs::read_to_string(&self.schedstat).context("read schedstat")?;
        let nanoseconds = text.split_whitespace().next().and_then(|word| word.parse().ok());
        let thread = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("read the clock")?;
        Ok(Duration::from(thread) + Duration::from_nanos(nanoseconds.context("parse schedstat")?))
    }
}
