//! Flows, their number by backend, and what became of packets.

use lb_common::api::{Flow, Service, VerdictCount};
use serde::Serialize;

use super::Look;
use super::backend::Row;
use super::table::{Column, Word, table};
use super::units::{bytes, span};

pub(crate) fn list(flows: &[Flow], look: Look) -> String {
    let columns = [
        Column::new("PROTOCOL", |flow: &Flow| Word::from(&flow.protocol)),
        Column::new("CLIENT", |flow: &Flow| flow.client.into()),
        Column::new("VIP", |flow: &Flow| flow.vip.into()),
        Column::new("SERVICE", |flow: &Flow| known(&flow.service)),
        Column::new("BACKEND", |flow: &Flow| known(&flow.backend)),
        Column::new("BACKEND ADDRESS", |flow: &Flow| flow.backend_address.into()).wide(),
        Column::new("STATE", |flow: &Flow| Word::from(&flow.state)),
        Column::new("IDLE", |flow: &Flow| span(flow.idle_seconds).into()).right(),
    ];
    table(&columns, flows, look)
}

/// A name, or a dash for what no longer exists.
fn known(name: &str) -> Word {
    if name.is_empty() { "-".into() } else { name.into() }
}

/// Number of flows of one backend; an object of `conn count`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FlowCount {
    service: String,
    backend: String,
    flows: u64,
}

impl FlowCount {
    pub(crate) fn new(row: &Row<'_>) -> Self {
        Self {
            service: row.service.to_owned(),
            backend: row.backend.name.clone(),
            flows: row.backend.traffic.flows,
        }
    }
}

/// A line per backend, and the sum.
pub(crate) fn counts(counts: &[FlowCount], look: Look) -> String {
    let columns = [
        Column::new("SERVICE", |count: &FlowCount| Word::from(&count.service)),
        Column::new("BACKEND", |count: &FlowCount| Word::from(&count.backend)),
        Column::new("FLOWS", |count: &FlowCount| count.flows.into()).right(),
    ];
    let sum: u64 = counts.iter().map(|count| count.flows).sum();
    format!("{}\n{sum} in all\n", table(&columns, counts, look))
}

/// Packets for a service that were dropped; an object of `drops --by service`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ServiceDrops {
    service: String,
    pub(crate) packets: u64,
}

impl ServiceDrops {
    pub(crate) fn new(service: &Service) -> Self {
        Self { service: service.name.clone(), packets: service.traffic.dropped }
    }
}

pub(crate) fn by_service(rows: &[ServiceDrops], look: Look) -> String {
    if rows.is_empty() {
        return "no packet for a service was dropped\n".into();
    }
    let columns = [
        Column::new("SERVICE", |row: &ServiceDrops| Word::from(&row.service)),
        Column::new("PACKETS", |row: &ServiceDrops| row.packets.into()).right(),
    ];
    table(&columns, rows, look)
}

pub(crate) fn verdicts(verdicts: &[VerdictCount], look: Look) -> String {
    if verdicts.is_empty() {
        return "no packet was dropped\n".into();
    }
    let columns = [
        Column::new("VERDICT", |count: &VerdictCount| Word::from(&count.verdict)),
        Column::new("KIND", |count: &VerdictCount| Word::from(&count.kind)),
        Column::new("PACKETS", |count: &VerdictCount| count.packets.into()).right(),
        Column::new("BYTES", |count: &VerdictCount| bytes(count.bytes).into()).right(),
        Column::new("MEANING", |count: &VerdictCount| Word::from(&count.help)),
    ];
    table(&columns, verdicts, look)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::backend::{rows, tests::shop};

    #[test]
    fn a_flow_of_a_removed_service_has_a_dash_for_its_name() {
        let flow = Flow {
            protocol: "tcp".into(),
            client: "198.51.100.7:40000".parse().unwrap(),
            vip: "203.0.113.10:80".parse().unwrap(),
            service: String::new(),
            backend: "web1".into(),
            backend_address: "192.0.2.11:80".parse().unwrap(),
            state: "established".into(),
            idle_seconds: 4,
        };
        assert_eq!(
            list(&[flow], Look::default()),
            "\
PROTOCOL  CLIENT              VIP              SERVICE  BACKEND  STATE        IDLE
tcp       198.51.100.7:40000  203.0.113.10:80  -        web1     established    4s
"
        );
    }

    #[test]
    fn flows_are_counted_by_backend() {
        let services = [shop()];
        let counted: Vec<_> = rows(&services).iter().map(FlowCount::new).collect();
        assert_eq!(
            counts(&counted, Look::default()),
            "\
SERVICE  BACKEND  FLOWS
shop     web1         5
shop     sorry        0

5 in all
"
        );
    }

    #[test]
    fn a_drop_is_shown_with_its_meaning() {
        let count = VerdictCount {
            verdict: "no_backend".into(),
            kind: "dropped".into(),
            help: "No backend.".into(),
            packets: 3,
            bytes: 180,
        };
        assert_eq!(
            verdicts(&[count], Look::default()),
            "\
VERDICT     KIND     PACKETS  BYTES  MEANING
no_backend  dropped        3  180 B  No backend.
"
        );
        assert_eq!(verdicts(&[], Look::default()), "no packet was dropped\n");
    }
}
