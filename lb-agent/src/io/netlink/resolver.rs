//! Keeps the next hops of a set of addresses up to date, and tells when one changes.
//!
//! It follows the kernel's events, but takes from them only that something changed: what holds is read
//! anew, so a lost event delays the truth and never bends it. Neighbours in use are kept warm.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::kernel::{Kernel, News, NoAnswer};
use super::neighbour::{Hop, Key, Neighbour, Route, View};
use crate::model::tables::{NextHop, Way};

/// Events that come within this time of each other are answered together.
const SETTLE: Duration = Duration::from_millis(20);
/// How often a neighbour that is not known is asked for.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Every so many times, those that are known are asked for too, and everything is read anew.
const REFRESH_ROUNDS: u32 = 10;

/// Told when what is known of the way to an address has changed.
pub(super) type Changes = mpsc::Sender<(IpAddr, Way)>;

/// A task that resolves next hops; it ends when this is dropped.
#[derive(Debug)]
pub struct Resolver {
    wanted: watch::Sender<BTreeSet<IpAddr>>,
    task: JoinHandle<()>,
}

impl Resolver {
    /// Starts to resolve in the network namespace of this thread. To be called in a tokio runtime.
    ///
    /// `interfaces` are those of the packet path. `known` are ways in use already; they are kept until a route
    /// or a neighbour speaks against them.
    pub fn spawn(
        interfaces: Vec<String>,
        known: BTreeMap<IpAddr, NextHop>,
        changes: Changes,
    ) -> io::Result<Self> {
        let kernel = Kernel::connect()?;
        let (wanted, watched) = watch::channel(BTreeSet::new());
        let task = tokio::spawn(Task::new(kernel, interfaces, known, changes).run(watched));
        Ok(Self { wanted, task })
    }

