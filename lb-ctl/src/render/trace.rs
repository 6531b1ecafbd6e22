//! Single packets.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lb_common::api::{DroppedPacket, Explanation};
use serde::Serialize;

use super::Look;
use super::table::{Column, pairs, table};
use super::units::{count, time};

/// A packet that was dropped, on a line.
pub(crate) fn line(packet: &DroppedPacket) -> String {
    let DroppedPacket { verdict, interface, protocol, length, .. } = packet;
    let at = time(packet.at_unix_ms / 1_000);
    let source = endpoint(packet.source, packet.source_port);
    let destination = endpoint(packet.destination, packet.destination_port);
    let rule = packet.rule.as_ref().map(|rule| format!(" rule {rule}"));
    let service = packet.service.as_ref().map(|service| format!(" service {service}"));
    let (rule, service) = (rule.unwrap_or_default(), service.unwrap_or_default());
    format!(
        "{at} {verdict}{rule}{service} {interface} {protocol} {source} > {destination} {length} B\n"
    )
}

fn endpoint(address: IpAddr, port: Option<u16>) -> String {
    port.map_or_else(|| address.to_string(), |port| SocketAddr::new(address, port).to_string())
}

/// Samples by source address.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    samples: BTreeMap<IpAddr, u64>,
    missed: u64,
}

/// An object of `drops --by source`.
#[derive(Debug, Serialize)]
pub(crate) struct SourceDrops {
    source: IpAddr,
    samples: u64,
}

impl Sources {
    pub(crate) fn count(&mut self, packets: &[DroppedPacket], missed: u64) {
        for packet in packets {
            *self.samples.entry(packet.source).or_default() += 1;
        }
        self.missed += missed;
    }

    /// Most samples first.
    pub(crate) fn rows(&self) -> Vec<SourceDrops> {
        let rows = self.samples.iter();
        let mut rows: Vec<_> = rows
            .map(|(source, samples)| SourceDrops { source: *source, samples: *samples })
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.samples));
        rows
    }

    pub(crate) fn remark(&self, time: Duration) -> String {
        let packets = count(self.samples.values().sum::<u64>(), "packet");
        let time = humantime::format_duration(time);
        let missed = match self.missed {
            0 => String::new(),
            missed => format!(", and {missed} more that are not shown"),
        };
        format!("{packets} sampled in {time}{missed}")
    }
}

pub(crate) fn by_source(rows: &[SourceDrops], look: Look) -> String {
    let columns = [
        Column::new("SOURCE", |row: &SourceDrops| row.source.into()),
        Column::new("SAMPLES", |row: &SourceDrops| row.samples.into()).right(),
    ];
    table(&columns, rows, look)
}

/// What would become of a packet.
pub(crate) fn page(explanation: &Explanation) -> String {
    let Explanation { verdict, kind, help, interface, rule, service, backend } = explanation;
    let or_none = |name: &Option<String>| name.clone().unwrap_or_else(|| "none".to_owned());
    pairs(&[
        ("verdict", format!("{verdict} ({kind})")),
        ("meaning", help.clone()),
        ("interface", interface.clone()),
        ("rule", or_none(rule)),
        ("service", or_none(service)),
        ("backend", or_none(backend)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_packet_is_a_line() {
        let mut packet = DroppedPacket {
            at_unix_ms: 1_700_000_000_123,
            verdict: "firewall_drop".into(),
            rule: Some("bad".into()),
            service: None,
            interface: "eth0".into(),
            protocol: "udp".into(),
            source: "2001:db8::7".parse().unwrap(),
            source_port: Some(53),
            destination: "2001:db8::10".parse().unwrap(),
            destination_port: Some(4000),
            length: 90,
        };
        let start = "2023-11-14T22:13:20Z firewall_drop rule bad eth0";
        let expected = format!("{start} udp [2001:db8::7]:53 > [2001:db8::10]:4000 90 B\n");
        assert_eq!(line(&packet), expected);
        packet.source_port = None;
        packet.destination_port = None;
        let expected = format!("{start} udp 2001:db8::7 > 2001:db8::10 90 B\n");
        assert_eq!(line(&packet), expected);
    }
}
