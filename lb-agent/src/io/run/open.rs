//! Opens everything that the daemon works with, in an order in which a failure leaves the host as it was:
//! what only reads comes first, the packet path last.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::time::Instant;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;

use super::sets::{self, SetFiles, Started};
use super::source::Source;
use super::{StartError, Ways, capabilities, confirm, descriptors, signals};
use crate::io::api::{self, SocketFile};
use crate::io::clock;
use crate::io::datapath::{self, Common, Datapath, Lock, New, OBJECT};
use crate::io::message::Message;
use crate::io::netlink::{Addresses, Resolver, follow_addresses, host_addresses};
use crate::io::store;
use crate::io::sync;
use crate::model::agent::{Agent, Effect, Known};
use crate::model::config::Config;
use crate::model::firewall::compile::Size;

/// What was opened.
pub(super) struct Opened {
    pub(super) source: Source,
    pub(super) api: UnixListener,
    pub(super) socket: SocketFile,
    pub(super) rest: Rest,
    /// Let go after all else.
    pub(super) lock: Lock,
}

/// What is opened behind the API's socket.
pub(super) struct Rest {
    pub(super) metrics: Option<TcpListener>,
    pub(super) addresses: Addresses,
    pub(super) outside: Outside,
    pub(super) datapath: Datapath,
    pub(super) sync: Option<sync::Opened>,
    pub(super) agent: Agent,
    pub(super) set_files: SetFiles,
    pub(super) effects: Vec<Effect>,
    pub(super) resolver: Resolver,
}

/// What is heard from outside the process.
pub(super) struct Outside {
    pub(super) messages: mpsc::Sender<Message>,
    pub(super) inbox: mpsc::Receiver<Message>,
    pub(super) ways: Ways,
}

pub(super) async fn open(file: &Path, started_at: Instant) -> Result<Opened, StartError> {
    let (mut source, mut checked) = Source::load(file)?;
    if confirm::go_back(file, &checked.config.agent.state_dir)? {
        tracing::warn!("the last configuration was not confirmed: the one before is back");
        (source, checked) = Source::load(file)?;
    }
    checked.notes.iter().for_each(|note| tracing::info!("{note}"));
    let config = checked.config;
    permitted(!config.vrrp.is_empty())?;
    descriptors::raise_limit();
    let lock = Lock::take(&config.datapath.pin_path)?;
    let api = api::bind(&config.api.socket, config.api.socket_mode).await?;
    let socket = SocketFile::of(&config.api.socket);
    match open_rest(config, started_at).await {
        Ok(rest) => Ok(Opened { source, api, socket, rest, lock }),
        Err(error) => {
            socket.remove();
            Err(error)
        }
    }
}

async fn open_rest(config: Config, started_at: Instant) -> Result<Rest, StartError> {
    let metrics = match config.metrics.listen {
        Some(address) => {
            let listener = TcpListener::bind(address).await;
            Some(listener.map_err(|error| StartError::Metrics(address, error))?)
        }
        None => None,
    };
    store::prepare(&config.agent.state_dir)?;
    let overlay = store::load_overlay(&config.agent.state_dir)?;
    let addresses = Addresses::open(&config.agent.state_dir, &config.datapath.interfaces)?;
    let host = host_addresses().await?;
    let (changes, ways) = mpsc::channel(1024);
    let outside = listen(ways)?;
    let sync = config.sync.as_ref().map(sync::open).transpose()?;
    let common = sync.as_ref().map(|opened| in_common(&opened.keys));
    let new = New { common, firewall: Size::at_start(&config) };
    let datapath = Datapath::open_with(&config.datapath, OBJECT, new)?;
    let (is_first, pin_path) = (datapath.is_first(), config.datapath.pin_path.clone());
    let interfaces = config.datapath.interfaces.clone();
    let numbers = store::load_rule_numbers(&config.agent.state_dir)?;
    let Started { stock, files: set_files } = sets::at_start(&config, &overlay);
    let lacks_cookies = !datapath.has_cookies();
    let known = Known { overlay, stock, numbers, host, lacks_cookies };
    let started = start(&datapath, config, known, started_at).and_then(|(agent, effects)| {
        let resolver = Resolver::spawn(interfaces, agent.next_hops().clone(), changes);
        Ok((agent, effects, resolver.map_err(StartError::Resolver)?))
    });
    match started {
        Ok((agent, effects, resolver)) => Ok(Rest {
            metrics,
            addresses,
            outside,
            datapath,
            sync,
            agent,
            set_files,
            effects,
            resolver,
        }),
        Err(error) => {
            drop(datapath);
            if is_first {
                datapath::detach(&pin_path)?;
            }
            Err(error)
        }
    }
}

/// What directors with the same key agree on.
fn in_common(keys: &sync::Keys) -> Common {
    let cookie_clock = clock::ticks_before_boot();
    Common { hash_key: keys.flow_hash, cookie_key: keys.cookies, cookie_clock }
}

fn listen(ways: Ways) -> Result<Outside, StartError> {
    let (messages, inbox) = mpsc::channel(1024);
    signals::forward(&messages).map_err(StartError::Signals)?;
    follow_addresses(messages.clone(), || Message::LinkChanged).map_err(StartError::Resolver)?;
    Ok(Outside { messages, inbox, ways })
}

/// The core, on what is installed.
fn start(
    datapath: &Datapath,
    config: Config,
    known: Known,
    started_at: Instant,
) -> Result<(Agent, Vec<Effect>), StartError> {
    let seed = RandomState::new().hash_one(started_at);
    let installed = datapath.tables()?;
    Ok(Agent::new(clock::now(), seed, config, known, installed)?)
}

/// Whether the kernel will allow what an agent does.
pub(super) fn permitted(has_routers: bool) -> Result<(), StartError> {
    let missing = capabilities::missing(has_routers);
    if missing.is_empty() { Ok(()) } else { Err(StartError::Capabilities(missing)) }
}
