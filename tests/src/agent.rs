//! The real `lb-agent` in a world's director, with a real configuration file, and the real `lb-ctl`.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::binaries::Binaries;
use crate::clock::wait_until;
use crate::command::run;
use crate::http_client::get;
use crate::process::Process;
use crate::web::PORT;
use crate::world::{World, vips};

const START_WITHIN: Duration = Duration::from_secs(90);
const HEALTH_WITHIN: Duration = Duration::from_secs(20);
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// Where the agent serves `/readyz` and metrics, inside the director's namespace.
pub const METRICS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9901);

/// What most tests need of a flow table: one of the usual size takes the kernel a while to clear, and the agent to sweep.
const MAX_FLOWS: &str = "max_flows = 65_536\n";

/// The parts of a configuration file that differ from test to test, as TOML.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Further lines of `[datapath]`.
    pub datapath: String,
    /// Further tables: health checks and services.
    pub tables: String,
}

impl Settings {
    /// The whole configuration file for the agent of `world`.
    pub fn file(&self, world: &World) -> String {
        let folder = world.folder().display();
        let max_flows = if self.datapath.contains("max_flows") { "" } else { MAX_FLOWS };
        format!(
            r#"version = 1

[agent]
node = "director"
shutdown = "keep"
state_dir = "{folder}/state"

[api]
socket = "{folder}/lb.sock"

[metrics]
listen = "{METRICS}"

[datapath]
interfaces = {:?}
pin_path = "{}"
manage_addresses = true
{max_flows}{}
{}"#,
            world.interfaces(),
            world.pin_path().display(),
            self.datapath,
            self.tables
        )
    }
}

/// A running agent.
#[derive(Debug)]
pub struct Agent<'w> {
    /// The process.
    pub process: Process,
    world: &'w World,
    binaries: Binaries,
    keep: bool,
}

impl<'w> Agent<'w> {
    /// Writes the configuration file, starts the agent and waits until it is ready.
    pub fn start(world: &'w World, binaries: &Binaries, settings: &Settings) -> Result<Self> {
        Self::start_from(world, binaries, &settings.file(world), &[])
    }

    /// The same from the text of a whole configuration file, and with variables of the environment.
    pub fn start_from(
        world: &'w World,
        binaries: &Binaries,
        config: &str,
        variables: &[(&str, &str)],
    ) -> Result<Self> {
        write_config(world, config)?;
        let process = spawn_with(world, binaries, variables)?;
        let mut agent = Self { process, world, binaries: binaries.clone(), keep: false };
        agent.wait_until_ready()?;
        Ok(agent)
    }

    /// Starts another process after this one has ended, with the configuration file as it is now.
    pub fn restart(&mut self) -> Result<()> {
        self.process = spawn(self.world, &self.binaries)?;
        self.wait_until_ready()
    }

    /// The same with another version of the agent.
    pub fn restart_as(&mut self, binaries: &Binaries) -> Result<()> {
        self.binaries = binaries.clone();
        self.restart()
    }

    /// Replaces the configuration file; the agent is not told.
    pub fn write_config(&self, settings: &Settings) -> Result<()> {
        write_config(self.world, &settings.file(self.world))
    }

    /// A call of `lb-ctl`.
    pub fn ctl_command(&self) -> Command {
        let mut command = Command::new(&self.binaries.ctl);
        command.arg("--socket").arg(self.world.folder().join("lb.sock"));
        command
    }

    /// Calls `lb-ctl`.
    pub fn ctl(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = self.ctl_command();
        command.args(arguments).output().with_context(|| format!("start {command:?}"))
    }

    /// Calls `lb-ctl`, which must succeed, and returns what it printed.
    pub fn ctl_ok(&self, arguments: &[&str]) -> Result<String> {
        run(self.ctl_command().args(arguments))
    }

    /// Calls `lb-ctl -o json`, which must succeed, and parses what it printed.
    pub fn ctl_json(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        let text = run(self.ctl_command().args(["-o", "json"]).args(arguments))?;
        serde_json::from_str(&text).with_context(|| format!("parse {text}"))
    }

    /// Waits until all addresses of a backend are held to be `up` or `down`, in all services that have it; a
    /// reload that was only asked for may still have to bring it.
    pub fn wait_for_health(&self, backend: &str, health: &str) -> Result<()> {
        wait_until(&format!("{backend} to be {health}"), HEALTH_WITHIN, || {
            let targets = self.ctl_json(&["health", "list"])?;
            let targets = targets.as_array().context("read the list of health")?;
            let mut theirs =
                targets.iter().filter(|target| target["backend"] == backend).peekable();
            Ok(theirs.peek().is_some() && theirs.all(|target| target["health"] == health))
        })
    }

    /// Waits until all backends of all services are up.
    pub fn wait_until_all_up(&self) -> Result<()> {
        wait_until("all backends to be up", HEALTH_WITHIN, || {
            let targets = self.ctl_json(&["health", "list"])?;
            let targets = targets.as_array().context("read the list of health")?;
            Ok(targets.iter().all(|target| target["health"] == "up"))
        })
    }

