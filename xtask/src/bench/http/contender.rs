//! The balancers, each in the director of a world of its own.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use aya::programs::ProgramInfo;
use lb_tests::agent::{Agent, Settings};
use lb_tests::binaries::Binaries;
use lb_tests::clock::wait_until;
use lb_tests::command::{run, run_with_input};
use lb_tests::http_client::get;
use lb_tests::namespace::Namespace;
use lb_tests::process::Process;
use lb_tests::world::{Host, VIP_V4, World};

use super::cpu;

const PORT: u16 = 80;
const START_WITHIN: Duration = Duration::from_secs(10);

/// What stands between clients and backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    /// Nothing but a router.
    Direct,
    /// The real agent.
    Sluice,
    /// `HAProxy` in TCP mode.
    Haproxy,
    /// nginx with its stream module.
    Nginx,
    /// The kernel's DNAT.
    Nftables,
}

impl Contender {
    /// All; nothing first.
    pub(crate) const ALL: [Self; 5] =
        [Self::Direct, Self::Sluice, Self::Haproxy, Self::Nginx, Self::Nftables];

    /// As results name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "no balancer",
            Self::Sluice => "Sluice",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx stream",
            Self::Nftables => "nftables DNAT",
        }
    }
}

/// A contender at work.
pub(crate) struct Running<'w> {
    contender: Contender,
    world: &'w World,
    /// They end with this value.
    processes: Vec<Process>,
    _agent: Option<Agent<'w>>,
}

impl<'w> Running<'w> {
    /// Starts the backends and the balancer, and waits until requests are answered.
    pub(crate) fn start(
        contender: Contender,
        world: &'w World,
        binaries: &Binaries,
    ) -> Result<Self> {
        let mut processes = Vec::new();
        for host in &world.backends {
            processes.push(nginx(world, &host.namespace, &host.name, WEB_SERVER)?);
        }
        let mut agent = None;
        match contender {
            Contender::Direct => {}
            Contender::Sluice => agent = Some(Agent::start(world, binaries, &service(world))?),
            Contender::Haproxy => processes.push(haproxy(world)?),
            Contender::Nginx => {
                own_the_vip(world)?;
                processes.push(nginx(world, &world.director, "balancer", &stream(world))?);
            }
            Contender::Nftables => translate(world)?,
        }
        let running = Self { contender, world, processes, _agent: agent };
        running.wait()?;
        Ok(running)
    }

    fn wait(&self) -> Result<()> {
        let address = self.socket();
        let answers = || Ok(get(address, "/", START_WITHIN).is_ok_and(|it| it.status == 200));
        let what = format!("{} to answer", self.contender.name());
        let waited = self.client().enter(|| wait_until(&what, START_WITHIN, answers))?;
        let logs = || self.processes.iter().map(Process::log).collect::<Vec<_>>().join("\n");
        waited.with_context(|| format!("its processes said:\n{}", logs()))
    }

    /// Where requests come from.
    pub(crate) fn client(&self) -> &Namespace {
        &self.world.client.namespace
    }

    fn socket(&self) -> SocketAddr {
        let backend = self.world.backends.first().map(|host| host.v4);
        let address = match (self.contender, backend) {
            (Contender::Direct, Some(backend)) => backend,
            _ => VIP_V4,
        };
        (IpAddr::from(address), PORT).into()
    }

    /// Where requests go.
    pub(crate) fn address(&self) -> String {
        self.socket().to_string()
    }

    /// CPU time of the processes in the director's namespace, and of the XDP program.
    pub(crate) fn own_time(&self) -> Result<Duration> {
        let pids = run(Command::new("ip").args(["netns", "pids", self.world.director.name()]))?;
        let pids = pids.split_whitespace().filter_map(|pid| pid.parse().ok());
        let processes: Duration = pids.map(cpu::process).sum();
        let program = self.world.pin_path().join("program");
        let has_one = self.contender == Contender::Sluice;
        let program = if has_one { run_time(&program)? } else { Duration::ZERO };
        Ok(processes + program)
    }
}

