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

use anyhow::{Context, Result, ensure};

use crate::bpf_fs::{BPF_FS, ensure_mounted};
use crate::command::run;
use crate::link::{End, join};
use crate::namespace::Namespace;
use crate::stale;
use crate::web::PORT;
use crate::world::{Host, backend, v6_of};
use crate::xdp;

mod director;

pub use director::Director;

/// The VIP of the pair, IPv4.
pub const VIP_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 100);
/// The VIP of the pair, IPv6.
pub const VIP_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x100);

const GATEWAYS: &str = "route add default via 192.0.2.1\nroute add default via 2001:db8:2::1";

/// The routing table of answers that do not go by a director.
const ANSWERS: u8 = 100;

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
    /// Flows that each director has room for.
    pub max_flows: u32,
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
            max_flows: 65_536,
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

    /// Where links of programs are pinned that are not the agents'.
    pub fn link_path(&self) -> PathBuf {
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

    /// The same for both ports of a director, at once.
    pub fn deafen_director(&self, number: usize, is_deaf: bool) -> Result<()> {
        let line = |side: &str| {
            let master = if is_deaf { "nomaster".to_owned() } else { format!("master {side}s") };
            format!("link set lb{number}-{side} {master}\n")
        };
        self.switch.ip(&["front", "back"].map(line).concat())
    }

    /// Lets answers from the VIPs go to the client directly, by a second interface of each backend; its other ones go by
    /// the gateway as before.
    pub fn answer_directly(&self) -> Result<()> {
        for host in &self.backends {
            let port = format!("{}-front", host.name);
            self.plug(&host.namespace, "eth1", &port)?;
            for (key, value) in [("arp_ignore", "1"), ("arp_announce", "2"), ("rp_filter", "0")] {
                host.namespace.sysctl(&format!("ipv4/conf/all/{key}"), value)?;
            }
            let [.., last] = host.v4.octets();
            // Without an address of its own the interface would ask for neighbours in the name of the VIP.
            host.namespace.ip(&format!(
                "address add 198.51.100.{last}/32 dev eth1\n\
                 route add 198.51.100.0/24 dev eth1 table {ANSWERS}\n\
                 route add 2001:db8:1::/64 dev eth1 table {ANSWERS}"
            ))?;
            for (family, vip) in [("-4", VIP_V4.to_string()), ("-6", VIP_V6.to_string())] {
                let mut rule = host.namespace.command("ip");
                rule.args([family, "rule", "add", "from", &vip, "lookup", &ANSWERS.to_string()]);
                run(&mut rule)?;
            }
        }
        Ok(())
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
