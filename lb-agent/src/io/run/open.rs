//! Opens everything that the daemon works with, in an order in which a failure leaves the host as it was:
//! what only reads comes first, the packet path last.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tokio::net::{TcpListener, UnixListener};

use super::source::{ReadError, Source};
use super::{capabilities, descriptors};
use crate::io::api::{self, BindError};
use crate::io::datapath::{Datapath, DatapathError, OBJECT};
use crate::io::netlink::{AddressError, Addresses};
use crate::io::store::{self, StoreError};
use crate::model::config::Config;
use crate::model::overlay::Overlay;
use crate::model::plan::Full;

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ReadError),
    /// The services do not fit into the maps.
    #[error("the configuration does not fit")]
    Full(#[from] Full),
    /// The kernel will not allow it.
    #[error(
        "no permission: the agent lacks {}; start it as root, or give its unit AmbientCapabilities",
        .0.join(", ")
    )]
    Capabilities(Vec<&'static str>),
    /// The API's socket.
    #[error(transparent)]
    Api(#[from] BindError),
    /// The address of metrics.
    #[error("listen on {0} for metrics; another program may, see [metrics] listen")]
    Metrics(SocketAddr, #[source] io::Error),
    /// The state folder.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The packet path.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// The addresses that were added before.
    #[error(transparent)]
    Addresses(#[from] AddressError),
    /// The routes and neighbours.
    #[error("follow the kernel's routes and neighbours")]
    Resolver(#[source] io::Error),
    /// A signal.
    #[error("listen for signals")]
    Signals(#[source] io::Error),
}

impl StartError {
    /// What to do about it, where the error itself does not say.
    pub fn help(&self) -> Option<&'static str> {
        let Self::Config(ReadError::File { source, .. }) = self else { return None };
        let help = [
            (io::ErrorKind::NotFound, "`--config FILE` names another file"),
            (io::ErrorKind::PermissionDenied, "run as root, or let the agent's user read it"),
            (io::ErrorKind::IsADirectory, "`--config` takes the file in it"),
        ];
        help.into_iter().find(|(kind, _)| *kind == source.kind()).map(|(_, help)| help)
    }

    /// The exit code: 5 for the configuration, 8 for a missing permission, 1 for all else.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) | Self::Full(_) => ExitCode::from(5),
            Self::Capabilities(_) => ExitCode::from(8),
            Self::Api(_)
            | Self::Metrics(..)
            | Self::Store(_)
            | Self::Datapath(_)
            | Self::Addresses(_)
            | Self::Resolver(_)
            | Self::Signals(_) => ExitCode::FAILURE,
        }
    }
}

/// What was opened.
pub(super) struct Opened {
    pub(super) source: Source,
    pub(super) config: Config,
    pub(super) overlay: Overlay,
    pub(super) api: UnixListener,
    pub(super) metrics: Option<TcpListener>,
    pub(super) addresses: Addresses,
    pub(super) datapath: Datapath,
}

pub(super) async fn open(file: &Path) -> Result<Opened, StartError> {
    let (source, checked) = Source::load(file)?;
    checked.notes.iter().for_each(|note| tracing::info!("{note}"));
    let config = checked.config;
    permitted()?;
    descriptors::raise_limit();
    let api = api::bind(&config.api.socket, config.api.socket_mode).await?;
    let rest = open_rest(&config).await;
    if rest.is_err() {
        remove_socket(&config.api.socket);
    }
    let (metrics, overlay, addresses, datapath) = rest?;
    Ok(Opened { source, config, overlay, api, metrics, addresses, datapath })
}

type Rest = (Option<TcpListener>, Overlay, Addresses, Datapath);

async fn open_rest(config: &Config) -> Result<Rest, StartError> {
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
    let datapath = Datapath::open(&config.datapath, OBJECT)?;
    Ok((metrics, overlay, addresses, datapath))
}

/// Whether the kernel will allow what an agent does.
pub(super) fn permitted() -> Result<(), StartError> {
    let missing = capabilities::missing();
    if missing.is_empty() { Ok(()) } else { Err(StartError::Capabilities(missing)) }
}

/// Removes the API's socket file when nobody listens there any more.
pub(super) fn remove_socket(path: &PathBuf) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::warn!("remove {}: {error}", path.display());
    }
}
