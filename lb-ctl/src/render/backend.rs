//! Backends: their list and one in full.

use lb_common::api::{Backend, BackendState, Health, Service};
use serde::Serialize;

use super::Look;
use super::service::amount;
use super::table::{Column, Tone, Word, pairs, table};
use super::units::{addresses, bytes, count, yes_no};

/// A backend and the service that it belongs to; in JSON the API's object with `service` before it.
#[derive(Serialize)]
pub(crate) struct Row<'a> {
    pub(crate) service: &'a str,
    #[serde(flatten)]
    pub(crate) backend: &'a Backend,
}

pub(crate) fn rows(services: &[Service]) -> Vec<Row<'_>> {
    services
        .iter()
        .flat_map(|service| {
            service.backends.iter().map(|backend| Row { service: &service.name, backend })
        })
        .collect()
}

pub(crate) fn list(rows: &[Row<'_>], look: Look) -> String {
    let columns = [
        Column::new("SERVICE", |row: &Row| row.service.into()),
        Column::new("BACKEND", |row: &Row| Word::from(&row.backend.name)),
        Column::new("ADDRESS", |row: &Row| addresses(&row.backend.address).into()),
        Column::new("STATE", |row: &Row| state(row.backend.state)),
        Column::new("HEALTH", |row: &Row| health(row.backend.health)),
        Column::new("SERVING", |row: &Row| yes_no(row.backend.serving).into()),
        Column::new("WEIGHT", |row: &Row| row.backend.weight.into()).right(),
        Column::new("FLOWS", |row: &Row| row.backend.traffic.flows.into()).right(),
        Column::new("BACKUP", |row: &Row| yes_no(row.backend.backup).into()).wide(),
        Column::new("OVERLAY", |row: &Row| yes_no(row.backend.overlay).into()).wide(),
        Column::new("PACKETS", |row: &Row| row.backend.traffic.packets.into()).right().wide(),
        Column::new("BYTES", |row: &Row| bytes(row.backend.traffic.bytes).into()).right().wide(),
    ];
    table(&columns, rows, look)
}

pub(crate) fn page(row: &Row<'_>) -> String {
    let Row { service, backend } = row;
    let traffic = &backend.traffic;
    pairs(&[
        ("service", (*service).to_owned()),
        ("backend", backend.name.clone()),
        ("address", addresses(&backend.address)),
        ("state", state(backend.state).text),
        ("health", health(backend.health).text),
        ("serving", yes_no(backend.serving).into()),
        ("weight", backend.weight.to_string()),
        ("backup", yes_no(backend.backup).into()),
        ("from", if backend.overlay { "a change at run time" } else { "the file" }.into()),
        ("flows", format!("{} now, {} since the start", traffic.flows, traffic.flows_total)),
        ("to it", amount(traffic.packets, traffic.bytes)),
        ("from it", amount(traffic.reply_packets, traffic.reply_bytes)),
        ("dropped", count(traffic.dropped, "packet")),
    ])
}

fn state(state: BackendState) -> Word {
    match state {
        BackendState::Ready => Word::new("ready", Tone::Plain),
        BackendState::Drain => Word::new("drain", Tone::Warning),
        BackendState::Maint => Word::new("maint", Tone::Warning),
    }
}

pub(crate) fn health(health: Health) -> Word {
    match health {
        Health::Up => Word::new("up", Tone::Good),
        Health::Down => Word::new("down", Tone::Bad),
        Health::Unknown => Word::new("unknown", Tone::Warning),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use lb_common::api::Traffic;

    use super::*;

    /// A service with web1, which serves, and sorry, a drained and dead backup.
    pub(crate) fn shop() -> Service {
        let busy = Traffic {
            packets: 12,
            bytes: 1536,
            reply_packets: 10,
            reply_bytes: 1024 * 1024,
            flows_total: 7,
            dropped: 1,
            flows: 5,
        };
        let web1 = Backend {
            name: "web1".into(),
            address: vec!["192.0.2.11:80".parse().unwrap()],
            state: BackendState::Ready,
            health: Health::Up,
            backup: false,
            weight: 100,
            serving: true,
            overlay: false,
            traffic: busy,
        };
        let sorry = Backend {
            name: "sorry".into(),
            address: vec!["192.0.2.99:80".parse().unwrap()],
            state: BackendState::Drain,
            health: Health::Down,
            backup: true,
            weight: 1,
            serving: false,
            overlay: true,
            traffic: Traffic::default(),
        };
        Service {
            name: "shop".into(),
            listen: vec!["203.0.113.10:80".parse().unwrap(), "[2001:db8::10]:80".parse().unwrap()],
            protocol: "tcp".into(),
            forward: "nat".into(),
            scheduler: "rr".into(),
            health_check: Some("web".into()),
            backends: vec![web1, sorry],
            traffic: busy,
        }
    }

    #[test]
    fn the_wide_list_tells_backups_and_changes_at_run_time() {
        let services = [shop()];
        assert_eq!(
            list(&rows(&services), Look { wide: true, colour: false }),
            "\
SERVICE  BACKEND  ADDRESS        STATE  HEALTH  SERVING  WEIGHT  FLOWS  BACKUP  OVERLAY  PACKETS    BYTES
shop     web1     192.0.2.11:80  ready  up      yes         100      5  no      no            12  1.5 KiB
shop     sorry    192.0.2.99:80  drain  down    no            1      0  yes     yes            0      0 B
"
        );
    }

    #[test]
    fn one_backend_is_shown_in_full() {
        let services = [shop()];
        assert_eq!(
            page(&rows(&services)[0]),
            "\
service  shop
backend  web1
address  192.0.2.11:80
state    ready
health   up
serving  yes
weight   100
backup   no
from     the file
flows    5 now, 7 since the start
to it    12 packets, 1.5 KiB
from it  10 packets, 1.0 MiB
dropped  1 packet
"
        );
    }
}
