//! A world with two directors, `lb1` and `lb2`, both on the network of clients and on that of backends.
//!
//! ```text
//! client ---- front switch ---- front  lb1  back ---- back switch ---- web1 .. webN
//!                  `----------- front  lb2  back -----------'
//! ```
//!
//! The networks are those of [`World`](crate::world::World); the VIPs are in the front network, and the backends'
//! gateway is an address of the back network that moves with them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::binaries::Binaries;
use crate::bpf_fs::{BPF_FS, ensure_mounted};
use crate::clock::wait_until;
use crate::command::run;
use crate::http_client::get;
use crate::link::{End, join};
use crate::namespace::Namespace;
use crate::process::Process;
use crate::stale;
use crate::web::PORT;
use crate::world::{Host, backend, v6_of};
use crate::xdp;

/// The VIP of the pair, IPv4.
pub const VIP_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 100);
/// The VIP of the pair, IPv6.
pub const VIP_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x100);

const GATEWAYS: &str = "route add default via 192.0.2.1\nroute add default via 2001:db8:2::1";
const METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);
const START_WITHIN: Duration = Duration::from_mins(1);
const STOP_WITHIN: Duration = Duration::from_secs(10);
const STATE_WITHIN: Duration = Duration::from_secs(20);

/// Both VIPs with the port of the service.
pub fn vips() -> [SocketAddr; 2] {
    [SocketAddr::new(VIP_V4.into(), PORT), SocketAddr::new(VIP_V6.into(), PORT)]
}

/// A client, two directors and backends.
#[derive(Debug)]
pub struct Pair {
    /// The client.
    pub client: Host,
    /// The machines of the directors, `lb1` and `lb2`.
    pub directors: [Namespace; 2],
    /// The backends: `web1`, `web2` and so on.
    pub backends: Vec<Host>,
    name: String,
    switch: Namespace,
    folder: PathBuf,
}

impl Pair {
    /// A pair with a name of its own.
    pub fn new(n_backends: u8) -> Result<Self> {
        ensure!(nix::unistd::geteuid().is_root(), "network namespaces need root");
        ensure_mounted()?;
        stale::remove_dead_worlds()?;
        let name = stale::unique_name();
        let director = |number: u8| Namespace::create(&format!("{name}-lb{number}"));
        let client = (Ipv4Addr::new(198, 51, 100, 10), v6_of(1, 10));
        let pair = Self {
            client: Host::create(&name, "client", client.0, client.1)?,
            directors: [director(1)?, director(2)?],
            backends: (1..=n_backends).map(|n| backend(&name, n)).collect::<Result<_>>()?,
            switch: Namespace::create(&format!("{name}-switch"))?,
            folder: Path::new(stale::FOLDERS).join(&name),
            name,
        };
        for folder in [&pair.folder, &pair.link_path()] {
            std::fs::create_dir_all(folder)?;
        }
        pair.wire().context("wire up a pair of directors")?;
        Ok(pair)
    }

    /// Configuration files, sockets and logs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn link_path(&self) -> PathBuf {
        Path::new(BPF_FS).join(format!("{}-links", self.name))
    }

    /// A port of a switch: `lb1-front`, `client`, `web1`.
    pub fn port<'p>(&'p self, name: &'p str) -> End<'p> {
        End { namespace: &self.switch, interface: name }
    }

    /// Pulls a cable out of its switch; the other end sees that too.
    pub fn unplug(&self, port: &str) -> Result<()> {
        self.switch.ip(&format!("link set {port} down"))
    }

    /// Puts it in again.
    pub fn plug_in(&self, port: &str) -> Result<()> {
        self.switch.ip(&format!("link set {port} up"))
    }

    /// Lets a switch lose everything that comes from a port or goes there, which the other end does not see.
    pub fn deafen(&self, port: &str, is_deaf: bool) -> Result<()> {
        let master = if is_deaf { "nomaster".to_owned() } else { format!("master {}", side(port)) };
        self.switch.ip(&format!("link set {port} {master}"))
    }

    fn wire(&self) -> Result<()> {
        self.switch.sysctl("ipv6/conf/default/disable_ipv6", "1")?;
        for bridge in ["fronts", "backs"] {
            let options = "type bridge mcast_snooping 0 forward_delay 0";
            self.switch.ip(&format!("link add {bridge} {options}\nlink set {bridge} up"))?;
        }
        self.plug(&self.client.namespace, "eth0", "client")?;
        self.client.configure("route add default via 198.51.100.1")?;
        for host in &self.backends {
            self.plug(&host.namespace, "eth0", &host.name)?;
            host.configure(GATEWAYS)?;
        }
        for (number, director) in (1..).zip(&self.directors) {
            self.wire_director(number, director)?;
        }
        Ok(())
    }

    fn wire_director(&self, number: u8, director: &Namespace) -> Result<()> {
        for (interface, network, group) in [("front", "198.51.100", 1), ("back", "192.0.2", 2)] {
            let port = format!("lb{number}-{interface}");
            self.plug(director, interface, &port)?;
            let host = number + 1;
            director.ip(&format!(
                "address add {network}.{host}/24 dev {interface}\n\
                 address add 2001:db8:{group}::{host}/64 dev {interface} nodad"
            ))?;
            xdp::attach(xdp::PASS, self.port(&port), &self.link_path())?;
        }
        director.sysctl("ipv4/ip_forward", "1")?;
        director.sysctl("ipv6/conf/all/forwarding", "1")
    }

    fn plug(&self, namespace: &Namespace, interface: &str, port: &str) -> Result<()> {
        join(End { namespace, interface }, self.port(port))?;
        self.switch.ip(&format!("link set {port} master {}", side(port)))
    }
}

/// The switch that a port belongs to.
fn side(port: &str) -> &'static str {
    if port == "client" || port.ends_with("front") { "fronts" } else { "backs" }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let pins = [1, 2].map(|number| pin_path(&self.name, number));
        for folder in pins.iter().chain([&self.link_path(), &self.folder]) {
            if let Err(error) = stale::remove_folder(folder) {
                eprintln!("{error:#}");
            }
        }
    }
}

fn pin_path(name: &str, number: usize) -> PathBuf {
    Path::new(BPF_FS).join(format!("{name}-lb{number}"))
}

/// Whether a machine has an address.
pub fn has(machine: &Namespace, address: IpAddr) -> Result<bool> {
    let shown = run(machine.command("ip").args(["-o", "address", "show"]))?;
    Ok(shown.contains(&format!(" {address}/")))
}

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
        let binaries = Binaries::of_this_profile()?;
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
        let config = config_file(self.pair, self.number);
        let mut detach = self.namespace.command(&self.binaries.agent);
        detach.arg("--config").arg(config).arg("detach");
        let stopped = self.process.terminate(STOP_WITHIN);
        if let Err(error) = stopped.and_then(|_| run(&mut detach)) {
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
max_flows = 65_536

{tables}"#,
        pins.display()
    )
}
