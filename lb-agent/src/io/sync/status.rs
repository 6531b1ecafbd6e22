//! How replication stands.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lb_common::api::{SyncLink, SyncPeer, SyncRefusals, SyncStatus};

use super::Replication;
use super::shared::{Link, LinkState, Peer, Shared};
use crate::model::sync::Vips;

/// A peer that was not heard for so long is not in step: it says something every 100 ms.
const HEARD_WITHIN: Duration = Duration::from_millis(350);

impl Replication {
    /// Whether this director knows all flows of every peer that it hears, and hears one.
    pub fn is_in_step(&self, now: Instant) -> bool {
        let peers = self.shared.peers.iter();
        is_in_step(peers.map(|peer| standing(&peer.heard.state(), now)))
    }

    /// The same for a thread that must wait for nobody.
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.shared))
    }

    /// For the API.
    pub fn status(&self, now: Instant) -> SyncStatus {
        let refused = &self.shared.refused;
        SyncStatus {
            is_in_step: self.is_in_step(now),
            listen: self.shared.listen,
            peers: self.shared.peers.iter().map(|peer| status_of(peer, now)).collect(),
            refused: SyncRefusals {
                stranger: read(&refused.stranger),
                version: read(&refused.version),
                key: read(&refused.key),
                message: read(&refused.message),
            },
        }
    }

    /// What an operator should look at.
    pub fn warnings(&self) -> Vec<String> {
        let of_peer = |peer: &Peer| {
            let (told, heard) = (peer.told.state(), peer.heard.state());
            let address = peer.address;
            let not_told = told.problem.map(|it| format!("flows are not told to {address}: {it}"));
            let not_heard = (!heard.is_connected).then(|| {
                let problem = heard.problem.map_or_else(String::new, |it| format!(": {it}"));
                format!("no flows are heard from {address}{problem}")
            });
            let differs = (heard.n_unknown > 0).then(|| {
                let (n, names) = (heard.n_unknown, heard.unknown.join(", "));
                format!("{address} has {n} backends that are not configured here: {names}")
            });
            not_told.into_iter().chain(not_heard).chain(differs)
        };
        self.shared.peers.iter().flat_map(of_peer).collect()
    }
}

/// See [`Replication::watch`].
#[derive(Clone)]
pub struct Watch(Arc<Shared>);

impl Watch {
    /// What [`Replication::is_in_step`] says; `None`: not known at this moment, ask again soon.
    pub fn is_in_step(&self, now: Instant) -> Option<bool> {
        let peers = self.0.peers.iter();
        let standings: Option<Vec<_>> =
            peers.map(|peer| peer.heard.try_look(|state| standing(state, now))).collect();
        standings.map(is_in_step)
    }

    /// Tells which VIPs this director has; false: not at this moment, try again soon.
    pub fn try_set_vips(&self, vips: Vips) -> bool {
        self.0.try_set_vips(vips)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Watch").field(&self.0.listen).finish()
    }
}

/// Whether the flows of a peer are known; `None`: it is not heard.
fn standing(state: &LinkState, now: Instant) -> Option<bool> {
    let is_recent = |at: Instant| now.saturating_duration_since(at) < HEARD_WITHIN;
    state.is_connected.then(|| state.is_whole && state.at.is_some_and(is_recent))
}

fn is_in_step(standings: impl IntoIterator<Item = Option<bool>>) -> bool {
    let mut heard = standings.into_iter().flatten().peekable();
    heard.peek().is_some() && heard.all(|knows| knows)
}

fn status_of(peer: &Peer, now: Instant) -> SyncPeer {
    let heard = peer.heard.state();
    SyncPeer {
        address: peer.address,
        node: heard.node.clone().or(peer.told.state().node),
        told: link(&peer.told, now),
        heard: link(&peer.heard, now),
        unknown_backends: heard.unknown,
        unknown_flows: read(&peer.heard.unknown),
        conflicts: read(&peer.heard.conflicts),
        without_place: read(&peer.heard.no_place),
    }
}

fn link(link: &Link, now: Instant) -> SyncLink {
    let state = link.state();
    let since = state.at.map(|at| now.saturating_duration_since(at));
    SyncLink {
        connected: state.is_connected,
        in_step: state.is_connected && state.is_whole,
        lag_ms: u64::try_from((state.lag + since.unwrap_or_default()).as_millis())
            .unwrap_or(u64::MAX),
        cells: read(&link.flows),
        bytes: read(&link.bytes),
        problem: state.problem,
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
