//! The daemon from its start to its end: one loop owns everything, tasks only tell it what happened.
//!
//! ```text
//! signals, API, probes, sweeps --- Message --> loop -- Event --> Agent::handle -- Effects --> kernel, probes, replies
//! ```

mod answers;
mod capabilities;
mod changes;
mod confirm;
mod cookies;
pub mod decap;
mod descriptors;
mod faults;
mod floods;
mod flows;
mod open;
mod packet_log;
mod replication;
mod runtime;
mod save;
mod sets;
mod signals;
mod size;
mod source;
mod start_error;
mod trace;
mod vrrp;

use std::collections::BTreeSet;
use std::future::pending;
use std::net::IpAddr;
use std::path::{Path, absolute};
use std::time::{Duration, Instant};

use lb_common::api::Interface;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep_until, timeout};

use self::faults::Faults;
use self::floods::Floods;
use self::open::{Opened, Outside, Rest, open};
use self::runtime::Runtime;
use self::source::Source;
use self::trace::DropLog;
use super::api::SocketFile;
use super::clock::{self, Calendar};
use super::datapath::{self, FlowCounts, Lock};
use super::message::{Core, Message, Mode};
use super::metrics::{self, Reloads};
use super::netlink::Addresses;
use super::vrrp::{Scripts, remove_all};
use super::{api, notify};
use crate::model::agent::{Event, ProbeOutcome, Target};
use crate::model::config::Shutdown;
use crate::model::tables::Way;

/// What is found out of the ways to addresses.
type Ways = mpsc::Receiver<(IpAddr, Way)>;

pub use capabilities::keep_from_children;
pub use sets::{ReadSet, check_sets};
pub use source::{ReadError, check_file};
pub use start_error::StartError;

/// Time between two sweeps of the flow table.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Time that answers under way have when the agent stops.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// What comes in numbers: whatever of a kind has come by now is one event, and written at once.
struct News {
    ways: Ways,
    ended: mpsc::Receiver<(Target, ProbeOutcome)>,
}

impl News {
    /// May be dropped before it is done, and nothing is lost.
    async fn next(&mut self) -> Event {
        tokio::select! {
            Some(first) = self.ways.recv() => {
                let rest = std::iter::from_fn(|| self.ways.try_recv().ok());
                Event::Ways(std::iter::once(first).chain(rest).collect())
            }
            Some(first) = self.ended.recv() => {
                let rest = std::iter::from_fn(|| self.ended.try_recv().ok());
                Event::Probes(std::iter::once(first).chain(rest).collect())
            }
            else => pending().await,
        }
    }
}

/// Runs the agent until it is told to stop.
pub async fn run(config_file: &Path) -> Result<(), StartError> {
    let started_at = clock::now();
    let config_file = absolute(config_file).unwrap_or_else(|_| config_file.to_owned());
    let Opened { source, api, socket, rest, lock } = open(&config_file, started_at).await?;
    let ran = Box::pin(run_opened(source, api, rest, started_at)).await;
    socket.remove();
    drop(lock);
    ran
}

async fn run_opened(
    source: Source,
    api: UnixListener,
    rest: Rest,
    started_at: Instant,
) -> Result<(), StartError> {
    let Rest { metrics, addresses, outside, datapath, sync, agent, set_files, effects, resolver } =
        rest;
    let Outside { messages, inbox, ways } = outside;
    let (probes, ended) = mpsc::channel(1024);
    packet_log::forward(&datapath);
    let key = sync.as_ref().map(|sync| sync.keys.adverts);
    let vrrp = vrrp::prepare(agent.config(), &messages, key, datapath.macs());
    let mut runtime = Runtime {
        agent,
        datapath,
        replication: None,
        resolver,
        addresses,
        vrrp,
        scripts: Scripts::start(),
        source,
        set_files,
        drop_log: DropLog::default(),
        messages: messages.clone(),
        probes,
        started_at,
        calendar: Calendar::new(clock::now(), clock::unix()),
        reloads: Reloads::default(),
        faults: Faults::default(),
        flows: FlowCounts::default(),
        noted_floods: Floods::default(),
        wanted_addresses: BTreeSet::new(),
        is_out_of_step: false,
        sweeps: 0,
        is_sweeping: false,
        unconfirmed: None,
        next_request: 0,
        told: String::new(),
        is_announced: false,
    };
    runtime.carry_out(effects).await;
    runtime.keep_sets();
    runtime.start_replication(sync)?;
    let (stop, servers) = serve(api, metrics, &Core::new(messages));
    runtime.look_at_interfaces();
    runtime.tell_modes();
    // From here on answers are heard.
    runtime.happened(Event::Timer).await;
    runtime.turn(inbox, News { ways, ended }).await;
    notify::stopping();
    stop.send_replace(true);
    drop(timeout(LAST_ANSWERS, servers.join_all()).await);
    runtime.end().await
}

