//! What the threads of all connections share.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use lb_common::layout::Backend;

use super::known::Known;
use super::sealed::Broken;
use crate::io::clock;
use crate::io::datapath::{FlowTable, Hold, Shadow};
use crate::model::config;
use crate::model::sync::{Message, Meter, Rate, Services, Vips};

/// What the agent's loop has told: the flow table and the backends of its cells.
pub struct Directory {
    /// The flow table.
    pub table: Arc<FlowTable>,
    /// Backends by id.
    pub backends: BTreeMap<u32, Backend>,
    /// What the configuration says of services.
    pub services: Services,
}

/// Everything that threads share.
pub(super) struct Shared {
    pub(super) listen: SocketAddr,
    /// How it says who it is.
    pub(super) hello: Message,
    pub(super) interfaces: Vec<String>,
    pub(super) key: [u8; 32],
    pub(super) started_at: Instant,
    pub(super) peers: Vec<Peer>,
    pub(super) refused: Refused,
    pub(super) hold: Hold,
    directory: Mutex<Arc<Directory>>,
    vips: Mutex<Arc<Vips>>,
}

/// Connections that were refused, by the reason.
#[derive(Debug, Default)]
pub(super) struct Refused {
    pub(super) stranger: AtomicU64,
    pub(super) version: AtomicU64,
    pub(super) key: AtomicU64,
    pub(super) message: AtomicU64,
}

/// Another director.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) told: Link,
    pub(super) heard: Link,
    /// Shared by the thread that tells and the one that listens, so that what it has told is not told back.
    known: Mutex<Known>,
    /// Stretches of the flow table that have news for it; a word each.
    marks: Mutex<Arc<Vec<AtomicBool>>>,
    /// It asks for every cell once more.
    pub(super) again: AtomicBool,
    /// The thread that tells it.
    teller: OnceLock<Thread>,
    /// Number of the connection that is listened to: the latest that has proved its key.
    pub(super) heard_by: AtomicU64,
    /// Connections that have not.
    pub(super) n_unproved: AtomicUsize,
}

/// One direction of a peer.
#[derive(Default)]
pub(super) struct Link {
    /// Cells.
    pub(super) flows: AtomicU64,
    /// Bytes.
    pub(super) bytes: AtomicU64,
    /// Cells that were not taken in: no backend like theirs, no place, another choice.
    pub(super) unknown: AtomicU64,
    pub(super) no_place: AtomicU64,
    pub(super) conflicts: AtomicU64,
    meter: Mutex<Meter>,
    state: Mutex<LinkState>,
}

/// How a connection stands.
#[derive(Clone, Debug, Default)]
pub(super) struct LinkState {
    pub(super) is_connected: bool,
    /// Whether every cell was told.
    pub(super) is_whole: bool,
    /// How long ago the oldest was told that was not taken in, or the last message came.
    pub(super) lag: Duration,
    /// When that was found.
    pub(super) at: Option<Instant>,
    /// When the last connection ended.
    pub(super) ended_at: Option<Instant>,
    pub(super) node: Option<String>,
    /// Why there is no connection.
    pub(super) problem: Option<String>,
    /// Backends of the peer that are not known here.
    pub(super) unknown: Vec<String>,
    pub(super) n_unknown: usize,
    /// In what the configuration of the peer differs.
    pub(super) differences: Vec<String>,
    pub(super) n_differences: usize,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(
        node: String,
        interfaces: Vec<String>,
        key: [u8; 32],
        config: &config::Sync,
        directory: Directory,
    ) -> Self {
        let peers = config.peers.iter().map(|address| Peer::new(*address)).collect();
        let (hold, refused) = (directory.table.hold(), Refused::default());
        let directory = Mutex::new(Arc::new(directory));
        let (vips, started_at, listen) = (Mutex::default(), clock::now(), config.listen);
        // The standard library's keys of hashes are drawn by chance.
        let hello = Message::Hello { run: RandomState::new().build_hasher().finish(), node };
        Self { listen, hello, interfaces, key, started_at, peers, refused, hold, directory, vips }
    }

    pub(super) fn directory(&self) -> Arc<Directory> {
        Arc::clone(&lock(&self.directory))
    }

