//! The agent of one director of a pair.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Pair, has, pin_path};
use crate::binaries::Binaries;
use crate::clock::wait_until;
use crate::command::run;
use crate::http_client::get;
use crate::namespace::Namespace;
use crate::process::Process;

const METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);
const START_WITHIN: Duration = Duration::from_mins(1);
const STOP_WITHIN: Duration = Duration::from_secs(10);
const STATE_WITHIN: Duration = Duration::from_secs(20);

/// The agent of one director.
#[derive(Debug)]
pub struct Director<'p> {
    /// The agent.
    pub process: Process,
    /// Its machine.
    pub namespace: &'p Namespace,
    pair: &'p Pair,
    binaries: Binaries,
    number: usize,
}

impl<'p> Director<'p> {
    /// Starts the agent of director 1 or 2 with further tables of its configuration, and waits until it is ready.
    pub fn start(pair: &'p Pair, number: usize, tables: &str) -> Result<Self> {
        Self::start_from(pair, number, tables, &Binaries::of_this_profile()?)
    }

    /// The same with the binaries of another folder.
    pub fn start_from(
        pair: &'p Pair,
        number: usize,
        tables: &str,
        binaries: &Binaries,
    ) -> Result<Self> {
        let binaries = binaries.clone();
        let namespace = pair.directors.get(number - 1).context("there are two directors")?;
        std::fs::create_dir_all(folder(pair, number))?;
        std::fs::write(config_file(pair, number), config(pair, number, tables))?;
        let process = spawn(pair, namespace, number, &binaries)?;
        let mut director = Self { process, namespace, pair, binaries, number };
        director.wait_until_ready()?;
        Ok(director)
    }

    /// Starts its agent again after it has ended.
    pub fn restart(&mut self) -> Result<()> {
        self.process = spawn(self.pair, self.namespace, self.number, &self.binaries)?;
        self.wait_until_ready()
    }

    /// The same with another version of the agent.
    pub fn restart_as(&mut self, binaries: &Binaries) -> Result<()> {
        self.binaries = binaries.clone();
        self.restart()
    }

    /// Where it pins.
    pub fn pin_path(&self) -> PathBuf {
        pin_path(&self.pair.name, self.number)
    }

    /// Replaces further tables of the configuration; the agent is not told.
    pub fn write_config(&self, tables: &str) -> Result<()> {
        let text = config(self.pair, self.number, tables);
        std::fs::write(config_file(self.pair, self.number), text).context("write a configuration")
    }

    /// A call of `lb-ctl`.
    pub fn ctl(&self) -> Command {
        let mut command = Command::new(&self.binaries.ctl);
        command.arg("--socket").arg(folder(self.pair, self.number).join("lb.sock"));
        command
    }

    /// Calls `lb-ctl -o json`, which must succeed.
    pub fn ctl_json(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        let text = run(self.ctl().args(["-o", "json"]).args(arguments))?;
        serde_json::from_str(&text).with_context(|| format!("parse {text}"))
    }

    /// States of its virtual routers, each once.
    pub fn states(&self) -> Result<Vec<String>> {
        let shown = self.ctl_json(&["vrrp", "status"])?;
        let routers = shown.get("routers").and_then(|routers| routers.as_array());
        let state = |router: &serde_json::Value| router["state"].as_str().map(str::to_owned);
        let routers = routers.context("read the routers")?.iter();
        let mut states: Vec<_> = routers.filter_map(state).collect();
        states.dedup();
        Ok(states)
    }

    /// Waits until all its virtual routers are in a state.
    pub fn wait_for(&self, state: &str) -> Result<()> {
        wait_until(&format!("lb{} to be {state}", self.number), STATE_WITHIN, || {
            Ok(self.states()? == [state])
        })
        .with_context(|| format!("{:?}", self.ctl_json(&["vrrp", "status"])))
    }

    /// Whether its machine has an address.
    pub fn has(&self, address: IpAddr) -> Result<bool> {
        has(self.namespace, address)
    }

    /// Waits until what `vrrp status` shows fulfils a condition.
    pub fn wait_for_status(
        &self,
        what: &str,
        holds: impl Fn(&serde_json::Value) -> bool,
    ) -> Result<()> {
        let look = || Ok(holds(&self.ctl_json(&["vrrp", "status"])?));
        wait_until(what, STATE_WITHIN, look)
            .with_context(|| format!("{:?}", self.ctl_json(&["vrrp", "status"])))
    }

    /// The metrics page.
    pub fn metrics(&self) -> Result<String> {
        let answer = self.namespace.enter(|| get(METRICS, "/metrics", START_WITHIN))??;
        String::from_utf8(answer.body).context("read the metrics")
    }

    /// Has an agent that does not run any more taken away: programs, pins, addresses.
    pub fn detach(&self) -> Result<()> {
        let config = config_file(self.pair, self.number);
        let mut detach = self.namespace.command(&self.binaries.agent);
        run(detach.arg("--config").arg(config).arg("detach")).map(drop)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let process = &mut self.process;
        let is_ready = || {
            ensure!(process.is_running()?, "it has ended:\n{}", process.log());
            Ok(get(METRICS, "/readyz", START_WITHIN).is_ok_and(|answer| answer.status == 200))
        };
        self.namespace.enter(|| wait_until("the agent to be ready", START_WITHIN, is_ready))??;
        Ok(())
    }
}

impl Drop for Director<'_> {
    fn drop(&mut self) {
        let stopped = self.process.terminate(STOP_WITHIN);
        if let Err(error) = stopped.and_then(|_| self.detach()) {
            eprintln!("stop lb{}: {error:#}", self.number);
        }
    }
}

fn spawn(pair: &Pair, machine: &Namespace, number: usize, binaries: &Binaries) -> Result<Process> {
    let mut command = machine.command(&binaries.agent);
    command.arg("--config").arg(config_file(pair, number));
    command.env("RUST_LOG", "info").env("NO_COLOR", "1");
    Process::start(&format!("lb{number}"), &mut command, &pair.folder)
}

fn folder(pair: &Pair, number: usize) -> PathBuf {
    pair.folder.join(format!("lb{number}"))
}

fn config_file(pair: &Pair, number: usize) -> PathBuf {
    folder(pair, number).join("lb.toml")
}

fn config(pair: &Pair, number: usize, tables: &str) -> String {
    let folder = folder(pair, number);
    let (folder, pins) = (folder.display(), pin_path(&pair.name, number));
    format!(
        r#"version = 1

[agent]
node = "lb{number}"
state_dir = "{folder}/state"

[api]
socket = "{folder}/lb.sock"

[metrics]
listen = "{METRICS}"

[datapath]
interfaces = ["front", "back"]
pin_path = "{}"
manage_addresses = true
max_flows = {}

{tables}"#,
        pins.display(),
        pair.max_flows
    )
}