fn serve(
    api: UnixListener,
    metrics: Option<tokio::net::TcpListener>,
    core: &Core,
) -> (watch::Sender<bool>, JoinSet<()>) {
    let (stop, stopped) = watch::channel(false);
    let mut servers = JoinSet::new();
    servers.spawn(api::serve(api, core.clone(), stopped.clone()));
    if let Some(listener) = metrics {
        servers.spawn(metrics::serve(listener, core.clone(), stopped));
    }
    (stop, servers)
}

impl Runtime {
    fn tell_modes(&self) {
        let interfaces = self.datapath.interfaces().unwrap_or_default();
        for Interface { name, mode, program_id } in &interfaces {
            tracing::info!("attached to {name} in {mode} mode, program {program_id}");
        }
        if let Some(mixed) = answers::mixed_modes(&interfaces) {
            tracing::warn!("{mixed}");
        }
    }

    /// The loop: ends when the agent is told to stop.
    async fn turn(&mut self, mut inbox: mpsc::Receiver<Message>, mut news: News) {
        let mut sweep = every(SWEEP_EVERY);
        let mut watchdog = notify::watchdog_interval().map(every);
        loop {
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(Message::Stop) | None => return,
                    Some(message) => self.take(message).await,
                },
                event = news.next() => self.happened(event).await,
                () = due(self.agent.deadline()) => self.happened(Event::Timer).await,
                () = due(self.unconfirmed_until()) => self.roll_back().await,
                _ = sweep.tick() => self.start_sweep(),
                () = next(&mut watchdog) => notify::alive(),
            }
        }
    }

    async fn take(&mut self, message: Message) {
        match message {
            Message::Call(call) => self.answer(call).await,
            Message::Swept(counts) => self.swept(counts).await,
            Message::Resized(prepared) => self.resized(prepared).await,
            Message::CookiesLoaded(loaded) => self.cookies_loaded(loaded).await,
            Message::SetRead(read) => self.set_read(read).await,
            Message::NotProbed(target, reason) => {
                self.happened(Event::NotProbed { target, reason }).await;
            }
            Message::LinkChanged => self.look_at_the_host().await,
            Message::Vrrp(told) => self.heard_of_vrrp(told),
            // A refusal is logged and shown in the status; nobody waits for the answer.
            Message::Hangup => drop(self.reload(Mode::default()).await),
            Message::Stop => {}
        }
    }

    /// Leaves the packet path as the configuration says.
    async fn end(mut self) -> Result<(), StartError> {
        self.stop_vrrp().await;
        let config = self.agent.config();
        match config.agent.shutdown {
            Shutdown::Keep => {
                tracing::info!("stopped; the packet path goes on forwarding");
                Ok(())
            }
            Shutdown::Detach => {
                let pin_path = config.datapath.pin_path.clone();
                take_away(&pin_path, self.addresses).await?;
                tracing::info!("stopped and detached");
                Ok(())
            }
        }
    }
}

/// Removes programs, pins and managed addresses of an agent that is not running, as its file says.
///
/// Returns whether there was anything to detach.
pub async fn detach(config_file: &Path) -> Result<bool, StartError> {
    let config = check_file(config_file)?.config;
    open::permitted(false)?;
    let _lock = Lock::take_existing(&config.datapath.pin_path)?;
    let api = api::bind(&config.api.socket, config.api.socket_mode).await?;
    SocketFile::of(&config.api.socket).remove();
    drop(api);
    let addresses = Addresses::open(&config.agent.state_dir, &config.datapath.interfaces)?;
    remove_all(&config.agent.state_dir).map_err(StartError::VirtualAddresses)?;
    take_away(&config.datapath.pin_path, addresses).await
}

async fn take_away(pin_path: &Path, mut addresses: Addresses) -> Result<bool, StartError> {
    let detached = datapath::detach(pin_path)?;
    addresses.set(&BTreeSet::new()).await?;
    Ok(detached)
}

fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn due(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}

async fn next(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => pending().await,
    }
}