    pub(super) fn vips(&self) -> Arc<Vips> {
        Arc::clone(&lock(&self.vips))
    }

    /// Whether it was taken note of; not if somebody looks at it right now.
    pub(super) fn try_set_vips(&self, vips: Vips) -> bool {
        self.vips.try_lock().map(|mut place| *place = Arc::new(vips)).is_ok()
    }

    pub(super) fn publish(&self, directory: Directory) {
        *lock(&self.directory) = Arc::new(directory);
    }

    /// Counts a connection that came to nothing; those that merely end do not count.
    pub(super) fn count(&self, broken: &Broken) {
        let counter = match broken {
            Broken::Connection(_) | Broken::Silent | Broken::Refused | Broken::Table(_) => return,
            Broken::Stranger => &self.refused.stranger,
            Broken::Version(_) => &self.refused.version,
            Broken::Key => &self.refused.key,
            Broken::Message => &self.refused.message,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives the marks that the packet path has set to every peer.
    pub(super) fn collect_marks(&self, table: &FlowTable) {
        let all: Vec<_> = self.peers.iter().map(Peer::marks).collect();
        table.take_marks(|stretch| {
            for mark in all.iter().filter_map(|marks| marks.get(stretch)) {
                mark.store(true, Ordering::Release);
            }
        });
    }
}

impl Peer {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            told: Link::default(),
            heard: Link::default(),
            known: Mutex::default(),
            marks: Mutex::default(),
            again: AtomicBool::new(false),
            teller: OnceLock::new(),
            heard_by: AtomicU64::new(0),
            n_unproved: AtomicUsize::new(0),
        }
    }

    /// Nothing of this table has been told.
    pub(super) fn forget(&self, table: &FlowTable) {
        let marks = std::iter::repeat_with(|| AtomicBool::new(true)).take(table.n_stretches());
        lock(&self.known).forget(table.new_shadow());
        *lock(&self.marks) = Arc::new(marks.collect());
    }

    /// It is not told anything.
    pub(super) fn leave(&self) {
        *lock(&self.known) = Known::default();
        *lock(&self.marks) = Arc::default();
    }

    /// This thread tells it.
    pub(super) fn is_told_here(&self) {
        self.teller.set(thread::current()).ok();
    }

    /// It is there: now is the time to connect to it.
    pub(super) fn is_there(&self) {
        if let Some(teller) = self.teller.get() {
            teller.unpark();
        }
    }

    /// It has said, as it is told, which run of its agent it is.
    pub(super) fn is_run(&self, run: u64) {
        lock(&self.known).is_told(run);
    }

    /// For what it is told.
    pub(super) fn shadow(&self) -> Arc<Shadow> {
        lock(&self.known).shadow()
    }

    /// For what a run of its agent tells.
    pub(super) fn shadow_of(&self, run: u64) -> Arc<Shadow> {
        lock(&self.known).shadow_of(run)
    }

    pub(super) fn marks(&self) -> Arc<Vec<AtomicBool>> {
        Arc::clone(&lock(&self.marks))
    }
}

impl Link {
    pub(super) fn state(&self) -> LinkState {
        lock(&self.state).clone()
    }

    /// A look at it that never waits: `None` while a thread of the connection writes it.
    pub(super) fn try_look<T>(&self, look: impl FnOnce(&LinkState) -> T) -> Option<T> {
        match self.state.try_lock() {
            Ok(state) => Some(look(&state)),
            Err(TryLockError::Poisoned(state)) => Some(look(&state.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut LinkState)) {
        change(&mut lock(&self.state));
    }

    /// There is no connection; where it is known, why.
    pub(super) fn ended(&self, problem: Option<String>) {
        self.update(|state| {
            let node = state.node.take();
            let ended_at = Some(clock::now());
            *state = LinkState { ended_at, node, problem, ..LinkState::default() };
        });
    }

    pub(super) fn count(&self, flows: usize, bytes: usize) {
        let [cells, bytes] = [flows, bytes].map(|n| u64::try_from(n).unwrap_or_default());
        self.flows.fetch_add(cells, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        lock(&self.meter).count(clock::now(), Rate { cells, bytes });
    }

    pub(super) fn rate(&self, now: Instant) -> Rate {
        lock(&self.meter).rate(now)
    }
}
