//! Services: their list, one in full, their counters.

use lb_common::api::{Service, Traffic};

use super::Look;
use super::backend;
use super::table::{Column, Tone, Word, pairs, table};
use super::units::{addresses, bytes, count};

pub(crate) fn list(services: &[Service], look: Look) -> String {
    let columns = [
        Column::new("NAME", |service: &Service| Word::from(&service.name)),
        Column::new("PROTOCOL", |service: &Service| Word::from(&service.protocol)),
        Column::new("LISTEN", |service: &Service| addresses(&service.listen).into()),
        Column::new("SCHEDULER", |service: &Service| Word::from(&service.scheduler)),
        Column::new("SERVING", serving),
        Column::new("FLOWS", |service: &Service| service.traffic.flows.into()).right(),
        Column::new("FORWARD", |service: &Service| Word::from(&service.forward)).wide(),
        Column::new("CHECK", |service: &Service| check(service).into()).wide(),
        Column::new("PACKETS", |service: &Service| service.traffic.packets.into()).right().wide(),
        Column::new("BYTES", |service: &Service| bytes(service.traffic.bytes).into())
            .right()
            .wide(),
    ];
    table(&columns, services, look)
}

/// `2/3`: backends that take new flows, of all.
fn serving(service: &Service) -> Word {
    let all = service.backends.len();
    let serving = service.backends.iter().filter(|backend| backend.serving).count();
    let tone = match serving {
        0 => Tone::Bad,
        _ if serving == all => Tone::Good,
        _ => Tone::Plain,
    };
    Word::new(&format!("{serving}/{all}"), tone)
}

fn check(service: &Service) -> &str {
    service.health_check.as_deref().unwrap_or("-")
}

pub(crate) fn page(service: &Service, look: Look) -> String {
    let traffic = &service.traffic;
    let head = pairs(&[
        ("service", service.name.clone()),
        ("listen", addresses(&service.listen)),
        ("protocol", service.protocol.clone()),
        ("forward", service.forward.clone()),
        ("scheduler", service.scheduler.clone()),
        ("health check", check(service).to_owned()),
        ("flows", format!("{} now, {} since the start", traffic.flows, traffic.flows_total)),
        ("to backends", amount(traffic.packets, traffic.bytes)),
        ("to clients", amount(traffic.reply_packets, traffic.reply_bytes)),
        ("dropped", count(traffic.dropped, "packet")),
    ]);
    format!("{head}\n{}", backend::list(&backend::rows(std::slice::from_ref(service)), look))
}

/// `12 packets, 3.4 KiB`
pub(crate) fn amount(packets: u64, size: u64) -> String {
    format!("{}, {}", count(packets, "packet"), bytes(size))
}

/// A line of counters.
struct Counters<'a> {
    name: &'a str,
    traffic: &'a Traffic,
}

/// A line per service.
pub(crate) fn stats(services: &[Service], look: Look) -> String {
    let rows: Vec<_> =
        services.iter().map(|one| Counters { name: &one.name, traffic: &one.traffic }).collect();
    counters("SERVICE", &rows, look)
}

/// A line per backend.
pub(crate) fn stats_of(service: &Service, look: Look) -> String {
    let backends = service.backends.iter();
    let rows: Vec<_> =
        backends.map(|one| Counters { name: &one.name, traffic: &one.traffic }).collect();
    format!("{}\n{}", stats(std::slice::from_ref(service), look), counters("BACKEND", &rows, look))
}

fn counters(heading: &'static str, rows: &[Counters<'_>], look: Look) -> String {
    let columns = [
        Column::new(heading, |row: &Counters| row.name.into()),
        Column::new("FLOWS", |row: &Counters| row.traffic.flows.into()).right(),
        Column::new("NEW FLOWS", |row: &Counters| row.traffic.flows_total.into()).right(),
        Column::new("PACKETS", |row: &Counters| row.traffic.packets.into()).right(),
        Column::new("BYTES", |row: &Counters| bytes(row.traffic.bytes).into()).right(),
        Column::new("REPLIES", |row: &Counters| row.traffic.reply_packets.into()).right(),
        Column::new("REPLY BYTES", |row: &Counters| bytes(row.traffic.reply_bytes).into()).right(),
        Column::new("DROPPED", |row: &Counters| row.traffic.dropped.into()).right(),
    ];
    table(&columns, rows, look)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::backend::tests::shop;

    #[test]
    fn the_list_has_a_line_per_service() {
        assert_eq!(
            list(&[shop()], Look::default()),
            "\
NAME  PROTOCOL  LISTEN                             SCHEDULER  SERVING  FLOWS
shop  tcp       203.0.113.10:80,[2001:db8::10]:80  rr         1/2          5
"
        );
    }

    #[test]
    fn the_wide_list_adds_check_and_counters() {
        let wide = list(&[shop()], Look { wide: true, colour: false });
        assert!(wide.ends_with("5  nat      web         12  1.5 KiB\n"), "{wide}");
    }

    #[test]
    fn one_service_is_shown_with_its_backends() {
        assert_eq!(
            page(&shop(), Look::default()),
            "\
service       shop
listen        203.0.113.10:80,[2001:db8::10]:80
protocol      tcp
forward       nat
scheduler     rr
health check  web
flows         5 now, 7 since the start
to backends   12 packets, 1.5 KiB
to clients    10 packets, 1.0 MiB
dropped       1 packet

SERVICE  BACKEND  ADDRESS        STATE  HEALTH  SERVING  WEIGHT  FLOWS
shop     web1     192.0.2.11:80  ready  up      yes         100      5
shop     sorry    192.0.2.99:80  drain  down    no            1      0
"
        );
    }

    #[test]
    fn counters_of_one_service_are_split_by_backend() {
        assert_eq!(
            stats_of(&shop(), Look::default()),
            "\
SERVICE  FLOWS  NEW FLOWS  PACKETS    BYTES  REPLIES  REPLY BYTES  DROPPED
shop         5          7       12  1.5 KiB       10      1.0 MiB        1

BACKEND  FLOWS  NEW FLOWS  PACKETS    BYTES  REPLIES  REPLY BYTES  DROPPED
web1         5          7       12  1.5 KiB       10      1.0 MiB        1
sorry        0          0        0      0 B        0          0 B        0
"
        );
    }
}
