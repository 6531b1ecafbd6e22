//! What Sluice is compared with: keepalived, beside `HAProxy` or the kernel's NAT, on both machines.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use lb_tests::namespace::Namespace;
use lb_tests::pair::{Pair, VIP_V4};
use lb_tests::process::Process;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::directors::GATEWAY;
use super::{Setup, haproxy, kernel_nat};

/// Microseconds that its thread may run at a stretch before the kernel kills it: by default 10 ms, which a machine as busy
/// as this one exceeds.
const RUNS_AT_MOST: u32 = 1_000_000;
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// Seconds that a preferred director knows the other one before it takes over.
const PREEMPT_AFTER: u32 = 1;

/// What has the connections in hand, beside keepalived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    /// `HAProxy` in TCP mode.
    Haproxy,
    /// nftables with conntrackd.
    Conntrackd,
}

/// Both on one machine.
pub(super) struct Classic {
    keepalived: Process,
    kind: Beside,
    beside: Process,
    vrrp_pid: PathBuf,
}

impl Classic {
    pub(super) fn start(pair: &Pair, number: usize, setup: Setup, kind: Beside) -> Result<Self> {
        let machine = pair.directors.get(number - 1).context("there are two directors")?;
        let beside = match kind {
            Beside::Haproxy => haproxy::start(pair, machine, number)?,
            Beside::Conntrackd => kernel_nat::start(pair, machine, number)?,
        };
        let keepalived = keepalived(pair, machine, number, setup)?;
        let vrrp_pid = pair.folder().join(format!("keepalived{number}.vrrp.pid"));
        Ok(Self { keepalived, kind, beside, vrrp_pid })
    }

    /// After it has ended.
    pub(super) fn restart(&mut self, pair: &Pair, number: usize, setup: Setup) -> Result<()> {
        *self = Self::start(pair, number, setup, self.kind)?;
        Ok(())
    }

    /// As a machine that is shut down stops its services: the addresses first.
    pub(super) fn stop(&mut self) -> Result<()> {
        self.keepalived.terminate(STOP_WITHIN)?;
        self.beside.terminate(STOP_WITHIN).map(drop)
    }

    /// With it the process that keepalived has for VRRP, which would end by itself, but later.
    pub(super) fn kill(&mut self) -> Result<()> {
        let pid = std::fs::read_to_string(&self.vrrp_pid).context("find keepalived's process")?;
        self.keepalived.kill()?;
        kill(Pid::from_raw(pid.trim().parse()?), Signal::SIGKILL).ok();
        self.beside.kill()
    }

    pub(super) fn log(&self) -> String {
        self.keepalived.log() + &self.beside.log()
    }

    /// What it has come to last is what it should be.
    pub(super) fn is_ready(&self, is_active: bool) -> bool {
        let state = if is_active { "Entering MASTER STATE" } else { "Entering BACKUP STATE" };
        let log = self.keepalived.log();
        let mut entered = log.lines().filter(|line| line.contains(" Entering "));
        entered.next_back().is_some_and(|line| line.contains(state))
    }
}

pub(super) fn write(pair: &Pair, name: &str, text: &str) -> Result<PathBuf> {
    let path = pair.folder().join(name);
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

fn keepalived(pair: &Pair, machine: &Namespace, number: usize, setup: Setup) -> Result<Process> {
    let name = format!("keepalived{number}");
    let file = write(pair, &format!("{name}.conf"), &config(number, setup))?;
    let mut command = machine.command("keepalived");
    command.args(["--dont-fork", "--log-console", "--log-detail", "--vrrp"]);
    command.arg("--use-file").arg(file);
    for (option, end) in [("--pid", "pid"), ("--vrrp_pid", "vrrp.pid")] {
        command.arg(option).arg(pair.folder().join(format!("{name}.{end}")));
    }
    // What it said before it was started anew says nothing about it, and its process may have been killed.
    for end in ["log", "pid", "vrrp.pid"] {
        let file = pair.folder().join(format!("{name}.{end}"));
        if file.exists() {
            std::fs::remove_file(&file).context("forget an earlier keepalived")?;
        }
    }
    Process::start(&name, &mut command, pair.folder())
}

fn config(number: usize, setup: Setup) -> String {
    let (seconds, priority) = (setup.advert.as_secs_f32(), setup.priority(number));
    let preempts = if setup.has_preferred {
        format!("preempt_delay {PREEMPT_AFTER}")
    } else {
        "nopreempt".to_owned()
    };
    let router = |name: &str, interface: &str, id: u8, address: &str| {
        format!(
            "vrrp_instance {name} {{\nstate BACKUP\n{preempts}\ninterface {interface}\nvirtual_router_id {id}\n\
             priority {priority}\nadvert_int {seconds}\nvirtual_ipaddress {{\n{address}\n}}\n}}\n"
        )
    };
    format!(
        "global_defs {{\nvrrp_version 3\nvrrp_rt_priority 50\n\
         vrrp_rlimit_rttime {RUNS_AT_MOST}\n}}\n\
         vrrp_sync_group pair {{\ngroup {{\nvip\ngateway\n}}\n}}\n{}{}",
        router("vip", "front", 51, &format!("{VIP_V4}/32")),
        router("gateway", "back", 52, GATEWAY)
    )
}
