//! The real `lb-agent decap` on a world's backend, with the VIPs, and a web server that answers at them.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::binaries::Binaries;
use crate::capture::Capture;
use crate::clock::wait_until;
use crate::http_client::Connection;
use crate::http_server::{checksum, pattern};
use crate::link::End;
use crate::load::TIMEOUT;
use crate::pair::{self, Pair};
use crate::process::Process;
use crate::web::{PORT, Web};
use crate::world::{Host, World, vips};

const WITHIN: Duration = Duration::from_secs(30);

/// Many packets of full size.
pub const LARGE: usize = 1_000_000;

/// What the director's own addresses are on the backends' side.
pub const DIRECTORS: [&str; 4] = ["--from", "192.0.2.1", "--from", "2001:db8:2::1"];

/// Where backends are: where their logs and pins go, and the VIPs that they serve.
#[derive(Clone, Debug)]
pub struct Place {
    folder: PathBuf,
    links: PathBuf,
    vips: [SocketAddr; 2],
}

impl From<&World> for Place {
    fn from(world: &World) -> Self {
        Self { folder: world.folder().into(), links: world.link_path(), vips: vips(PORT) }
    }
}

impl From<&Pair> for Place {
    fn from(pair: &Pair) -> Self {
        Self { folder: pair.folder().into(), links: pair.link_path(), vips: pair::vips() }
    }
}

/// A backend that decapsulates.
#[derive(Debug)]
pub struct Backend<'w> {
    /// `lb-agent decap`.
    pub process: Process,
    place: Place,
    host: &'w Host,
}

impl<'w> Backend<'w> {
    /// Starts it on the first backend of a world, for both VIPs, and waits until the
    /// service manager hears that it is ready.
    pub fn start(world: &'w World, binaries: &Binaries, more: &[&str]) -> Result<Self> {
        let host = world.backends.first().context("find a backend")?;
        Self::start_on(world, host, binaries, more)
    }

    /// The same on any host.
    pub fn start_on(
        place: impl Into<Place>,
        host: &'w Host,
        binaries: &Binaries,
        more: &[&str],
    ) -> Result<Self> {
        let place = place.into();
        let path = place.folder.join("decap-notify");
        std::fs::remove_file(&path).or_else(absent).context("remove the socket of before")?;
        let manager = UnixDatagram::bind(&path).context("listen as the service manager")?;
        manager.set_nonblocking(true).context("listen without waiting")?;
        let mut process = spawn(place.clone(), host, binaries, more)?;
        let mut message = [0; 256];
        let is_ready = || {
            ensure!(process.is_running()?, "it has ended:\n{}", process.log());
            let length = manager.recv(&mut message).unwrap_or(0);
            Ok(message.get(..length).is_some_and(|heard| heard.starts_with(b"READY=1")))
        };
        wait_until("lb-agent decap to be ready", WITHIN, is_ready)?;
        Ok(Self { process, place, host })
    }

    /// A web server at the VIPs.
    pub fn serve(&self, binaries: &Binaries) -> Result<Web> {
        Web::start_in(&self.place.folder, self.host, binaries, &self.place.vips)
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

/// Where the programs of a backend are pinned.
pub fn pin_path(place: impl Into<Place>, host: &Host) -> PathBuf {
    place.into().links.join(format!("decap-{}", host.name))
}

fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Starts `lb-agent decap` on a host for both VIPs, with a log of its own; it may refuse to run.
pub fn spawn(
    place: impl Into<Place>,
    host: &Host,
    binaries: &Binaries,
    more: &[&str],
) -> Result<Process> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let place = place.into();
    let name = format!("lb-decap-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let mut command = host.namespace.command(&binaries.agent);
    command.args(["decap", "--interface", "eth0", "--address"]);
    for vip in place.vips {
        command.args(["--vip", &vip.ip().to_string()]);
    }
    command.arg("--state-dir").arg(place.folder.join(format!("decap-{}", host.name)));
    command.args(more).env("RUST_LOG", "info").env("NO_COLOR", "1");
    command.env("NOTIFY_SOCKET", place.folder.join("decap-notify"));
    let folder = place.folder.clone();
    command.arg("--pin-path").arg(pin_path(place, host));
    Process::start(&name, &mut command, &folder)
}

/// A connection of the client.
pub fn connect(world: &World, vip: SocketAddr) -> Result<Connection> {
    world.client.namespace.enter(|| Connection::open(vip, TIMEOUT))?
}

/// Downloads and uploads much through a VIP.
pub fn exchange(world: &World, vip: SocketAddr) -> Result<()> {
    let mut connection = connect(world, vip)?;
    let body = pattern(LARGE);
    let answer = connection.post("/echo-hash", &body)?;
    let expected = format!("{LARGE} {:016x}", checksum(&body));
    let hash = String::from_utf8(answer.body).context("read a hash")?;
    ensure!(hash == expected, "{vip}: {hash} instead of {expected}");
    let answer = connection.get(&format!("/bytes/{LARGE}"))?;
    ensure!(answer.body == body, "the body from {vip} was changed");
    ensure!(answer.backend == "web1", "{vip} was answered by {}", answer.backend);
    Ok(())
}

/// What the client sees of answers to its SYNs; byte 53 behind an IPv6 header without extensions has TCP's flags.
pub fn answers_seen(world: &World) -> Result<Capture> {
    let end = End { namespace: &world.client.namespace, interface: "eth0" };
    let filter = "(ip and tcp[tcpflags] == tcp-syn|tcp-ack) or (ip6 and ip6[53] == 0x12)";
    Capture::start(world, end, filter)
}

/// The size of segments that the client hears of over IPv4 and IPv6.
pub fn segments_heard(world: &World, answers: &Capture) -> Result<[u16; 2]> {
    let [v4, v6] = vips(PORT);
    Ok([segment_heard(world, answers, v4)?, segment_heard(world, answers, v6)?])
}

fn segment_heard(world: &World, answers: &Capture, vip: SocketAddr) -> Result<u16> {
    let local = connect(world, vip)?.local_address()?;
    let from = format!("{}.{PORT} > {}.{}", vip.ip(), local.ip(), local.port());
    answers.wait_for(&from)?;
    let text = answers.text();
    let options = text.split(&from).nth(1).and_then(|rest| rest.split("mss ").nth(1));
    let size = options.and_then(|rest| rest.split([',', ']']).next()?.parse().ok());
    size.with_context(|| format!("read the size of segments from\n{text}"))
}
