//! A machine in a namespace's network: systemd is its first process, and its root lies over that of this host, so
//! that packages can be installed and units run. What it changes is gone when it ends.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::clock::wait_for;
use crate::command::run;
use crate::namespace::Namespace;
use crate::process::Process;

const SCRIPT: &str = include_str!("machine.sh");
const UP_WITHIN: Duration = Duration::from_secs(30);

/// A running machine, which ends with this value.
#[derive(Debug)]
pub struct Machine {
    _outside: Process,
    /// The first process, as this host sees it.
    init: u32,
}

impl Machine {
    /// Starts it, and waits until units can be started; `folder` is for its script, its log and its root.
    pub fn start(network: &Namespace, folder: &Path) -> Result<Self> {
        let (script, root) = (folder.join("machine.sh"), folder.join("machine"));
        std::fs::create_dir(&root).with_context(|| format!("make {}", root.display()))?;
        std::fs::write(&script, SCRIPT)
            .and_then(|()| std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)))
            .with_context(|| format!("write {}", script.display()))?;
        let mut command = network.command("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--cgroup", "--uts", "--ipc"]);
        let outside = Process::start("machine", command.arg(&script).arg(&root), folder)?;
        let init = wait_for("the machine", UP_WITHIN, || first_process(&outside))
            .with_context(|| format!("its log:\n{}", outside.log()))?;
        let machine = Self { _outside: outside, init };
        wait_for("systemd", UP_WITHIN, || {
            let state = machine.command("systemctl").arg("is-system-running").output();
            let state = state.context("start systemctl")?.stdout;
            Ok((state.trim_ascii() == b"running").then_some(()))
        })?;
        Ok(machine)
    }

    /// A command that will run on it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string(), "--all", "--root", "--wd", "--"]);
        command.arg(program);
        command
    }

    /// Runs a command on it, words divided by spaces, which must succeed, and returns what it printed.
    pub fn run(&self, line: &str) -> Result<String> {
        let mut words = line.split(' ');
        let mut command = self.command(words.next().unwrap_or_default());
        run(command.args(words))
    }

    /// A file of it, by a path of this host.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }

    /// Whether it has a file or folder of this name.
    pub fn has(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }
}

/// The only child, once it has become systemd.
fn first_process(outside: &Process) -> Result<Option<u32>> {
    let id = outside.id();
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"))
        .context("the machine has ended")?;
    let Some(child) = children.split_whitespace().next() else { return Ok(None) };
    let name = std::fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
    let child = child.parse().context("read a process id")?;
    Ok((name.trim() == "systemd").then_some(child))
}
