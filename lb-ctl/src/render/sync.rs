//! The page of `sync status`.

use lb_common::api::{SyncLink, SyncPeer, SyncStatus};

use super::table::{Column, Tone, Word, pairs, table};
use super::units::{bytes, yes_no};
use super::{Look, prefixed};

pub(crate) fn page(status: &SyncStatus, look: Look) -> String {
    let mut page = pairs(&[
        ("in step", yes_no(status.is_in_step).to_owned()),
        ("listens on", status.listen.to_string()),
        ("refused", refused(status)),
    ]);
    page.push('\n');
    page += &table(&columns(), &status.peers, look);
    let problems = status.peers.iter().flat_map(problems).collect::<Vec<_>>();
    if !problems.is_empty() {
        page.push('\n');
        page += &prefixed("warning: ", &problems);
    }
    page
}

fn refused(status: &SyncStatus) -> String {
    let refused = status.refused;
    format!(
        "{} strangers, {} of another version, {} with another key, {} not understood",
        refused.stranger, refused.version, refused.key, refused.message
    )
}

fn columns() -> [Column<SyncPeer>; 17] {
    [
        Column::new("PEER", |peer: &SyncPeer| peer.address.into()),
        Column::new("NODE", |peer: &SyncPeer| peer.node.as_deref().unwrap_or("-").into()),
        Column::new("TOLD", |peer: &SyncPeer| stands(&peer.told)),
        Column::new("LAG", |peer: &SyncPeer| lag(&peer.told)).right(),
        Column::new("CELLS", |peer: &SyncPeer| peer.told.cells.into()).right(),
        Column::new("CELLS/S", |peer: &SyncPeer| peer.told.cells_per_second.into()).right(),
        Column::new("BYTES", |peer: &SyncPeer| bytes(peer.told.bytes).into()).right().wide(),
        Column::new("BYTES/S", |peer: &SyncPeer| per_second(&peer.told)).right().wide(),
        Column::new("HEARD", |peer: &SyncPeer| stands(&peer.heard)),
        Column::new("AGO", |peer: &SyncPeer| lag(&peer.heard)).right(),
        Column::new("CELLS", |peer: &SyncPeer| peer.heard.cells.into()).right(),
        Column::new("CELLS/S", |peer: &SyncPeer| peer.heard.cells_per_second.into()).right(),
        Column::new("BYTES", |peer: &SyncPeer| bytes(peer.heard.bytes).into()).right().wide(),
        Column::new("BYTES/S", |peer: &SyncPeer| per_second(&peer.heard)).right().wide(),
        Column::new("UNKNOWN", |peer: &SyncPeer| peer.unknown_flows.into()).right().wide(),
        Column::new("CONFLICTS", |peer: &SyncPeer| peer.conflicts.into()).right().wide(),
        Column::new("NO PLACE", |peer: &SyncPeer| peer.without_place.into()).right().wide(),
    ]
}

fn stands(link: &SyncLink) -> Word {
    match (link.connected, link.in_step) {
        (true, true) => Word::new("in step", Tone::Good),
        (true, false) => Word::new("catching up", Tone::Warning),
        (false, _) => Word::new("no connection", Tone::Bad),
    }
}

fn lag(link: &SyncLink) -> Word {
    if link.connected { format!("{} ms", link.lag_ms).into() } else { "-".into() }
}

fn per_second(link: &SyncLink) -> Word {
    bytes(link.bytes_per_second).into()
}

fn problems(peer: &SyncPeer) -> impl Iterator<Item = String> {
    let address = peer.address;
    let link = |way: &str, link: &SyncLink| {
        link.problem.as_ref().map(|problem| format!("{way} {address}: {problem}"))
    };
    let unknown = peer.unknown_backends.join(", ");
    let differs = (!unknown.is_empty())
        .then(|| format!("{address} has backends that are not configured here: {unknown}"));
    let first = [link("tell", &peer.told), link("hear", &peer.heard), differs];
    let services = peer.differences.iter();
    let services = services.map(move |it| format!("{address} is configured differently: {it}"));
    let n_named = u64::try_from(peer.differences.len()).unwrap_or(u64::MAX);
    let n_more = peer.n_differences.saturating_sub(n_named);
    let more = (n_more > 0).then(|| format!("{address} differs in {n_more} more services"));
    first.into_iter().flatten().chain(services).chain(more)
}

#[cfg(test)]
mod tests {
    use lb_common::api::SyncRefusals;

    use super::*;

    fn link(connected: bool, in_step: bool, problem: Option<&str>) -> SyncLink {
        let problem = problem.map(str::to_owned);
        SyncLink {
            connected,
            in_step,
            lag_ms: 3,
            cells: 40,
            bytes: 2_000,
            cells_per_second: 12,
            bytes_per_second: 300,
            problem,
        }
    }

    #[test]
    fn a_page_tells_who_is_in_step_and_what_is_wrong() {
        let peer = SyncPeer {
            address: "10.0.0.3:8848".parse().unwrap(),
            node: Some("lb2".into()),
            told: link(true, false, None),
            heard: link(false, true, Some("it speaks version 2")),
            unknown_backends: vec!["192.0.2.13:80 behind 203.0.113.10:80 (tcp, nat)".into()],
            unknown_flows: 7,
            differences: vec![
                "203.0.113.10:80 (tcp): scheduler is rr here and maglev there".into(),
            ],
            n_differences: 3,
            conflicts: 0,
            without_place: 0,
        };
        let status = SyncStatus {
            is_in_step: false,
            listen: "10.0.0.2:8848".parse().unwrap(),
            peers: vec![peer],
            refused: SyncRefusals { version: 2, ..SyncRefusals::default() },
        };
        assert_eq!(
            page(&status, Look::default()),
            "\
in step     no
listens on  10.0.0.2:8848
refused     0 strangers, 2 of another version, 0 with another key, 0 not understood

PEER           NODE  TOLD          LAG  CELLS  CELLS/S  HEARD          AGO  CELLS  CELLS/S
10.0.0.3:8848  lb2   catching up  3 ms     40       12  no connection    -     40       12

warning: hear 10.0.0.3:8848: it speaks version 2
warning: 10.0.0.3:8848 has backends that are not configured here: 192.0.2.13:80 behind 203.0.113.10:80 (tcp, nat)
warning: 10.0.0.3:8848 is configured differently: 203.0.113.10:80 (tcp): scheduler is rr here and maglev there
warning: 10.0.0.3:8848 differs in 2 more services
"
        );
    }
}
