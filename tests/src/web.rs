//! A backend's web server: the HTTP server of this crate as a process in the backend's namespace.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::binaries::Binaries;
use crate::clock::wait_until;
use crate::http_client::get;
use crate::process::Process;
use crate::world::{Host, World};

const START_WITHIN: Duration = Duration::from_secs(10);

/// The port that backends serve on.
pub const PORT: u16 = 80;

/// A running web server.
#[derive(Debug)]
pub struct Web {
    /// The process.
    pub process: Process,
}

impl Web {
    /// Starts a server on both addresses of `host`, named like it, and waits until it answers.
    pub fn start(world: &World, host: &Host, binaries: &Binaries) -> Result<Self> {
        Self::start_on(world, host, binaries, &host.at(PORT))
    }

    /// The same on the addresses given.
    pub fn start_on(
        world: &World,
        host: &Host,
        binaries: &Binaries,
        listen: &[SocketAddr],
    ) -> Result<Self> {
        Self::start_in(world.folder(), host, binaries, listen)
    }

    /// The same with another folder for its log.
    pub fn start_in(
        folder: &Path,
        host: &Host,
        binaries: &Binaries,
        listen: &[SocketAddr],
    ) -> Result<Self> {
        let mut command = host.namespace.command(&binaries.xtask);
        command.args(["serve", "--name", &host.name]);
        for address in listen {
            command.arg("--listen").arg(address.to_string());
        }
        let mut process = Process::start(&host.name, &mut command, folder)?;
        let answers = || {
            anyhow::ensure!(process.is_running()?, "{} has ended:\n{}", host.name, process.log());
            let mut open = listen.iter().map(|at| get(*at, "/healthz", START_WITHIN));
            Ok(open.all(|answer| answer.is_ok()))
        };
        host.namespace
            .enter(|| wait_until("the web server to answer", START_WITHIN, answers))?
            .with_context(|| format!("start the web server of {}", host.name))?;
        Ok(Self { process })
    }

    /// One server for each backend of the world.
    pub fn start_all(world: &World, binaries: &Binaries) -> Result<Vec<Self>> {
        world.backends.iter().map(|host| Self::start(world, host, binaries)).collect()
    }
}
