//! Names of worlds, and removal of worlds by name: those that a killed process left behind.
//!
//! A name is `sl-<pid>-<number>`; the names of a world's namespaces, its pin folder and its folder of files
//! begin with it. A world whose name has no process id (the demo's) is removed only by its name.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bpf_fs::BPF_FS;
use crate::command::run;

/// Where worlds have their configuration files, sockets and logs.
pub const FOLDERS: &str = "/run/lb-worlds";

/// A name for a world that no other world of this machine has.
pub fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("sl-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Removes the worlds of processes that are gone.
pub fn remove_dead_worlds() -> Result<()> {
    let is_dead = |name: &str| owner(name).is_some_and(|pid| !process_exists(pid));
    remove_where(is_dead)
}

/// Removes everything that belongs to the world `name`.
pub fn remove_world(name: &str) -> Result<()> {
    let prefix = format!("{name}-");
    remove_where(|other| other == name || other.starts_with(&prefix))
}

/// Removes a namespace, and ends the processes in it first.
pub fn remove_namespace(name: &str) -> Result<()> {
    let pids = run(Command::new("ip").args(["netns", "pids", name])).unwrap_or_default();
    for pid in pids.split_whitespace().filter_map(|pid| pid.parse().ok()) {
        // Our own threads may be inside, and a process that has just ended needs no signal.
        if pid != Pid::this().as_raw() {
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
    }
    let deleted = run(Command::new("ip").args(["netns", "delete", name]));
    // Two who tidy up at once may meet.
    if deleted.is_err() && !Path::new("/run/netns").join(name).exists() {
        return Ok(());
    }
    deleted.map(drop)
}

/// Removes a folder; with pins this ends what only they kept alive.
pub fn remove_folder(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", folder.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn remove_where(chosen: impl Fn(&str) -> bool) -> Result<()> {
    for name in names_in(Path::new("/run/netns"))?.iter().filter(|name| chosen(name)) {
        remove_namespace(name)?;
    }
    for parent in [BPF_FS, FOLDERS].map(Path::new) {
        for name in names_in(parent)?.iter().filter(|name| chosen(name)) {
            remove_folder(&parent.join(name))?;
        }
    }
    Ok(())
}

fn names_in(folder: &Path) -> Result<Vec<String>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = folder.read_dir().with_context(|| format!("list {}", folder.display()))?;
    Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

fn owner(name: &str) -> Option<i32> {
    name.strip_prefix("sl-")?.split('-').next()?.parse().ok()
}

fn process_exists(pid: i32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_is_owned_by_the_process_in_its_name() {
        assert_eq!(owner("sl-123-0-client"), Some(123));
        assert_eq!(owner("sl-demo-client"), None);
        assert_eq!(owner("other-123-0"), None);
    }

    #[test]
    fn no_two_worlds_share_a_name() {
        assert_ne!(unique_name(), unique_name());
    }
}
