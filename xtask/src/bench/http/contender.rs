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
    /// The same behind the kernel's SYN proxy.
    Synproxy,
}

impl Contender {
    /// All that HTTP is measured through; nothing first.
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
            Self::Synproxy => "nftables synproxy",
        }
    }
}

/// Where clients are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clients {
    /// In front of the director.
    InFront,
    /// The last host of the backends' network is one too, which backends must not answer directly.
    OnBothSides,
}

impl Clients {
    /// The hosts that serve.
    fn servers(self, world: &World) -> &[Host] {
        match (self, world.backends.split_last()) {
            (Self::OnBothSides, Some((_, servers))) => servers,
            (Self::InFront | Self::OnBothSides, _) => &world.backends,
        }
    }
}

/// A contender at work.
pub(crate) struct Running<'w> {
    contender: Contender,
    world: &'w World,
    /// They end with this value.
    processes: Vec<Process>,
    agent: Option<Agent<'w>>,
}

impl<'w> Running<'w> {
    /// Starts the backends and the balancer, and waits until requests are answered.
    pub(crate) fn start(
        (contender, clients): (Contender, Clients),
        world: &'w World,
        binaries: &Binaries,
    ) -> Result<Self> {
        let mut processes = Vec::new();
        let servers = clients.servers(world);
        for host in servers {
            processes.push(nginx(world, &host.namespace, &host.name, WEB_SERVER)?);
        }
        let mut agent = None;
        match contender {
            Contender::Direct => {}
            Contender::Sluice => {
                agent = Some(Agent::start(world, binaries, &service(servers, clients))?);
            }
            Contender::Haproxy => processes.push(haproxy(world, servers)?),
            Contender::Nginx => {
                own_the_vip(world)?;
                processes.push(nginx(world, &world.director, "balancer", &stream(servers))?);
            }
            Contender::Nftables => translate(world, servers)?,
            Contender::Synproxy => prove(world, servers)?,
        }
        let running = Self { contender, world, processes, agent };
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

    /// Waits until it can answer SYNs with cookies.
    pub(crate) fn wait_for_cookies(&self) -> Result<()> {
        self.agent.as_ref().map_or(Ok(()), Agent::wait_for_cookies)
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

fn of_each(servers: &[Host], line: impl Fn(&Host) -> String) -> String {
    servers.iter().map(line).collect()
}

fn service(servers: &[Host], clients: Clients) -> Settings {
    let backends = of_each(servers, |Host { name, v4, .. }| {
        format!("[[service.backend]]\nname = \"{name}\"\naddress = \"{v4}:{PORT}\"\n")
    });
    let (forward, datapath) = match clients {
        Clients::InFront => ("nat", ""),
        Clients::OnBothSides => {
            ("full-nat", "full_nat = { sources = [\"192.0.2.1\"], ports = \"20000-29999\" }\n")
        }
    };
    let tables = format!(
        "[[service]]\nname = \"shop\"\nlisten = [\"{VIP_V4}:{PORT}\"]\nforward = \"{forward}\"\n\
         health_check = {{ type = \"tcp\", interval = \"2s\" }}\n{backends}"
    );
    Settings { tables, datapath: datapath.to_owned() }
}

/// Proxies listen on the VIP, so the director must have it.
fn own_the_vip(world: &World) -> Result<()> {
    world.director.ip(&format!("address add {VIP_V4}/32 dev front"))
}

fn haproxy(world: &World, servers: &[Host]) -> Result<Process> {
    own_the_vip(world)?;
    let servers = of_each(servers, |Host { name, v4, .. }| {
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

fn stream(servers: &[Host]) -> String {
    let servers = of_each(servers, |host| format!("server {}:{PORT}; ", host.v4));
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

fn translate(world: &World, servers: &[Host]) -> Result<()> {
    let chain = "chain prerouting { type nat hook prerouting priority dstnat;";
    rule(world, &format!("{chain}\n{}\n}}", translation(servers)))
}

/// As nft(8) has it, `synproxy` statement. The SYN proxy opens the connection to the backend itself, so that it is an
/// own one of the director, which is translated on its way out.
fn prove(world: &World, servers: &[Host]) -> Result<()> {
    own_the_vip(world)?;
    world.director.sysctl("netfilter/nf_conntrack_tcp_loose", "0")?;
    let to_vip = format!("ip daddr {VIP_V4} tcp dport {PORT}");
    let translation = translation(servers);
    rule(
        world,
        &format!(
            "chain raw {{ type filter hook prerouting priority raw;\n\
             {to_vip} tcp flags & (fin | syn | rst | ack) == syn notrack\n}}\n\
             chain input {{ type filter hook input priority filter;\n\
             {to_vip} ct state invalid,untracked synproxy mss 1460 wscale 7 timestamp sack-perm\n\
             {to_vip} ct state invalid drop\n}}\n\
             chain output {{ type nat hook output priority -100;\n{translation}\n}}\n\
             chain postrouting {{ type nat hook postrouting priority srcnat;\n\
             ip saddr 192.0.2.0/24 ct status dnat masquerade\n}}"
        ),
    )
}

fn translation(servers: &[Host]) -> String {
    let servers = servers.iter().enumerate();
    let map: Vec<_> = servers.map(|(number, host)| format!("{number} : {}", host.v4)).collect();
    let (n, map) = (map.len(), map.join(", "));
    format!("ip daddr {VIP_V4} tcp dport {PORT} dnat to numgen inc mod {n} map {{ {map} }}")
}

fn rule(world: &World, chains: &str) -> Result<()> {
    let table = format!("table ip bench {{\n{chains}\n}}\n");
    run_with_input(world.director.command("nft").args(["-f", "-"]), &table)?;
    Ok(())
}

fn write(world: &World, name: &str, text: &str) -> Result<std::path::PathBuf> {
    let path = world.folder().join(name);
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}
