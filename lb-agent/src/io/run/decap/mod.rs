//! `lb-agent decap`: a backend's side of tunnels, from its start to its end. It has no configuration file, no
//! API and nothing to decide; it keeps the programs' tables in step with the host.

mod advice;
mod args;

use std::collections::BTreeSet;
use std::time::Duration;

use lb_common::decap::Verdict;
use lb_common::layout::Count;
use nix::sys::signal::{SigSet, Signal};
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::mpsc;

use super::beside::{every, next};
use super::open::permitted;
use super::{StartError, signals};
use crate::io::datapath::{Decap, Lock, Result as DatapathResult};
use crate::io::doctor::addresses;
use crate::io::message::Message;
use crate::io::netlink::{Addresses, follow_addresses, links};
use crate::io::{notify, store};
use crate::model::decap::{Tables, Tunnels};
use advice::{Facts, advice};

pub use args::DecapArgs;

/// Between two looks at the host that no news asked for.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// IEEE 802.3: the MTU where an interface does not tell.
const USUAL_MTU: u32 = 1_500;
/// Where VIPs are put: no neighbour asks there.
const LOOPBACK: &str = "lo";

/// Runs until it is told to stop.
pub async fn run(args: DecapArgs) -> Result<(), StartError> {
    permitted(false)?;
    let lock = Lock::take(&args.pin_path)?;
    let ran = run_alone(args).await;
    drop(lock);
    ran
}

async fn run_alone(args: DecapArgs) -> Result<(), StartError> {
    if args.detach {
        Decap::detach_left(&args.plan())?;
        Vips::left(&args)?.take_away().await?;
        tracing::info!("detached");
        return Ok(());
    }
    let heard = Heard::listen()?;
    let mut vips = Vips::put(&args).await?;
    match Backend::open(&args) {
        Ok(mut backend) => {
            backend.announce();
            backend.turn(heard).await;
            notify::stopping();
            backend.log_counts();
            if args.keep {
                tracing::info!("stopped; the programs go on decapsulating");
                return Ok(());
            }
            backend.decap.detach()?;
            vips.take_away().await?;
            tracing::info!("stopped and detached");
            Ok(())
        }
        Err(error) => {
            vips.take_away().await?;
            Err(error)
        }
    }
}

/// What is heard from outside the process.
struct Heard {
    messages: mpsc::Receiver<Message>,
    /// SIGUSR1: somebody wants to know the counts.
    asked: unix::Signal,
}

impl Heard {
    fn listen() -> Result<Self, StartError> {
        let (sender, messages) = mpsc::channel(16);
        signals::forward(&sender).map_err(StartError::Signals)?;
        let asked = unix::signal(SignalKind::user_defined1()).map_err(StartError::Signals)?;
        let unblocked = SigSet::from(Signal::SIGUSR1).thread_unblock();
        unblocked.map_err(|error| StartError::Signals(error.into()))?;
        follow_addresses(sender, || Message::LinkChanged).map_err(StartError::Resolver)?;
        Ok(Self { messages, asked })
    }
}

/// The VIPs on the host, if that was asked for.
struct Vips(Option<Addresses>);

impl Vips {
    /// Those that an earlier run may have put there.
    fn left(args: &DecapArgs) -> Result<Self, StartError> {
        if !args.address {
            return Ok(Self(None));
        }
        store::prepare(&args.state_dir)?;
        Ok(Self(Some(Addresses::open(&args.state_dir, &[LOOPBACK.to_owned()])?)))
    }

    async fn put(args: &DecapArgs) -> Result<Self, StartError> {
        let mut vips = Self::left(args)?;
        if let Some(addresses) = &mut vips.0 {
            addresses.set(&args.tunnels().vips).await?;
        }
        Ok(vips)
    }

    async fn take_away(&mut self) -> Result<(), StartError> {
        match &mut self.0 {
            Some(addresses) => Ok(addresses.set(&BTreeSet::new()).await?),
            None => Ok(()),
        }
    }
}

/// This host.
struct Backend {
    tunnels: Tunnels,
    interfaces: Vec<String>,
    decap: Decap,
    /// What the programs were told last.
    told: Tables,
}

impl Backend {
    fn open(args: &DecapArgs) -> Result<Self, StartError> {
        let (tunnels, plan) = (args.tunnels(), args.plan());
        let host = addresses();
        let told = tunnels.tables(&host, smallest_mtu(&plan.interfaces));
        let decap = Decap::open(&plan, &told, &tunnels.sources)?;
        let facts = Facts::gather(&host, &plan.interfaces);
        for line in advice(&tunnels, &facts) {
            tracing::warn!("{line}");
        }
        Ok(Self { tunnels, interfaces: plan.interfaces, decap, told })
    }

    fn announce(&self) {
        for interface in self.decap.interfaces().unwrap_or_default() {
            let (name, mode, id) = (interface.name, interface.mode, interface.program_id);
            tracing::info!("attached to {name} in {mode} mode, program {id}");
        }
        let [v4, v6] = self.told.settings.segments;
        let segments = match v4 {
            0 => "segments of any size".to_owned(),
            _ => format!("segments of {v4} bytes over IPv4, {v6} over IPv6"),
        };
        let status = format!("{} VIPs, {segments}", self.tunnels.vips.len());
        tracing::info!("ready: {status}");
        notify::ready(&status);
    }

    /// The loop: ends when it is told to.
    async fn turn(&mut self, mut heard: Heard) {
        let mut look = every(LOOK_EVERY);
        let mut watchdog = notify::watchdog_interval().map(every);
        loop {
            tokio::select! {
                message = heard.messages.recv() => match message {
                    Some(Message::Stop) | None => return,
                    Some(_) => self.look(),
                },
                _ = heard.asked.recv() => self.log_counts(),
                _ = look.tick() => self.look(),
                () = next(&mut watchdog) => notify::alive(),
            }
        }
    }

    /// Looks at the host, and brings the programs in step with it.
    fn look(&mut self) {
        if let Err(error) = self.follow() {
            tracing::warn!(%error, "follow the host's addresses and interfaces");
        }
    }

    fn follow(&mut self) -> DatapathResult<()> {
        let tables = self.tunnels.tables(&addresses(), smallest_mtu(&self.interfaces));
        if tables != self.told {
            self.decap.set(&tables)?;
            self.told = tables;
        }
        self.decap.follow_interfaces()
    }

    fn log_counts(&self) {
        match self.decap.counts() {
            Ok(counts) => {
                for (verdict, count) in counts {
                    log_count(verdict, count);
                }
            }
            Err(error) => tracing::warn!(%error, "read the counters"),
        }
    }
}

fn log_count(verdict: Verdict, count: Count) {
    if count.packets > 0 {
        tracing::info!("{}: {} packets, {} bytes", verdict.name(), count.packets, count.bytes);
    }
}

fn smallest_mtu(interfaces: &[String]) -> u16 {
    let links = links().unwrap_or_default();
    let mtus = links.iter().filter(|link| interfaces.contains(&link.name));
    let smallest = mtus.filter_map(|link| link.mtu).min().unwrap_or(USUAL_MTU);
    u16::try_from(smallest).unwrap_or(u16::MAX)
}
