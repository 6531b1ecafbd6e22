//! The standard world: a client, a director and backends, for IPv4 and IPv6.
//!
//! ```text
//! two arms:   client ---- front  director  back ---- switch ---- web1 .. webN
//! one arm:    client ---- switch ---- web1 .. webN
//!                           `------- front  director
//! ```
//!
//! The front network is `198.51.100.0/24` and `2001:db8:1::/64`, the back network `192.0.2.0/24` and
//! `2001:db8:2::/64`; the director is `.1` in both and routes between them, so that the world works as plain
//! routing before Sluice is attached. With one arm both networks are on the one wire.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};

use crate::bpf_fs::{BPF_FS, ensure_mounted};
use crate::command::run;
use crate::link::{End, join};
use crate::namespace::Namespace;
use crate::{stale, xdp};

/// The VIP of examples, IPv4.
pub const VIP_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The VIP of examples, IPv6.
pub const VIP_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 0x10);

const DIRECTOR_FRONT: &str = "address add 198.51.100.1/24 dev front
address add 2001:db8:1::1/64 dev front nodad";
const CLIENT_ROUTES: &str = "route add default via 198.51.100.1
route add default via 2001:db8:1::1";
const BACKEND_ROUTES: &str = "route add default via 192.0.2.1
route add default via 2001:db8:2::1";

/// Both VIPs with `port`.
pub fn vips(port: u16) -> [SocketAddr; 2] {
    [SocketAddr::new(VIP_V4.into(), port), SocketAddr::new(VIP_V6.into(), port)]
}

/// How many interfaces the director has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arms {
    /// Clients and backends on the same interface, `front`.
    One,
    /// Clients on `front`, backends on `back`.
    Two,
}

/// A machine with one interface, `eth0`.
#[derive(Debug)]
pub struct Host {
    /// Its short name: `client`, `web1`.
    pub name: String,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

impl Host {
    /// Both addresses with `port`.
    pub fn at(&self, port: u16) -> [SocketAddr; 2] {
        [SocketAddr::new(self.v4.into(), port), SocketAddr::new(self.v6.into(), port)]
    }

    /// Lets a backend's replies go to the client directly ([`Arms::One`]), and leaves ARP for the VIP to the director.
    pub fn answer_directly(&self) -> Result<()> {
        self.namespace
            .ip("route add 198.51.100.0/24 dev eth0\nroute add 2001:db8:1::/64 dev eth0")?;
        self.namespace.sysctl("ipv4/conf/all/arp_ignore", "1")?;
        self.namespace.sysctl("ipv4/conf/all/arp_announce", "2")
    }

    pub(crate) fn create(world: &str, name: &str, v4: Ipv4Addr, v6: Ipv6Addr) -> Result<Self> {
        let namespace = Namespace::create(&format!("{world}-{name}"))?;
        Ok(Self { name: name.to_owned(), namespace, v4, v6 })
    }

    /// Gives `eth0` its addresses, and sends all else by `routes`.
    pub(crate) fn configure(&self, routes: &str) -> Result<()> {
        self.namespace.ip(&format!(
            "address add {}/24 dev eth0\naddress add {}/64 dev eth0 nodad\n{routes}",
            self.v4, self.v6
        ))
    }
}

/// A client, a director and backends.
#[derive(Debug)]
pub struct World {
    /// The client.
    pub client: Host,
    /// The director.
    pub director: Namespace,
    /// The backends: `web1`, `web2` and so on.
    pub backends: Vec<Host>,
    name: String,
    arms: Arms,
    switch: Namespace,
    folder: PathBuf,
    keep: AtomicBool,
}

impl World {
    /// A world with a name of its own.
    pub fn new(arms: Arms, n_backends: u8) -> Result<Self> {
        stale::remove_dead_worlds()?;
        Self::create(&stale::unique_name(), arms, n_backends)
    }

    /// A world with this name, in place of one that has it.
    pub fn create(name: &str, arms: Arms, n_backends: u8) -> Result<Self> {
        ensure!(nix::unistd::geteuid().is_root(), "network namespaces need root");
        ensure_mounted()?;
        stale::remove_world(name)?;
        let front = (Ipv4Addr::new(198, 51, 100, 10), v6_of(1, 10));
        let world = Self {
            client: Host::create(name, "client", front.0, front.1)?,
            director: Namespace::create(&format!("{name}-director"))?,
            backends: (1..=n_backends)
                .map(|number| backend(name, number))
                .collect::<Result<Vec<_>>>()?,
            name: name.to_owned(),
            arms,
            switch: Namespace::create(&format!("{name}-switch"))?,
            folder: Path::new(stale::FOLDERS).join(name),
            keep: AtomicBool::new(false),
        };
        for folder in [&world.folder, &world.link_path()] {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("make {}", folder.display()))?;
        }
        world.wire().with_context(|| format!("wire up the world {name}"))?;
        Ok(world)
    }

