//! Two directors, clients and backends on one wire.
//!
//! ```text
//! client ---- switch ---- web1 .. webN
//!              | `------- front  lb1        198.51.100.2, 192.0.2.2
//!            switch ----- front  lb2        198.51.100.3, 192.0.2.3
//! ```
//!
//! Whoever is Active has the VIPs and the gateway of the backends, `192.0.2.1`; here the test moves them.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use lb_tests::agent::{Agent, CALM_CHECK, Settings, service};
use lb_tests::binaries::Binaries;
use lb_tests::clock::wait_until;
use lb_tests::http_client::Connection;
use lb_tests::link::join;
use lb_tests::load::TIMEOUT;
use lb_tests::namespace::Namespace;
use lb_tests::web::{PORT, Web};
use lb_tests::world::{Arms, Host, VIP_V4, VIP_V6, World, vips};

/// What the Active has.
const SHARED: [&str; 4] =
    ["203.0.113.10/32", "2001:db8:f::10/128 nodad", "192.0.2.1/24", "2001:db8:2::1/64 nodad"];

/// A key of the right length.
pub const KEY: &str = "0123456789abcdef0123456789abcdef";

/// The worlds of both directors; the first has the client and the backends.
pub struct Worlds {
    pub each: [World; 2],
    pub binaries: Binaries,
    pub webs: Vec<Web>,
}

/// What the test says of one director.
pub struct Part<'a> {
    /// Further lines of `[datapath]`.
    pub datapath: &'a str,
    /// The tables of services.
    pub services: &'a str,
    /// The text of its key file.
    pub key: &'a str,
}

impl Worlds {
    /// Wires them up, with web servers on all backends. The first director has the shared addresses.
    pub fn new(n_backends: u8) -> Result<Self> {
        let worlds = [World::new(Arms::One, n_backends)?, World::new(Arms::One, 0)?];
        let [first, second] = &worlds;
        second.client.namespace.ip("link set eth0 down")?;
        join(first.port("trunk"), second.port("trunk"))?;
        for world in &worlds {
            world.port("trunk").namespace.ip("link set trunk master bridge")?;
        }
        for (last, world) in [2, 3].into_iter().zip(&worlds) {
            world.director.ip("address flush dev front scope global")?;
            world.director.ip(&format!(
                "address add 198.51.100.{last}/24 dev front\naddress add 192.0.2.{last}/24 dev front\n\
                 address add 2001:db8:1::{last}/64 dev front nodad\n\
                 address add 2001:db8:2::{last}/64 dev front nodad"
            ))?;
        }
        first
            .client
            .namespace
            .ip("route replace 203.0.113.0/24 dev eth0\nroute replace 2001:db8:f::/64 dev eth0")?;
        let binaries = Binaries::of_this_profile()?;
        let webs = Web::start_all(first, &binaries)?;
        let both = Self { each: worlds, binaries, webs };
        both.give(0)?;
        Ok(both)
    }

    /// The service `shop` on both VIPs, with all backends.
    pub fn shop(&self, forward: &str, scheduler: &str) -> String {
        let more = format!(
            "protocol = \"tcp\"\nforward = \"{forward}\"\nscheduler = \"{scheduler}\"\nhealth_check = \"web\""
        );
        format!("{CALM_CHECK}\n{}", service("shop", &vips(PORT), &more, &self.each[0]))
    }

    /// Gives the shared addresses to one director, and has all ask for them anew.
    pub fn give(&self, to: usize) -> Result<()> {
        let director = &self.each[to].director;
        let lines = SHARED.map(|address| format!("address replace {address} dev front"));
        director.ip(&lines.join("\n"))?;
        self.ask_anew()
    }

    /// Takes them from one.
    pub fn take(&self, from: usize) -> Result<()> {
        let lines = SHARED
            .map(|address| format!("address del {} dev front", address.replace(" nodad", "")));
        self.each[from].director.ip(&lines.join("\n"))
    }

