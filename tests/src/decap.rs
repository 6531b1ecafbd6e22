//! The real `lb-agent decap` on a world's backend, with the VIPs, and a web server that answers at them.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::binaries::Binaries;
use crate::clock::wait_until;
use crate::process::Process;
use crate::web::{PORT, Web};
use crate::world::{Host, VIP_V4, VIP_V6, World, vips};

const WITHIN: Duration = Duration::from_secs(30);

/// What the director's own addresses are on the backends' side.
pub const DIRECTORS: [&str; 4] = ["--from", "192.0.2.1", "--from", "2001:db8:2::1"];

/// A backend that decapsulates.
#[derive(Debug)]
pub struct Backend<'w> {
    /// `lb-agent decap`.
    pub process: Process,
    world: &'w World,
    host: &'w Host,
}

impl<'w> Backend<'w> {
    /// Starts it on the first backend of a world, for both VIPs, and waits until the
    /// service manager hears that it is ready.
    pub fn start(world: &'w World, binaries: &Binaries, more: &[&str]) -> Result<Self> {
        let host = world.backends.first().context("find a backend")?;
        let path = world.folder().join("decap-notify");
        std::fs::remove_file(&path).or_else(absent).context("remove the socket of before")?;
        let manager = UnixDatagram::bind(&path).context("listen as the service manager")?;
        manager.set_nonblocking(true).context("listen without waiting")?;
        let mut process = spawn(world, host, binaries, more)?;
        let mut message = [0; 256];
        let is_ready = || {
            ensure!(process.is_running()?, "it has ended:\n{}", process.log());
            let length = manager.recv(&mut message).unwrap_or(0);
            Ok(message.get(..length).is_some_and(|heard| heard.starts_with(b"READY=1")))
        };
        wait_until("lb-agent decap to be ready", WITHIN, is_ready)?;
        Ok(Self { process, world, host })
    }

    /// A web server at the VIPs.
    pub fn serve(&self, binaries: &Binaries) -> Result<Web> {
        Web::start_on(self.world, self.host, binaries, &vips(PORT))
    }

    /// Asks for the counters, and waits until this line of them is logged.
    pub fn wait_for_count(&self, verdict: &str) -> Result<()> {
        let line = format!("{verdict}: ");
        wait_until(&format!("{line} in\n{}", self.process.log()), WITHIN, || {
            self.process.signal(Signal::SIGUSR1)?;
            Ok(self.process.log().contains(&line))
        })
    }
}

fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Starts `lb-agent decap` on a host for both VIPs, with a log of its own; it may refuse to run.
pub fn spawn(world: &World, host: &Host, binaries: &Binaries, more: &[&str]) -> Result<Process> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("lb-decap-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let mut command = host.namespace.command(&binaries.agent);
    command.args(["decap", "--interface", "eth0", "--address"]);
    command.args(["--vip", &VIP_V4.to_string(), "--vip", &VIP_V6.to_string()]);
    command.arg("--pin-path").arg(world.pin_path());
    command.arg("--state-dir").arg(world.folder().join("decap"));
    command.args(more).env("RUST_LOG", "info").env("NO_COLOR", "1");
    command.env("NOTIFY_SOCKET", world.folder().join("decap-notify"));
    Process::start(&name, &mut command, world.folder())
}