    /// Its name, with which the names of its namespaces and its pin folder begin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The director's interfaces.
    pub fn interfaces(&self) -> &'static [&'static str] {
        match self.arms {
            Arms::One => &["front"],
            Arms::Two => &["front", "back"],
        }
    }

    /// Configuration files, sockets and logs of this world.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the agent of this world pins.
    pub fn pin_path(&self) -> PathBuf {
        Path::new(BPF_FS).join(&self.name)
    }

    /// Where links of programs are pinned that are not the agent's.
    pub fn link_path(&self) -> PathBuf {
        Path::new(BPF_FS).join(format!("{}-links", self.name))
    }

    /// Leaves the world behind when this value is dropped; [`stale::remove_world`] removes it.
    pub fn keep(&self) {
        self.keep.store(true, Ordering::Relaxed);
        self.client.namespace.keep();
        self.director.keep();
        self.switch.keep();
        self.backends.iter().for_each(|host| host.namespace.keep());
    }

    /// Makes the wire between client and director anew after it was removed ([`Arms::Two`]).
    pub fn rewire_client(&self) -> Result<()> {
        join(self.client_end(), self.front_end())?;
        self.wake(self.client_end())?;
        self.director.ip(DIRECTOR_FRONT)?;
        self.client.configure(CLIENT_ROUTES)
    }

    fn client_end(&self) -> End<'_> {
        End { namespace: &self.client.namespace, interface: "eth0" }
    }

    fn front_end(&self) -> End<'_> {
        End { namespace: &self.director, interface: "front" }
    }

    /// A port of the switch, where frames are seen as they are on the wire.
    pub fn port<'w>(&'w self, name: &'w str) -> End<'w> {
        End { namespace: &self.switch, interface: name }
    }

    /// Pulls a backend's cable out of the switch.
    pub fn unplug(&self, port: &str) -> Result<()> {
        self.switch.ip(&format!("link set {port} down"))
    }

    /// Has the switch tag every frame of a port, see [`xdp::TAG`] ([`Arms::One`]).
    pub fn tag(&self, port: &str) -> Result<()> {
        // Else the tag would travel beside the frame, where XDP does not see it.
        run(self.switch.command("ethtool").args(["-K", "director", "txvlan", "off"]))?;
        xdp::attach(xdp::TAG, self.port(port), &self.link_path())
    }

    /// Puts the cable in again.
    pub fn plug_in(&self, port: &str) -> Result<()> {
        self.switch.ip(&format!("link set {port} up"))
    }

    fn wire(&self) -> Result<()> {
        self.switch.sysctl("ipv6/conf/default/disable_ipv6", "1")?;
        self.switch.ip("link add bridge type bridge mcast_snooping 0\nlink set bridge up")?;
        self.wire_director()?;
        self.client.configure(CLIENT_ROUTES)?;
        for host in &self.backends {
            let eth0 = End { namespace: &host.namespace, interface: "eth0" };
            self.plug(eth0, &host.name)?;
            host.configure(BACKEND_ROUTES)?;
        }
        Ok(())
    }

    fn wire_director(&self) -> Result<()> {
        for redirects in ["all", "default"] {
            self.director.sysctl(&format!("ipv4/conf/{redirects}/send_redirects"), "0")?;
        }
        let (client, front) = (self.client_end(), self.front_end());
        let inner = match self.arms {
            Arms::One => {
                self.plug(client, "client")?;
                self.plug(front, "director")?;
                self.wake(self.port("director"))?;
                "front"
            }
            Arms::Two => {
                join(client, front)?;
                self.wake(client)?;
                let back = End { namespace: &self.director, interface: "back" };
                self.plug(back, "director")?;
                self.wake(self.port("director"))?;
                "back"
            }
        };
        self.director.ip(DIRECTOR_FRONT)?;
        self.director.ip(&format!(
            "address add 192.0.2.1/24 dev {inner}\naddress add 2001:db8:2::1/64 dev {inner} nodad"
        ))?;
        self.director.sysctl("ipv4/ip_forward", "1")?;
        self.director.sysctl("ipv6/conf/all/forwarding", "1")
    }

    /// Lets the other end of one of the director's links take what the director sends back.
    fn wake(&self, end: End<'_>) -> Result<()> {
        xdp::attach(xdp::PASS, end, &self.link_path())
    }

    /// Joins an end to the switch, at the port with this name.
    fn plug(&self, end: End<'_>, port: &str) -> Result<()> {
        join(end, self.port(port))?;
        self.switch.ip(&format!("link set {port} master bridge"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.keep.load(Ordering::Relaxed) {
            return;
        }
        for folder in [&self.pin_path(), &self.link_path(), &self.folder] {
            if let Err(error) = stale::remove_folder(folder) {
                eprintln!("{error:#}");
            }
        }
    }
}

pub(crate) fn backend(world: &str, number: u8) -> Result<Host> {
    let last = number.checked_add(10).context("count the backends of a world")?;
    Host::create(world, &format!("web{number}"), Ipv4Addr::new(192, 0, 2, last), v6_of(2, last))
}

/// An address whose last group reads like the decimal `host`.
pub(crate) fn v6_of(network: u16, host: u8) -> Ipv6Addr {
    let digits =
        u16::from(host % 10) + 16 * u16::from(host / 10 % 10) + 256 * u16::from(host / 100);
    Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, 0, digits)
}

/// Whether `to` answers an echo request from a namespace.
pub fn ping(from: &Namespace, to: IpAddr) -> Result<bool> {
    let mut command = from.command("ping");
    command.args(["-n", "-c", "1", "-W", "2", &to.to_string()]);
    let output = command.output().context("start ping")?;
    // ping(8): 1 is no answer, 2 is any other error.
    match output.status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => bail!("ping {to}: {}", String::from_utf8_lossy(&output.stderr).trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_read_alike() {
        assert_eq!(v6_of(2, 11).to_string(), "2001:db8:2::11");
        assert_eq!(v6_of(2, 123).to_string(), "2001:db8:2::123");
    }
}
