//! The daemon from its start to its end: one loop owns everything, tasks only tell it what happened.
//!
//! ```text
//! signals, API, probes, sweeps --- Message --> loop -- Event --> Agent::handle -- Effects --> kernel, probes, replies
//! ```

mod answers;
mod beside;
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
mod rules;
mod runtime;
mod save;
mod sets;
mod signals;
mod size;
mod source;
mod start_error;
mod trace;
mod vrrp;

use std::collections::{BTreeSet, VecDeque};
use std::future::pending;
use std::net::IpAddr;
use std::path::{Path, absolute};
use std::time::{Duration, Instant};

use lb_common::api::Interface;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use self::beside::{Inputs, News};
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
use super::vital::Vital;
use super::vrrp::{Scripts, remove_all};
use super::{api, notify};
use crate::model::agent::Event;
use crate::model::config::Shutdown;
use crate::model::tables::Way;

/// What is found out of the ways to addresses.
type Ways = mpsc::Receiver<(IpAddr, Way)>;

pub use capabilities::keep_from_children;
pub use rules::MadeRules;
pub use sets::{ReadSet, check_sets};
pub use source::{ReadError, check_file};
pub use start_error::StartError;

/// Time between two sweeps of the flow table.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Time that answers under way have when the agent stops.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// What comes next.
enum Turn {
    Message(Message),
    Event(Event),
    /// A configuration was not confirmed.
    RollBack,
    Sweep,
    /// The service manager wants to hear of us.
    Alive,
}

/// Runs the agent until it is told to stop.
pub async fn run(config_file: &Path) -> Result<(), StartError> {
    let _vital = Vital::new();
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
        inputs: Inputs::new(inbox, News { ways, ended }),
        deferred: VecDeque::new(),
        changing_since: None,
        next_request: 0,
        told: String::new(),
        is_announced: false,
    };
    runtime.carry_out(effects).await;
    runtime.start_replication(sync)?;
    let (stop, servers) = serve(api, metrics, &Core::new(messages));
    runtime.look_at_interfaces();
    runtime.tell_modes();
    // From here on answers are heard.
    runtime.happened(Event::Timer).await;
    runtime.keep_sets().await;
    runtime.turn().await;
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
    async fn turn(&mut self) {
        loop {
            let next = match self.deferred.pop_front() {
                Some(message) => Turn::Message(message),
                None => self.next().await,
            };
            if matches!(next, Turn::Message(Message::Stop)) {
                return;
            }
            self.take(next).await;
        }
    }

    /// Waits for what comes next.
    async fn next(&mut self) -> Turn {
        let (deadline, rolls_back) = (self.agent.deadline(), self.unconfirmed_until());
        let is_changing = self.changing_since.is_some();
        tokio::select! {
            turn = self.inputs.next() => turn,
            () = due(deadline) => Turn::Event(Event::Timer),
            () = due(rolls_back), if !is_changing => Turn::RollBack,
        }
    }

    async fn take(&mut self, next: Turn) {
        match next {
            Turn::Message(message)
                if self.changing_since.is_some() && message.waits_for_changes() =>
            {
                self.defer(message);
            }
            Turn::Message(message) => self.take_message(message).await,
            Turn::Event(event) => self.happened(event).await,
            Turn::RollBack => self.roll_back().await,
            Turn::Sweep => self.start_sweep(),
            Turn::Alive => notify::alive(),
        }
    }

    async fn take_message(&mut self, message: Message) {
        match message {
            Message::Call(call) => self.answer(call).await,
            Message::Swept(counts) => self.swept(counts).await,
            Message::Resized(prepared) => self.resized(prepared).await,
            Message::CookiesLoaded(loaded) => self.cookies_loaded(loaded).await,
            Message::Compiled(rules) => self.rules_compiled(*rules).await,
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
        self.scripts.finish().await;
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

async fn due(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}