    /// Resolves exactly these addresses from now on. The first answer for each is always told.
    pub fn watch(&self, addresses: BTreeSet<IpAddr>) {
        self.wanted.send_replace(addresses);
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The receiver of the changes is gone.
struct Closed;

struct Task {
    kernel: Kernel,
    /// The packet path's.
    interfaces: Vec<String>,
    changes: Changes,
    /// Ways in use before this task, for addresses that nothing was told of yet.
    known: BTreeMap<IpAddr, NextHop>,
    /// How each address is reached.
    routes: BTreeMap<IpAddr, Route>,
    /// The last ways that were not lost since.
    hops: BTreeMap<IpAddr, Hop>,
    /// What was told.
    told: BTreeMap<IpAddr, Way>,
    /// Neighbours that failed since everything was read last.
    lost: BTreeSet<Key>,
    /// Neighbours asked for in this round.
    asked: BTreeSet<Key>,
    /// Whether everything has to be read anew.
    is_stale: bool,
}

impl Task {
    fn new(
        kernel: Kernel,
        interfaces: Vec<String>,
        known: BTreeMap<IpAddr, NextHop>,
        changes: Changes,
    ) -> Self {
        Self {
            kernel,
            interfaces,
            changes,
            known,
            routes: BTreeMap::new(),
            hops: BTreeMap::new(),
            told: BTreeMap::new(),
            lost: BTreeSet::new(),
            asked: BTreeSet::new(),
            is_stale: false,
        }
    }

    async fn run(mut self, mut wanted: watch::Receiver<BTreeSet<IpAddr>>) {
        let mut rounds = interval(ASK_EVERY);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round = 0;
        loop {
            let due = tokio::select! {
                changed = wanted.changed() => match changed {
                    Ok(()) => true,
                    Err(_) => return,
                },
                news = self.kernel.news() => self.note(news).await,
                _ = rounds.tick() => {
                    round = (round + 1) % REFRESH_ROUNDS;
                    self.asked.clear();
                    self.ask(round == 0).await;
                    round == 0 || self.is_stale
                }
            };
            if !due {
                continue;
            }
            self.settle().await;
            let addresses = wanted.borrow_and_update().clone();
            if let Err(Closed) = self.refresh(&addresses).await {
                return;
            }
        }
    }

    /// Takes in what else happens within a moment.
    async fn settle(&mut self) {
        let moment = sleep(SETTLE);
        tokio::pin!(moment);
        loop {
            tokio::select! {
                () = &mut moment => return,
                news = self.kernel.news() => { self.note(news).await; }
            }
        }
    }

    /// Whether the news may change a next hop.
    async fn note(&mut self, news: News) -> bool {
        match news {
            News::Neighbour(key, state) => {
                let ours = self.routes.values().any(|used| used.neighbour == key);
                match state {
                    Some(Neighbour::Failed) if ours => {
                        self.lost.insert(key);
                    }
                    // The kernel marks an entry as failed before it deletes it by hand
                    // (neigh_delete in net/core/neighbour.c), which is no word about the neighbour.
                    None => {
                        self.lost.remove(&key);
                    }
                    Some(Neighbour::Failed | Neighbour::Known(_) | Neighbour::Pending) => {}
                }
                ours
            }
            News::Other => true,
            News::ConnectionLost => {
                self.reconnect().await;
                true
            }
        }
    }

    async fn reconnect(&mut self) {
        loop {
            match Kernel::connect() {
                Ok(kernel) => {
                    self.kernel = kernel;
                    // What happened in between was not told.
                    self.is_stale = true;
                    return;
                }
                Err(error) => tracing::warn!(%error, "connect to the kernel's routing again"),
            }
            sleep(ASK_EVERY).await;
        }
    }

    /// Asks the kernel to resolve neighbours: those not known, or all.
    async fn ask(&mut self, all: bool) {
        let keys: BTreeSet<Key> = self
            .routes
            .iter()
            .filter(|(address, _)| match self.told.get(*address) {
                Some(Way::Known(_)) => all,
                Some(Way::Elsewhere(_)) => false,
                Some(Way::Asked | Way::None) | None => true,
            })
            .map(|(_, route)| route.neighbour)
            .collect();
        for key in keys {
            self.ask_for(key).await;
        }
    }

    async fn ask_for(&mut self, key: Key) {
        if self.asked.insert(key)
            && let Err(error) = self.kernel.ask_for(key).await
        {
            tracing::debug!(%error, neighbour = %key.1, "ask for a neighbour");
            if matches!(error, NoAnswer::Late(_)) {
                self.reconnect().await;
            }
        }
    }

    async fn refresh(&mut self, addresses: &BTreeSet<IpAddr>) -> Result<(), Closed> {
        self.is_stale = false;
        match self.read(addresses).await {
            Ok(view) => self.tell(addresses, &view).await,
            Err(error) => {
                tracing::warn!(%error, "read routes and neighbours");
                self.reconnect().await;
                Ok(())
            }
        }
    }

    async fn read(&mut self, addresses: &BTreeSet<IpAddr>) -> Result<View, NoAnswer> {
        let mut routes = BTreeMap::new();
        for address in addresses {
            if let Some(route) = self.kernel.route(*address).await? {
                routes.insert(*address, route);
            }
        }
        let mut view = self.kernel.view(&self.interfaces).await?;
        self.routes = routes;
        view.lost = std::mem::take(&mut self.lost);
        let unknown: BTreeSet<Key> = self
            .routes
            .values()
            .map(|route| route.neighbour)
            .filter(|(index, _)| view.interfaces.contains_key(index))
            .filter(|key| !view.neighbours.contains_key(key))
            .collect();
        for key in unknown {
            self.ask_for(key).await;
        }
        Ok(view)
    }

    async fn tell(&mut self, addresses: &BTreeSet<IpAddr>, view: &View) -> Result<(), Closed> {
        self.hops.retain(|address, _| addresses.contains(address));
        self.told.retain(|address, _| addresses.contains(address));
        for address in addresses {
            let route = self.routes.get(address).copied();
            // Which neighbour a known way led to was not kept, but its interface was.
            let known = self.known.remove(address);
            let known = route.map(|route| route.neighbour).zip(known);
            let known = known.filter(|(key, hop)| key.0 == hop.interface);
            let last = self.hops.remove(address).or(known);
            let way = route.map_or(Way::None, |route| view.way(route, last));
            if let (Some(route), Way::Known(hop)) = (route, &way) {
                self.hops.insert(*address, (route.neighbour, *hop));
            }
            let told = self.told.get(address);
            // A neighbour that has failed is asked for every second, which is no news.
            let is_news = told != Some(&way) && (told, &way) != (Some(&Way::None), &Way::Asked);
            if is_news {
                self.told.insert(*address, way.clone());
                self.changes.send((*address, way)).await.map_err(|_| Closed)?;
            }
        }
        Ok(())
    }
}
