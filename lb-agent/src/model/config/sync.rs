//! `[sync]`: replication of the flow table to other directors.

use std::net::SocketAddr;

use super::Sync;
use super::address;
use super::problem::Fault;
use super::reader::{List, Located, Table};
use super::value::path;

/// Most other directors.
const MAX_PEERS: usize = 8;

/// Reads `[sync]`. The outer `None`: it is wrong.
#[expect(clippy::option_option, reason = "wrong, missing and present are three things")]
pub(super) fn sync(root: &mut Table<'_>) -> Option<Option<Sync>> {
    let Some(value) = root.raw("sync") else { return Some(None) };
    let mut table = root.of("[sync]", value)?;
    let listen = table.required("listen", "\"10.0.0.2:8848\"", address::local);
    let peers = table.required_list("peers", "[\"10.0.0.3:8848\"]", address::unicast);
    let key_file = table.required("key_file", "\"/etc/lb/sync.key\"", path);
    check(&table, listen.as_ref(), &peers);
    table.finish(&[]);
    let peers = peers.items.into_iter().map(|peer| peer.value).collect();
    Some(Some(Sync { listen: listen?.value, peers, key_file: key_file?.value }))
}

/// A peer is known by its address alone when it connects.
fn check(table: &Table<'_>, listen: Option<&Located<SocketAddr>>, peers: &List<SocketAddr>) {
    let is_own =
        |peer: &Located<SocketAddr>, own: &Located<SocketAddr>| peer.value.ip() == own.value.ip();
    for peer in &peers.items {
        if let Some(own) = listen.filter(|own| is_own(peer, own)) {
            let said = format!("{} is this director itself", peer.value.ip());
            let fault = Fault::new(said, "name the other directors");
            table.report.add(fault.at(&peer.span).and(&own.span, "it listens here"));
        }
    }
    for (index, peer) in peers.items.iter().enumerate() {
        let mut earlier = peers.items.iter().take(index);
        if let Some(first) = earlier.find(|other| other.value.ip() == peer.value.ip()) {
            let fault = Fault::new(format!("{} is named twice", peer.value.ip()), "remove one");
            table.report.add(fault.at(&peer.span).and(&first.span, "first named here"));
        }
    }
    if let Some(surplus) = peers.items.get(MAX_PEERS) {
        let fault = Fault::new(format!("more than {MAX_PEERS} peers"), "remove some");
        table.report.add(fault.at(&surplus.span));
    }
}
