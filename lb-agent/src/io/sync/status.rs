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
/// A peer that is not connected for so long is not waited for: it would have tried several times.
const GONE_AFTER: Duration = Duration::from_secs(5);
/// For so long packets of connections that are not known are held after another director has fallen silent: the next
/// start of its agent has told of its flows by then, or when TCP sends again after 3 s, and after 6 s.
const HOLD_FOR: Duration = Duration::from_secs(5);

impl Replication {
    /// Whether this director knows all flows of every peer that is not gone, and hears one.
    pub fn is_in_step(&self, now: Instant) -> bool {
        let peers = self.shared.peers.iter();
        let started_at = self.shared.started_at;
        is_in_step(peers.map(|peer| standing(&peer.heard.state(), started_at, now)))
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
            let services = (heard.n_differences > 0).then(|| {
                let (n, which) = (heard.n_differences, heard.differences.join("; "));
                format!("{address} is configured differently in {n} services: {which}")
            });
            not_told.into_iter().chain(not_heard).chain(differs).chain(services)
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
        let standing = |state: &LinkState| standing(state, self.0.started_at, now);
        let standings: Option<Vec<_>> = peers.map(|peer| peer.heard.try_look(standing)).collect();
        standings.map(is_in_step)
    }

    /// Has packets held of connections that only a director may know which has fallen silent.
    pub fn hold(&self, since_boot: Duration) {
        self.0.hold.until(since_boot + HOLD_FOR);
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

/// Whether the flows of a peer are known; `None`: it is gone. One that has only just been missed may have all of them:
/// of three directors two that start together know nothing of the third one's.
fn standing(state: &LinkState, started_at: Instant, now: Instant) -> Option<bool> {
    let is_within = |at: Instant, patience: Duration| now.saturating_duration_since(at) < patience;
    if state.is_connected {
        return Some(state.is_whole && state.at.is_some_and(|at| is_within(at, HEARD_WITHIN)));
    }
    is_within(state.ended_at.unwrap_or(started_at), GONE_AFTER).then_some(false)
}

fn is_in_step(standings: impl IntoIterator<Item = Option<bool>>) -> bool {
    let mut present = standings.into_iter().flatten().peekable();
    present.peek().is_some() && present.all(|knows| knows)
}

fn status_of(peer: &Peer, now: Instant) -> SyncPeer {
    let heard = peer.heard.state();
    SyncPeer {
        address: peer.address,
        node: heard.node.clone().or(peer.told.state().node),
        told: link(&peer.told, now),
        heard: link(&peer.heard, now),
        unknown_backends: heard.unknown,
        differences: heard.differences,
        n_differences: u64::try_from(heard.n_differences).unwrap_or(u64::MAX),
        unknown_flows: read(&peer.heard.unknown),
        conflicts: read(&peer.heard.conflicts),
        without_place: read(&peer.heard.no_place),
    }
}

fn link(link: &Link, now: Instant) -> SyncLink {
    let (state, rate) = (link.state(), link.rate(now));
    let since = state.at.map(|at| now.saturating_duration_since(at));
    SyncLink {
        connected: state.is_connected,
        in_step: state.is_connected && state.is_whole,
        lag_ms: u64::try_from((state.lag + since.unwrap_or_default()).as_millis())
            .unwrap_or(u64::MAX),
        cells: read(&link.flows),
        bytes: read(&link.bytes),
        cells_per_second: rate.cells,
        bytes_per_second: rate.bytes,
        problem: state.problem,
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::clock;

    #[test]
    fn a_peer_that_may_still_come_is_waited_for_and_one_that_is_gone_is_not() {
        let begin = clock::now();
        let after = |millis| begin + Duration::from_millis(millis);
        let whole = |at| LinkState {
            is_connected: true,
            is_whole: true,
            at: Some(after(at)),
            ..LinkState::default()
        };
        let behind = |at| LinkState { is_whole: false, ..whole(at) };
        let ended = |at| LinkState { ended_at: Some(after(at)), ..LinkState::default() };
        let never = LinkState::default;
        let rows = [
            (vec![whole(1_000)], 1_000, true),
            (vec![whole(1_000)], 1_350, false),
            (vec![behind(1_000)], 1_000, false),
            // Two that have started together, and the one that has all flows is yet to come.
            (vec![whole(1_000), never()], 1_000, false),
            (vec![whole(1_000), behind(1_000)], 1_000, false),
            (vec![whole(1_000), whole(900)], 1_000, true),
            (vec![whole(5_000), never()], 5_000, true),
            (vec![whole(60_000), ended(56_000)], 60_000, false),
            (vec![whole(60_000), ended(55_000)], 60_000, true),
            (vec![never()], 60_000, false),
            (vec![ended(1_000), ended(2_000)], 60_000, false),
        ];
        for (states, now, wanted) in rows {
            let standings = states.iter().map(|state| standing(state, begin, after(now)));
            assert_eq!(is_in_step(standings), wanted, "{states:?} at {now}");
        }
    }
}
