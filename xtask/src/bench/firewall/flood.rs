//! A flood of SYNs through each system, and what becomes of clients meanwhile: of one whose interface is its own, and of
//! one that shares the flood's, where a full ring drops frames before anything looks at them.
//!
//! Each system has a world of its own, laid out alike: the flood and one client are in front of the director, the servers
//! and the other client behind it. The flood is made on the same CPUs on which all others run.

use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, Error, Result};
use lb_tests::clock::{now, pause};
use lb_tests::command::run as run_command;
use lb_tests::flood::{Flood, SOURCE, Way};
use lb_tests::link::End;
use lb_tests::namespace::Namespace;
use lb_tests::pulse::{Pace, Pulse};
use lb_tests::web::PORT;
use lb_tests::world::{Arms, VIP_V4, World};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::super::Arguments;
use super::super::budget::Budget;
use super::super::http::contender::{Clients, Contender, Running};
use super::super::results::Results;
use super::super::{link, mac};
use super::served::{METRICS, Sample, compare};

/// Ours, and what it is compared with.
pub(super) const SYSTEMS: [Contender; 3] =
    [Contender::Sluice, Contender::Haproxy, Contender::Synproxy];
/// The servers, and behind them the client.
const HOSTS: u8 = 3;
const TARGET: SocketAddrV4 = SocketAddrV4::new(VIP_V4, PORT);
/// How often each client connects, and how long it waits for an answer.
pub(super) const PACE: Pace =
    Pace { every: Duration::from_millis(5), patience: Duration::from_secs(5) };
/// Threads that send at a rate, in turn.
const SENDERS: u32 = 4;
/// SYNs before anything is measured.
const BEFORE: u64 = 50_000;

/// How many SYNs a second there are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rate {
    /// So many.
    Of(u32),
    /// As many as the machine can send.
    All,
}

impl Rate {
    const ALL: [Self; 4] = [Self::Of(0), Self::Of(100_000), Self::Of(500_000), Self::All];

    /// As cases name it.
    pub(super) fn name(self) -> String {
        match self {
            Self::Of(rate) => format!("flood={rate}"),
            Self::All => "flood=max".to_owned(),
        }
    }

    fn start(self, world: &World) -> Result<Option<Flood>> {
        let client = End { namespace: &world.client.namespace, interface: "eth0" };
        let front = End { namespace: &world.director, interface: "front" };
        let macs = [mac(front)?, mac(client)?];
        let way = Way { interface: link(client)?.index, macs, target: TARGET.into() };
        let threads = std::thread::available_parallelism().context("count the CPUs")?.get();
        let pace = match self {
            Self::Of(0) => return Ok(None),
            Self::Of(rate) => (SENDERS, Some(rate / SENDERS)),
            Self::All => (u32::try_from(threads)?, None),
        };
        let flood = Flood::start(client.namespace, way, pace)?;
        flood.wait_for(BEFORE)?;
        Ok(Some(flood))
    }
}

/// The rates that are asked for.
pub(super) fn rates(arguments: &Arguments) -> Vec<Rate> {
    let is_asked_for = |rate: &Rate| {
        METRICS.iter().any(|metric| arguments.wants(&format!("{} {}", rate.name(), metric.name)))
    };
    Rate::ALL.into_iter().filter(is_asked_for).collect()
}

/// Measures at all rates that are asked for.
pub(super) fn run(arguments: &Arguments, budget: Budget, results: &mut Results) -> Result<()> {
    let rates = rates(arguments);
    if rates.is_empty() {
        return Ok(());
    }
    let binaries = arguments.binaries()?;
    allow_many_connections()?;
    arguments.say("firewall: floods, in three worlds with two clients, a director and two servers");
    let worlds = SYSTEMS.map(|_| budget.step().map_err(Error::from).and_then(|()| world()));
    let worlds = worlds.into_iter().collect::<Result<Vec<_>>>()?;
    let start = |(system, world)| {
        budget.step()?;
        Running::start((system, Clients::OnBothSides), world, &binaries)
    };
    let running = SYSTEMS.into_iter().zip(&worlds).map(start).collect::<Result<Vec<_>>>()?;
    running.iter().try_for_each(Running::wait_for_cookies)?;
    let time = Duration::from_millis(if arguments.quick { 1_500 } else { 5_000 });
    let rates = rates.into_iter().map(|rate| (rate.name(), rate)).collect();
    results.of_each(
        budget,
        rates,
        |_| 1,
        |results, budget, rate| {
            arguments.say(&format!("firewall: {}", rate.name()));
            let mut samples = SYSTEMS.map(|_| Vec::new());
            for _ in budget.rounds(3, 1) {
                for ((running, world), samples) in running.iter().zip(&worlds).zip(&mut samples) {
                    budget.step()?;
                    samples.push(measure(running, world, rate, time)?);
                }
            }
            let rows = compare(rate, &samples).into_iter();
            results.rows.extend(rows.filter(|row| arguments.wants(&row.case)));
            Ok(())
        },
    );
    Ok(())
}

/// Connections that nobody answers stay open for a while.
fn allow_many_connections() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).context("read the limit of open files")?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("raise the limit of open files")
}

/// With a way to the sources of the flood, for those who answer them.
fn world() -> Result<World> {
    let world = World::new(Arms::Two, HOSTS)?;
    world.director.ip(&format!("route add {SOURCE}/16 via {}", world.client.v4))?;
    Ok(world)
}

fn measure(running: &Running<'_>, world: &World, rate: Rate, time: Duration) -> Result<Sample> {
    let own = world.backends.last().context("find the client behind the director")?;
    let flood = rate.start(world)?;
    let sent = || flood.as_ref().map_or(0, Flood::sent);
    let ask = |from: &Namespace| Pulse::start(from, SocketAddr::V4(TARGET), PACE);
    let pulses = [ask(&own.namespace)?, ask(running.client())?];
    let (began, before, arrived_before) = (now(), sent(), arrived(world)?);
    pause(time);
    let seconds = began.elapsed().as_secs_f64();
    let (sent, arrived) = (sent() - before, arrived(world)? - arrived_before);
    pulses.iter().for_each(Pulse::ask_no_more);
    // The flood goes on until all requests have ended.
    let [own, shared] = pulses.map(Pulse::stop);
    Ok(Sample { clients: [own?, shared?], sent, arrived, seconds })
}

/// Frames that the director's interface has taken so far.
fn arrived(world: &World) -> Result<u64> {
    let words = ["-n", world.director.name(), "-json", "-stats", "link", "show", "dev", "front"];
    let text = run_command(std::process::Command::new("ip").args(words))?;
    let links: serde_json::Value = serde_json::from_str(&text).context("parse the interfaces")?;
    let packets = links.pointer("/0/stats64/rx/packets").and_then(serde_json::Value::as_u64);
    packets.context("find what an interface has taken")
}