    /// Moves them, as a failover does.
    pub fn move_to(&self, to: usize) -> Result<()> {
        self.take(1 - to)?;
        self.give(to)
    }

    /// Has the backends take packets for the VIPs and answer clients past the director.
    pub fn give_backends_the_vips(&mut self) -> Result<()> {
        for host in &self.each[0].backends {
            host.answer_directly()?;
            host.namespace.ip(&format!(
                "address add {VIP_V4}/32 dev lo\naddress add {VIP_V6}/128 dev lo nodad"
            ))?;
        }
        let first = &self.each[0];
        let start = |host: &Host| {
            Web::start_on(first, host, &self.binaries, &[host.at(PORT), vips(PORT)].concat())
        };
        self.webs.clear();
        self.webs = first.backends.iter().map(start).collect::<Result<_>>()?;
        Ok(())
    }

    fn ask_anew(&self) -> Result<()> {
        let first = &self.each[0];
        let hosts = first.backends.iter().chain([&first.client]);
        for namespace in hosts.map(|host| &host.namespace) {
            forget_neighbours(namespace)?;
        }
        Ok(())
    }

    /// Writes key and configuration of a director, and starts its agent.
    pub fn start(&self, index: usize, part: &Part<'_>) -> Result<Agent<'_>> {
        let world = &self.each[index];
        Agent::start_from(world, &self.binaries, &self.write(index, part)?, &[])
    }

    /// The configuration of a director, whose key is written.
    pub fn write(&self, index: usize, part: &Part<'_>) -> Result<String> {
        use std::os::unix::fs::PermissionsExt;
        let world = &self.each[index];
        let key_file = world.folder().join("sync.key");
        std::fs::write(&key_file, part.key)?;
        std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600))?;
        let sync = format!(
            "[sync]\nlisten = \"198.51.100.{}:8848\"\npeers = [\"198.51.100.{}:8848\"]\nkey_file = \"{}\"\n",
            2 + index,
            3 - index,
            key_file.display()
        );
        let tables = format!("{}\n{sync}", part.services);
        // A large table takes a while to look through without optimization.
        let datapath = format!("max_flows = 16_384\n{}", part.datapath);
        let settings = Settings { datapath, tables };
        let file =
            settings.file(world).replace("manage_addresses = true", "manage_addresses = false");
        Ok(file.replace("node = \"director\"", &format!("node = \"lb{}\"", index + 1)))
    }

    /// A connection of the client.
    pub fn connect(&self, vip: SocketAddr) -> Result<Connection> {
        self.each[0].client.namespace.enter(|| Connection::open(vip, TIMEOUT))?
    }
}

/// Both VIPs.
pub fn both_vips() -> [SocketAddr; 2] {
    [SocketAddr::new(VIP_V4.into(), PORT), SocketAddr::new(VIP_V6.into(), PORT)]
}

fn forget_neighbours(namespace: &Namespace) -> Result<()> {
    namespace.ip("neigh flush dev eth0")
}

/// Waits until a director has taken in all that the other one has told.
pub fn wait_until_in_step(agents: [&Agent<'_>; 2]) -> Result<()> {
    wait_until("both directors to be in step", 4 * TIMEOUT, || {
        let mut in_step = true;
        for agent in agents {
            let status = agent.ctl_json(&["sync", "status"])?;
            let peer = status["peers"].get(0).context("find the peer")?;
            in_step &= status["is_in_step"] == true && peer["told"]["in_step"] == true;
        }
        Ok(in_step)
    })
}

/// Waits until a director knows so many flows.
pub fn wait_for_flows(agent: &Agent<'_>, n: u64) -> Result<()> {
    wait_until("the other director's flows to arrive", TIMEOUT, || {
        Ok(agent.ctl_json(&["conn", "list"])?["total"].as_u64() >= Some(n))
    })
}
