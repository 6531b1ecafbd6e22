//! A failover and what its clients see of it, for the demo and the benchmark.
//!
//! Two directors share the VIP and the backends' gateway; one of them is befallen by a [`Fault`]. Meanwhile a
//! [`Pulse`] asks every millisecond, an ordinary client asks again and again, and connections are held open.

mod classic;
mod directors;
mod haproxy;
mod kernel_nat;
mod sluice;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use lb_tests::clock::now;
use lb_tests::held::Held;
use lb_tests::load::{Load, failures};
use lb_tests::namespace::Namespace;
use lb_tests::pair::{Pair, vips};
use lb_tests::pulse::{BEFORE_TCP_ASKS_AGAIN, Beat, Pulse, longest_silence};

pub(crate) use classic::Beside;
pub(crate) use directors::Directors;
pub(crate) use sluice::tables;

/// What befalls a director, the Active one but for a return.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// The machine is silent from one moment to the next.
    Silent,
    /// It loses its link to the clients, and sees that.
    Link,
    /// Its balancer is stopped in good order.
    Stop,
    /// All processes of its balancer are killed, and started again at once.
    Kill,
    /// They are stopped, and another version is started: of Sluice one with another program and flow table.
    Upgrade,
    /// One that is preferred returns.
    Return,
}

impl Fault {
    /// All of them.
    pub(crate) const ALL: [Self; 6] =
        [Self::Silent, Self::Link, Self::Stop, Self::Kill, Self::Upgrade, Self::Return];

    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent machine",
            Self::Link => "link down",
            Self::Stop => "clean stop",
            Self::Kill => "agent kill -9",
            Self::Upgrade => "agent upgrade",
            Self::Return => "return of the preferred director",
        }
    }
}

/// Who has the VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    /// Sluice, with replication.
    Sluice,
    /// keepalived and something beside it.
    Classic(Beside),
}

impl System {
    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sluice => "sluice",
            Self::Classic(Beside::Haproxy) => "keepalived-haproxy",
            Self::Classic(Beside::Conntrackd) => "keepalived-conntrackd",
        }
    }
}

/// How two directors are set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// What they are.
    pub(crate) system: System,
    /// Time between two advertisements.
    pub(crate) advert: Duration,
    /// Whether the first one takes over whenever it returns; else whoever is Active stays so.
    pub(crate) has_preferred: bool,
}

impl Setup {
    fn priority(self, number: usize) -> u8 {
        if self.has_preferred && number > 1 { 100 } else { 200 }
    }
}

/// What clients saw of one failover.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    /// When the fault was brought about.
    pub(crate) fault_at: Instant,
    /// Requests of the pulse.
    pub(crate) beats: Vec<Beat>,
    /// For how long nobody answered these.
    pub(crate) silence: Duration,
    /// Requests of the ordinary client.
    pub(crate) requests: usize,
    /// Those that failed, however often TCP tried.
    pub(crate) failed: usize,
    /// Connections that were open.
    pub(crate) open: usize,
    /// Those that broke.
    pub(crate) broken: usize,
    /// The longest wait of one that did not.
    pub(crate) longest_stall: Duration,
}

const OPEN_ATTEMPTS: usize = 3;
/// Requests before a fault, and after it.
const REQUESTS_AROUND: usize = 200;

/// Lets a fault befall a director.
pub(crate) fn attempt(directors: &mut Directors<'_>, fault: Fault, n_open: usize) -> Result<Trial> {
    directors.prepare(fault)?;
    let client = &directors.pair().client.namespace;
    let held = open(client, n_open)?;
    let load = Load::start(client, &[vip()])?;
    let pulse = Pulse::start(client, vip(), BEFORE_TCP_ASKS_AGAIN)?;
    pulse
        .wait_for_more(REQUESTS_AROUND)
        .with_context(|| format!("before: {}", directors.said()))?;
    // On a busy machine the addresses may have moved by themselves.
    directors.find_active()?;
    let fault_at = now();
    directors.befall(fault)?;
    directors
        .wait_for_outcome(fault)
        .and_then(|()| pulse.wait_for_more(REQUESTS_AROUND))
        .and_then(|()| load.wait_for_more(20))
        .with_context(|| format!("afterwards: {}", directors.said()))?;
    let (beats, exchanges, fates) = (pulse.stop()?, load.stop()?, held.stop()?);
    let survivors = fates.iter().filter(|fate| fate.problem.is_none());
    let longest_stall = survivors.clone().map(|fate| fate.longest_wait).max().unwrap_or_default();
    Ok(Trial {
        fault_at,
        silence: longest_silence(&beats),
        beats,
        requests: exchanges.len(),
        failed: failures(&exchanges).len(),
        open: fates.len(),
        broken: fates.len() - survivors.count(),
        longest_stall,
    })
}

/// On a busy machine addresses may move by themselves, and break connections that are being opened.
fn open(client: &Namespace, n_open: usize) -> Result<Held> {
    let mut outcome = Held::open(client, vip(), n_open);
    for _ in 1..OPEN_ATTEMPTS {
        outcome = outcome.or_else(|_| Held::open(client, vip(), n_open));
    }
    outcome
}

fn vip() -> SocketAddr {
    let [v4, _] = vips();
    v4
}

/// A pair of machines for it.
pub(crate) fn pair() -> Result<Pair> {
    Pair::new(2)
}