    /// Waits until SYNs can be answered with cookies, which they cannot yet when the agent is ready.
    pub fn wait_for_cookies(&self) -> Result<()> {
        wait_until("SYN cookies to be at hand", START_WITHIN, || {
            Ok(self.process.log().contains("SYN cookies are at hand"))
        })
    }

    /// The metrics page.
    pub fn metrics(&self) -> Result<String> {
        let answer = self.world.director.enter(|| get(METRICS, "/metrics", START_WITHIN))??;
        ensure!(answer.status == 200, "status {} of /metrics", answer.status);
        String::from_utf8(answer.body).context("read the metrics")
    }

    /// Leaves agent and packet path running when this value is dropped.
    pub fn keep(&mut self) {
        self.keep = true;
        self.process.keep();
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let process = &mut self.process;
        let is_ready = || {
            ensure!(process.is_running()?, "it has ended:\n{}", process.log());
            Ok(get(METRICS, "/readyz", START_WITHIN).is_ok_and(|answer| answer.status == 200))
        };
        let waited = self
            .world
            .director
            .enter(|| wait_until("the agent to be ready", START_WITHIN, is_ready))?;
        waited.with_context(|| format!("start lb-agent; its log:\n{}", self.process.log()))
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Err(error) =
            self.process.terminate(STOP_WITHIN).and_then(|_| detach(self.world, &self.binaries))
        {
            eprintln!("stop the agent: {error:#}");
        }
    }
}

/// Starts an agent with the configuration file that is there, which may refuse to run.
pub fn spawn(world: &World, binaries: &Binaries) -> Result<Process> {
    spawn_with(world, binaries, &[])
}

fn spawn_with(world: &World, binaries: &Binaries, variables: &[(&str, &str)]) -> Result<Process> {
    let mut command = world.director.command(&binaries.agent);
    command.envs(variables.iter().copied());
    command.arg("--config").arg(config_file(world)).env("RUST_LOG", "info").env("NO_COLOR", "1");
    Process::start("lb-agent", &mut command, world.folder())
}

/// Writes the configuration file of the world's agent.
pub fn write_config(world: &World, text: &str) -> Result<()> {
    let path = config_file(world);
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}

/// Takes the packet path away.
pub fn detach(world: &World, binaries: &Binaries) -> Result<()> {
    let mut command = world.director.command(&binaries.agent);
    run(command.arg("--config").arg(config_file(world)).arg("detach"))?;
    Ok(())
}

/// The configuration file of the world's agent.
pub fn config_file(world: &World) -> PathBuf {
    world.folder().join("lb.toml")
}

/// The health check `web`, which a busy machine does not mistake for a failure.
pub const CALM_CHECK: &str = r#"
[health_check.web]
type = "http"
interval = "1s"
timeout = "1s"
rise = 1
fall = 3
path = "/healthz"
"#;

/// The health check `web` where it is to fail: a dead backend gets no new flows after [`NOTICED_WITHIN`].
pub const QUICK_CHECK: &str = r#"
[health_check.web]
type = "http"
interval = "200ms"
timeout = "200ms"
rise = 2
fall = 2
path = "/healthz"
"#;

/// The same, by TCP connection.
pub const QUICK_TCP_CHECK: &str = r#"
[health_check.web]
type = "tcp"
interval = "200ms"
timeout = "200ms"
rise = 2
fall = 2
"#;

/// `interval x fall + timeout` of [`QUICK_CHECK`] and [`QUICK_TCP_CHECK`].
pub const NOTICED_WITHIN: Duration = Duration::from_millis(200 * 2 + 200);

/// The lines of a TCP service that is checked by the health check `web`.
pub const BALANCED: &str = r#"protocol = "tcp"
forward = "nat"
scheduler = "rr"
health_check = "web""#;

/// `[[service]]` with the backends of the world, one a host, on the port of their web servers.
pub fn service(name: &str, listen: &[SocketAddr], more: &str, world: &World) -> String {
    let mut text =
        format!("[[service]]\nname = \"{name}\"\nlisten = {}\n{more}\n", strings(listen));
    for host in &world.backends {
        let address = strings(&host.at(PORT));
        // Writing to a string cannot fail.
        writeln!(text, "[[service.backend]]\nname = \"{}\"\naddress = {address}", host.name).ok();
    }
    text
}

/// The service `shop` on port 80 of both VIPs, with all backends of the world, checked calmly.
pub fn shop(world: &World) -> Settings {
    shop_with(CALM_CHECK, world)
}

/// The same, checked quickly.
pub fn quick_shop(world: &World) -> Settings {
    shop_with(QUICK_CHECK, world)
}

/// The same with any health check `web`.
pub fn shop_with(check: &str, world: &World) -> Settings {
    let tables = format!("{check}\n{}", service("shop", &vips(PORT), BALANCED, world));
    Settings { datapath: String::new(), tables }
}

fn strings(addresses: &[SocketAddr]) -> String {
    format!("{:?}", addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>())
}