fn run_time(program: &Path) -> Result<Duration> {
    Ok(ProgramInfo::from_pin(program).context("look at the program")?.run_time())
}

fn at_backends(world: &World, line: impl Fn(&Host) -> String) -> String {
    world.backends.iter().map(line).collect()
}

fn service(world: &World) -> Settings {
    let backends = at_backends(world, |Host { name, v4, .. }| {
        format!("[[service.backend]]\nname = \"{name}\"\naddress = \"{v4}:{PORT}\"\n")
    });
    let tables = format!(
        "[[service]]\nname = \"shop\"\nlisten = [\"{VIP_V4}:{PORT}\"]\n\
         health_check = {{ type = \"tcp\", interval = \"2s\" }}\n{backends}"
    );
    Settings { tables, ..Settings::default() }
}

/// Proxies listen on the VIP, so the director must have it.
fn own_the_vip(world: &World) -> Result<()> {
    world.director.ip(&format!("address add {VIP_V4}/32 dev front"))
}

fn haproxy(world: &World) -> Result<Process> {
    own_the_vip(world)?;
    let servers = at_backends(world, |Host { name, v4, .. }| {
        format!(" server {name} {v4}:{PORT} check inter 2s\n")
    });
    let config = format!(
        "global\n maxconn 4000\n nbthread 2\ndefaults\n mode tcp\n timeout connect 5s\n \
         timeout client 30s\n timeout server 30s\nlisten shop\n bind {VIP_V4}:{PORT}\n \
         balance roundrobin\n{servers}"
    );
    let file = write(world, "haproxy.cfg", &config)?;
    let mut command = world.director.command("haproxy");
    Process::start("haproxy", command.arg("-db").arg("-f").arg(file), world.folder())
}

const WEB_SERVER: &str = "http {
 access_log off;
 keepalive_requests 1000000000;
 server { listen 80 reuseport; location / { return 200 \"hello\\n\"; } }
}";

fn stream(world: &World) -> String {
    let servers = at_backends(world, |host| format!("server {}:{PORT}; ", host.v4));
    format!(
        "stream {{\n upstream shop {{ {servers} }}\n \
         server {{ listen {VIP_V4}:{PORT} reuseport; proxy_pass shop; }}\n}}"
    )
}

/// Starts nginx with a block of its configuration.
fn nginx(world: &World, namespace: &Namespace, name: &str, block: &str) -> Result<Process> {
    let module =
        if block.starts_with("stream") { "load_module modules/ngx_stream_module.so;" } else { "" };
    let pid = world.folder().join(format!("{name}.pid"));
    let config = format!(
        "{module}\ndaemon off;\npid {};\nerror_log stderr;\nworker_processes 2;\n\
         events {{ worker_connections 8192; }}\n{block}\n",
        pid.display()
    );
    let file = write(world, &format!("{name}.conf"), &config)?;
    let mut command = namespace.command("nginx");
    Process::start(name, command.arg("-c").arg(file), world.folder())
}

fn translate(world: &World) -> Result<()> {
    let servers = world.backends.iter().enumerate();
    let map: Vec<_> = servers.map(|(number, host)| format!("{number} : {}", host.v4)).collect();
    let rules = format!(
        "table ip bench {{\nchain prerouting {{ type nat hook prerouting priority dstnat;\n\
         ip daddr {VIP_V4} tcp dport {PORT} dnat to numgen inc mod {} map {{ {} }}\n}}\n}}\n",
        map.len(),
        map.join(", ")
    );
    run_with_input(world.director.command("nft").args(["-f", "-"]), &rules)?;
    Ok(())
}

fn write(world: &World, name: &str, text: &str) -> Result<std::path::PathBuf> {
    let path = world.folder().join(name);
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}
