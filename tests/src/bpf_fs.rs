//! The BPF file system, mounted where it is missing.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::command::run;

/// Where BPF maps, programs and links are pinned.
pub const BPF_FS: &str = "/sys/fs/bpf";

/// Mounts the BPF file system unless it is.
pub fn ensure_mounted() -> Result<()> {
    let _lock = lock()?;
    let file_system = statfs(Path::new(BPF_FS)).with_context(|| format!("look at {BPF_FS}"))?;
    if file_system.filesystem_type() != BPF_FS_MAGIC {
        run(Command::new("mount").args(["-t", "bpf", "bpf", BPF_FS]))?;
    }
    Ok(())
}

/// Keeps two tests from mounting it twice: the second mount would hide the pins of the first.
fn lock() -> Result<Flock<File>> {
    let path = "/run/lb-tests.lock";
    let file = File::create(path).with_context(|| format!("create {path}"))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| anyhow!("lock {path}: {error}"))
}
