//! Replication of the flow table: threads beside the loop, which they never keep waiting. See `model::sync` for
//! what they say.
//!
//! ```text
//! for each peer   tell     marks of the packet path --> cells that are news --> connection
//!                 listen   connection --> compare-and-swap into the flow table
//! ```

mod key;
mod known;
mod listen;
mod networks;
mod sealed;
mod shared;
mod status;
mod tell;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use lb_common::layout::HashKey;

pub use key::{KeyError, Keys};
pub use shared::Directory;
pub use status::Watch;

use crate::io::vital::Vital;
use crate::model::config;
use shared::Shared;

/// The replication of this director; its threads live as long as the process.
pub struct Replication {
    shared: Arc<Shared>,
    flow_hash: HashKey,
}

/// What has been opened for it before anything was changed.
pub struct Opened {
    config: config::Sync,
    listener: TcpListener,
    /// Derived from the key file.
    pub keys: Keys,
}

/// Why it cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The address.
    #[error("listen on {0} for other directors, see [sync] listen")]
    Listen(SocketAddr, #[source] io::Error),
}

/// Reads the key and listens.
pub fn open(config: &config::Sync) -> Result<Opened, OpenError> {
    let keys = Keys::read(&config.key_file)?;
    let listener = TcpListener::bind(config.listen);
    let listener = listener.map_err(|error| OpenError::Listen(config.listen, error))?;
    Ok(Opened { config: config.clone(), listener, keys })
}

impl Replication {
    /// Starts the threads.
    pub fn start(
        opened: Opened,
        node: String,
        interfaces: Vec<String>,
        directory: Directory,
    ) -> io::Result<Self> {
        let Opened { config, listener, keys } = opened;
        let key = keys.connections;
        let shared = Arc::new(Shared::new(node, interfaces, key, &config, directory));
        for index in 0..shared.peers.len() {
            let shared = Arc::clone(&shared);
            let tell = move || {
                if let Some(peer) = shared.peers.get(index) {
                    tell::run(&shared, peer);
                }
            };
            thread::Builder::new().name("sync-tell".into()).spawn(|| Vital::run(tell))?;
        }
        let listening = Arc::clone(&shared);
        let name = "sync-accept".to_owned();
        let accept = move || listen::run(&listening, &listener);
        thread::Builder::new().name(name).spawn(|| Vital::run(accept))?;
        Ok(Self { shared, flow_hash: keys.flow_hash })
    }

    /// Tells the threads of another flow table, or of other backends.
    pub fn publish(&self, directory: Directory) {
        self.shared.publish(directory);
    }

    /// What is to be said where the flow hash of the tables has another key than the one of the key file.
    pub fn key_notice(&self, hash_key: HashKey) -> Option<String> {
        (hash_key != self.flow_hash).then(|| {
            "the flow table was made before [sync] had its key: a connection that only the other director knew \
             may be sent to another backend by hash; stop lb-agent, `lb-agent detach` (open flows end), start"
                .to_owned()
        })
    }
}
