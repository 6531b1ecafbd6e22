//! A world in which everything runs: web servers on the backends, the agent, and all backends up.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use crate::agent::{Agent, Settings, quick_shop, shop};
use crate::binaries::Binaries;
use crate::http_client::Connection;
use crate::load::{Load, TIMEOUT, by_backend, failures, send_in_turn};
use crate::web::{PORT, Web};
use crate::world::{World, vips};

/// Everything that runs in a world.
#[derive(Debug)]
pub struct Stage<'w> {
    /// The agent.
    pub agent: Agent<'w>,
    /// The backends' web servers.
    pub webs: Vec<Web>,
    /// Where.
    pub world: &'w World,
    /// The project's binaries.
    pub binaries: Binaries,
}

impl<'w> Stage<'w> {
    /// The service `shop` on both VIPs, see [`shop`].
    pub fn shop(world: &'w World) -> Result<Self> {
        Self::set(world, &shop(world))
    }

    /// The same with health checks that soon notice a dead backend, see [`quick_shop`].
    pub fn quick_shop(world: &'w World) -> Result<Self> {
        Self::set(world, &quick_shop(world))
    }

    /// Any services, with a web server on each backend.
    pub fn set(world: &'w World, settings: &Settings) -> Result<Self> {
        Self::set_from(world, &settings.file(world))
    }

    /// The same from the text of a whole configuration file.
    pub fn set_from(world: &'w World, config: &str) -> Result<Self> {
        let listen: Vec<_> = world.backends.iter().map(|host| host.at(PORT)).collect();
        Self::set_at(world, config, &listen)
    }

    /// The same, with the web servers at other addresses.
    pub fn set_at(world: &'w World, config: &str, listen: &[[SocketAddr; 2]]) -> Result<Self> {
        Self::set_with(Binaries::of_this_profile()?, world, config, listen)
    }

    /// The same with these binaries.
    pub fn set_with(
        binaries: Binaries,
        world: &'w World,
        config: &str,
        listen: &[[SocketAddr; 2]],
    ) -> Result<Self> {
        let start = |(host, at): (_, &[SocketAddr; 2])| Web::start_on(world, host, &binaries, at);
        let webs = world.backends.iter().zip(listen).map(start).collect::<Result<_>>()?;
        let agent = Agent::start_from(world, &binaries, config, &[])?;
        let stage = Self { agent, webs, world, binaries };
        stage.agent.wait_until_all_up()?;
        Ok(stage)
    }

    /// Sends `n` requests over IPv4 and IPv6 in turn, which must not fail, and counts answers by backend.
    pub fn answers(&self, n: usize) -> Result<BTreeMap<String, usize>> {
        let exchanges = send_in_turn(&self.world.client.namespace, &vips(PORT), n)?;
        let failed = failures(&exchanges);
        ensure!(failed.is_empty(), "{} of {n} requests failed: {failed:?}", failed.len());
        Ok(by_backend(&exchanges))
    }

    /// The names of those who answer `n` requests.
    pub fn answering(&self, n: usize) -> Result<Vec<String>> {
        Ok(self.answers(n)?.into_keys().collect())
    }

    /// Starts to send requests through the VIPs, over both families at once.
    pub fn load(&self) -> Result<Load> {
        Load::start(&self.world.client.namespace, &vips(PORT))
    }

    /// A connection of the client.
    pub fn connect(&self, address: SocketAddr) -> Result<Connection> {
        self.world.client.namespace.enter(|| Connection::open(address, TIMEOUT))?
    }

    /// A connection of the client from a port of its choice.
    pub fn connect_from(&self, port: u16, address: SocketAddr) -> Result<Connection> {
        let namespace = &self.world.client.namespace;
        namespace.enter(|| Connection::open_from(port, address, TIMEOUT))?
    }

    /// A connection through a VIP, and the index of the backend that it leads to.
    pub fn connect_through(&self, vip: SocketAddr) -> Result<(Connection, usize)> {
        let mut connection = self.connect(vip)?;
        let name = connection.get("/")?.backend;
        let mut names = self.world.backends.iter().map(|host| &host.name);
        let index = names.position(|other| *other == name).context("find the backend")?;
        Ok((connection, index))
    }

    /// How many packets ended in a verdict.
    pub fn packets(&self, verdict: &str) -> Result<u64> {
        let rows = self.agent.ctl_json(&["drops", "--all"])?;
        let rows = rows.as_array().context("read the list of verdicts")?;
        let row = rows.iter().find(|row| row["verdict"] == verdict);
        row.and_then(|row| row["packets"].as_u64()).with_context(|| format!("find {verdict}"))
    }

    /// Kills a web server.
    pub fn kill_web(&mut self, index: usize) -> Result<()> {
        self.webs.get_mut(index).context("find the web server")?.process.kill()
    }

    /// Starts a web server again, and waits until its backend is up.
    pub fn revive_web(&mut self, index: usize) -> Result<()> {
        let host = self.world.backends.get(index).context("find the backend")?;
        self.revive_web_at(index, &host.at(PORT))
    }

    /// The same at other addresses.
    pub fn revive_web_at(&mut self, index: usize, listen: &[SocketAddr]) -> Result<()> {
        let host = self.world.backends.get(index).context("find the backend")?;
        let web = Web::start_on(self.world, host, &self.binaries, listen)?;
        *self.webs.get_mut(index).context("find the web server")? = web;
        self.agent.wait_for_health(&host.name, "up")
    }
}
