//! What Sluice is compared with: keepalived, and `HAProxy` in TCP mode on both machines.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use lb_tests::namespace::Namespace;
use lb_tests::pair::{Pair, VIP_V4};
use lb_tests::process::Process;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::directors::{GATEWAY, PRIORITY};

const STOP_WITHIN: Duration = Duration::from_secs(10);

/// Both on one machine.
pub(super) struct Classic {
    keepalived: Process,
    haproxy: Process,
    vrrp_pid: PathBuf,
}

impl Classic {
    pub(super) fn start(pair: &Pair, number: usize, advert: Duration) -> Result<Self> {
        let machine = pair.directors.get(number - 1).context("there are two directors")?;
        // HAProxy listens on the VIP before the machine has it.
        machine.sysctl("ipv4/ip_nonlocal_bind", "1")?;
        let haproxy = haproxy(pair, machine, number)?;
        let keepalived = keepalived(pair, machine, number, advert)?;
        let vrrp_pid = pair.folder().join(format!("keepalived{number}.vrrp.pid"));
        Ok(Self { keepalived, haproxy, vrrp_pid })
    }

    /// As a machine that is shut down stops its services: the addresses first.
    pub(super) fn stop(&mut self) -> Result<()> {
        self.keepalived.terminate(STOP_WITHIN)?;
        self.haproxy.terminate(STOP_WITHIN).map(drop)
    }

    /// With it the process that keepalived has for VRRP, which would end by itself, but later.
    pub(super) fn kill(&mut self) -> Result<()> {
        let pid = std::fs::read_to_string(&self.vrrp_pid).context("find keepalived's process")?;
        self.keepalived.kill()?;
        kill(Pid::from_raw(pid.trim().parse()?), Signal::SIGKILL).ok();
        self.haproxy.kill()
    }

    pub(super) fn log(&self) -> String {
        self.keepalived.log() + &self.haproxy.log()
    }

    /// What it has come to last is what it should be.
    pub(super) fn is_ready(&self, is_active: bool) -> bool {
        let state = if is_active { "Entering MASTER STATE" } else { "Entering BACKUP STATE" };
        let log = self.keepalived.log();
        let mut entered = log.lines().filter(|line| line.contains(" Entering "));
        entered.next_back().is_some_and(|line| line.contains(state))
    }
}

fn write(pair: &Pair, name: &str, text: &str) -> Result<PathBuf> {
    let path = pair.folder().join(name);
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

fn haproxy(pair: &Pair, machine: &Namespace, number: usize) -> Result<Process> {
    let servers = pair.backends.iter();
    let server = |(name, v4): (&String, IpAddr)| format!(" server {name} {v4}:80 check inter 2s\n");
    let servers = servers.map(|host| server((&host.name, host.v4.into()))).collect::<Vec<_>>();
    let config = format!(
        "global\n maxconn 4000\n nbthread 2\ndefaults\n mode tcp\n timeout connect 5s\n \
         timeout client 30s\n timeout server 30s\nlisten shop\n bind {VIP_V4}:80\n \
         balance roundrobin\n{}",
        servers.concat()
    );
    let file = write(pair, &format!("haproxy{number}.cfg"), &config)?;
    let mut command = machine.command("haproxy");
    Process::start(
        &format!("haproxy{number}"),
        command.arg("-db").arg("-f").arg(file),
        pair.folder(),
    )
}

fn keepalived(
    pair: &Pair,
    machine: &Namespace,
    number: usize,
    advert: Duration,
) -> Result<Process> {
    let seconds = advert.as_secs_f32();
    let router = |name: &str, interface: &str, id: u8, address: &str| {
        format!(
            "vrrp_instance {name} {{\nstate BACKUP\nnopreempt\ninterface {interface}\nvirtual_router_id {id}\n\
             priority {PRIORITY}\nadvert_int {seconds}\nvirtual_ipaddress {{\n{address}\n}}\n}}\n"
        )
    };
    let config = format!(
        "global_defs {{\nvrrp_version 3\nvrrp_rt_priority 50\n}}\n\
         vrrp_sync_group pair {{\ngroup {{\nvip\ngateway\n}}\n}}\n{}{}",
        router("vip", "front", 51, &format!("{VIP_V4}/32")),
        router("gateway", "back", 52, GATEWAY)
    );
    let name = format!("keepalived{number}");
    let file = write(pair, &format!("{name}.conf"), &config)?;
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
