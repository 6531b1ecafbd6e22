//! Metrics of the replication of the flow table.

use std::fmt;

use lb_common::api::{SyncLink, SyncPeer};

use super::Snapshot;
use super::text::{Families, Sample, count, gauge, whole, yes};

/// One of the two directions of a peer.
type Direction = (&'static str, fn(&SyncPeer) -> &SyncLink);

const DIRECTIONS: [Direction; 2] = [("told", |peer| &peer.told), ("heard", |peer| &peer.heard)];

impl Snapshot {
    pub(super) fn encode_sync(&self, families: &mut Families<'_>) -> fmt::Result {
        let Some(sync) = &self.sync else { return Ok(()) };
        let peers: Vec<_> =
            sync.peers.iter().map(|peer| (peer.address.to_string(), peer)).collect();
        let help = "Whether this director knows all flows of those that it hears";
        families.family("lb_sync_in_step", help, [gauge(Vec::new(), yes(sync.is_in_step))])?;
        let connected = |link: &SyncLink| yes(link.connected);
        families.family(
            "lb_sync_connected",
            "Whether flows are told to the peer, and heard from it",
            each(&peers, |labels, link| gauge(labels, connected(link))),
        )?;
        families.family(
            "lb_sync_lag_seconds",
            "Age of what the peer has not taken in yet, and of what was heard last",
            each(&peers, |labels, link| gauge(labels, whole(link.lag_ms) / 1000.0)),
        )?;
        families.family(
            "lb_sync_cells",
            "Cells of flows that were told and heard",
            each(&peers, |labels, link| count(labels, link.cells)),
        )?;
        families.family(
            "lb_sync_bytes",
            "Bytes of messages about cells that were told and heard",
            each(&peers, |labels, link| count(labels, link.bytes)),
        )?;
        let lost = peers.iter().flat_map(|(address, peer)| {
            let reasons = [
                ("unknown_backend", peer.unknown_flows),
                ("conflict", peer.conflicts),
                ("no_place", peer.without_place),
            ];
            reasons.map(|(reason, n)| count(vec![("peer", address), ("reason", reason)], n))
        });
        families.family("lb_sync_lost_cells", "Cells that were not taken in", lost)?;
        families.family(
            "lb_sync_differing_services",
            "Services that the peer has configured differently, or not at all, or alone",
            peers
                .iter()
                .map(|(address, peer)| gauge(vec![("peer", address)], whole(peer.n_differences))),
        )?;
        let refused = sync.refused;
        let refused = [
            ("stranger", refused.stranger),
            ("version", refused.version),
            ("key", refused.key),
            ("message", refused.message),
        ];
        let refused = refused.map(|(reason, n)| count(vec![("reason", reason)], n));
        families.family("lb_sync_refused", "Connections that came to nothing", refused)
    }
}

/// A sample for each direction of each peer.
fn each<'a>(
    peers: &'a [(String, &'a SyncPeer)],
    sample: impl Fn(Vec<(&'static str, &'a str)>, &'a SyncLink) -> Sample<'a>,
) -> Vec<Sample<'a>> {
    let all = peers.iter().flat_map(|peer| DIRECTIONS.map(|direction| (peer, direction)));
    all.map(|((address, peer), (direction, link))| {
        sample(vec![("peer", address.as_str()), ("direction", direction)], link(peer))
    })
    .collect()
}
