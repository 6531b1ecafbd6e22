//! The text of `/metrics`: version 0.0.4 of Prometheus' format, which every collector reads.
//!
//! prometheus-client writes the format called `OpenMetrics`, in which a counter's `HELP` and `TYPE` lines leave out `_total`;
//! the older format wants the name as the samples have it, so those two lines are completed.

use std::fmt;

use lb_common::api::{Backend, FlowMove, Health, Service, Traffic};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::Snapshot;

/// Its content type.
pub(super) const CONTENT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Renders a snapshot.
pub(super) fn render(snapshot: Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    encode_registry(&mut text, &registry)?;
    Ok(with_full_names(&text))
}

fn with_full_names(text: &str) -> String {
    let mut full = String::with_capacity(text.len() + 1024);
    let mut help = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
            continue;
        }
        let counter = line.strip_prefix("# TYPE ").and_then(|rest| rest.strip_suffix(" counter"));
        let total = if counter.is_some() { "_total" } else { "" };
        if let Some((name, help)) = help.take() {
            full.extend(["# HELP ", name, total, " ", help, "\n"]);
        }
        match counter {
            Some(name) => full.extend(["# TYPE ", name, total, " counter\n"]),
            None => full.extend([line, "\n"]),
        }
    }
    full
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        self.encode_verdicts(&mut families)?;
        encode_traffic(&mut families, "service", &self.services(), SERVICE)?;
        encode_traffic(&mut families, "backend", &self.backends(), BACKEND)?;
        self.encode_firewall(&mut families)?;
        self.encode_health(&mut families)?;
        self.encode_sync(&mut families)?;
        super::vrrp::encode(&self.vrrp, &mut families)?;
        self.encode_agent(&mut families)
    }
}

pub(super) type Label<'a> = (&'static str, &'a str);

/// One value with its labels.
pub(super) struct Sample<'a> {
    labels: Vec<Label<'a>>,
    value: Value,
}

#[derive(Clone, Copy)]
enum Value {
    Count(u64),
    Gauge(f64),
}

impl Value {
    fn encode(self, metric: &mut MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Count(value) => metric.encode_counter::<Vec<Label<'_>>, u64, u64>(&value, None),
            Self::Gauge(value) => metric.encode_gauge(&value),
        }
    }
}

pub(super) fn count(labels: Vec<Label<'_>>, value: u64) -> Sample<'_> {
    Sample { labels, value: Value::Count(value) }
}

pub(super) fn gauge(labels: Vec<Label<'_>>, value: f64) -> Sample<'_> {
    Sample { labels, value: Value::Gauge(value) }
}

/// A whole number as a gauge has it. Beyond 2^32 it is rounded to 1 in 2^21, less than a graph shows.
pub(super) fn whole(value: u64) -> f64 {
    let (high, scale) = (value >> 32, 4_294_967_296.0);
    let part = |bits: u64| u32::try_from(bits & 0xffff_ffff).map_or(0.0, f64::from);
    part(high) * scale + part(value)
}

fn backend_labels<'a>(service: &'a str, backend: &'a str) -> Vec<Label<'a>> {
    vec![("service", service), ("backend", backend)]
}

pub(super) fn yes(value: bool) -> f64 {
    f64::from(u8::from(value))
}

pub(super) struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    /// Writes a family. The name of a counter is given without `_total`, the help without its full stop.
    pub(super) fn family<'s>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = Sample<'s>>,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        let Some(first) = samples.peek() else { return Ok(()) };
        let kind = match first.value {
            Value::Count(_) => MetricType::Counter,
            Value::Gauge(_) => MetricType::Gauge,
        };
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for sample in samples {
            if sample.labels.is_empty() {
                sample.value.encode(&mut family)?;
            } else {
                sample.value.encode(&mut family.encode_family(&sample.labels)?)?;
            }
        }
        Ok(())
    }
}

/// Families of traffic by the labels that say whose it is.
type Rows<'a> = Vec<(Vec<Label<'a>>, &'a Traffic)>;

/// Help texts of the families of [`encode_traffic`], in its order.
type Helps = [&'static str; 5];

const SERVICE: Helps = [
    "Packets balanced, to backends and back to clients",
    "Bytes balanced, Ethernet headers included",
    "Flows given to a backend",
    "Flows in the flow table now",
    "Packets to the service that were dropped",
];
const BACKEND: Helps = [
    "Packets to the backend and back from it",
    "Bytes to the backend and back from it, Ethernet headers included",
    "Flows given to the backend",
    "Flows of the backend in the flow table now",
    "Packets for the backend that were dropped",
];

fn encode_traffic(
    families: &mut Families<'_>,
    whose: &str,
    rows: &Rows<'_>,
    helps: Helps,
) -> fmt::Result {
    let [packets, bytes, flows_total, flows, dropped] = helps;
    let directed = |to: fn(&Traffic) -> u64, from: fn(&Traffic) -> u64| {
        rows.iter().flat_map(move |(labels, traffic)| {
            let with = |direction| [labels.as_slice(), &[("direction", direction)]].concat();
            [count(with("to_backend"), to(traffic)), count(with("to_client"), from(traffic))]
        })
    };
    let plain = |value: fn(&Traffic) -> u64| {
        rows.iter().map(move |(labels, traffic)| count(labels.clone(), value(traffic)))
    };
    families.family(
        &format!("lb_{whose}_packets"),
        packets,
        directed(|t| t.packets, |t| t.reply_packets),
    )?;
    families.family(
        &format!("lb_{whose}_bytes"),
        bytes,
        directed(|t| t.bytes, |t| t.reply_bytes),
    )?;
    families.family(&format!("lb_{whose}_flows"), flows_total, plain(|t| t.flows_total))?;
    let now = rows.iter().map(|(labels, traffic)| gauge(labels.clone(), whole(traffic.flows)));
    families.family(&format!("lb_{whose}_flows"), flows, now)?;
    families.family(&format!("lb_{whose}_dropped_packets"), dropped, plain(|t| t.dropped))
}

impl Snapshot {
    fn services<'a>(&'a self) -> Rows<'a> {
        let row =
            |service: &'a Service| (vec![("service", service.name.as_str())], &service.traffic);
        self.services.iter().map(row).collect()
    }

    fn each_backend<'a>(&'a self) -> impl Iterator<Item = (Vec<Label<'a>>, &'a Backend)> {
        self.services.iter().flat_map(|service| {
            let with_labels =
                |backend: &'a Backend| (backend_labels(&service.name, &backend.name), backend);
            service.backends.iter().map(with_labels)
        })
    }

    fn backends(&self) -> Rows<'_> {
        self.each_backend().map(|(labels, backend)| (labels, &backend.traffic)).collect()
    }

    fn encode_verdicts(&self, families: &mut Families<'_>) -> fmt::Result {
        let samples = |value: fn(&_) -> u64| {
            self.verdicts.iter().map(move |verdict| {
                count(vec![("verdict", &verdict.verdict), ("kind", &verdict.kind)], value(verdict))
            })
        };
        families.family(
            "lb_packets",
            "Packets by what happened to them",
            samples(|v| v.packets),
        )?;
        families.family("lb_bytes", "Bytes by what happened to their packets", samples(|v| v.bytes))
    }

    fn encode_health(&self, families: &mut Families<'_>) -> fmt::Result {
        let up = self
            .each_backend()
            .map(|(labels, backend)| gauge(labels, yes(backend.health == Health::Up)));
        families.family("lb_backend_up", "Whether the health checks find the backend up", up)?;
        let serving =
            self.each_backend().map(|(labels, backend)| gauge(labels, yes(backend.serving)));
        families.family("lb_backend_serving", "Whether the backend takes new flows", serving)?;
        let addresses: Vec<_> =
            self.health.iter().map(|target| target.address.to_string()).collect();
        let took = self.health.iter().zip(&addresses).map(|(target, address)| {
            let mut labels = backend_labels(&target.service, &target.backend);
            labels.push(("address", address));
            gauge(labels, whole(target.last_duration_ms) / 1000.0)
        });
        families.family("lb_probe_duration_seconds", "Duration of the last probe", took)?;
        let changes = [count(Vec::new(), self.health_changes)];
        families.family("lb_health_changes", "Times that a target became up or down", changes)
    }

    fn encode_agent(&self, families: &mut Families<'_>) -> fmt::Result {
        let one = |value| [gauge(Vec::new(), value)];
        families.family(
            "lb_flow_table_flows",
            "Flows in the flow table now",
            one(whole(self.flows)),
        )?;
        let limit = one(whole(self.max_flows));
        families.family("lb_flow_table_limit", "Flows that the flow table is made for", limit)?;
        self.encode_move(families)?;
        let reloads = [("success", self.reloads.succeeded), ("failure", self.reloads.failed)]
            .map(|(result, n)| count(vec![("result", result)], n));
        families.family("lb_config_reloads", "Configurations read again or applied", reloads)?;
        let last = one(yes(self.reloads.last_succeeded));
        let help = "Whether the last configuration read or applied was taken";
        families.family("lb_config_last_reload_success", help, last)?;
        let version = [gauge(vec![("version", env!("CARGO_PKG_VERSION"))], 1.0)];
        families.family("lb_build_info", "Version of the agent", version)
    }
    fn encode_move(&self, families: &mut Families<'_>) -> fmt::Result {
        let is_moving = [gauge(Vec::new(), yes(self.is_moving))];
        let help = "Whether flows are being moved to a flow table of another size";
        families.family("lb_flow_table_moving", help, is_moving)?;
        let cells = |value: fn(FlowMove) -> u64| {
            self.flow_move.map(|it| gauge(Vec::new(), whole(value(it)))).into_iter()
        };
        let help = "Cells that the last sweep found in the old flow table, while flows are moved";
        families.family("lb_flow_table_move_left_cells", help, cells(|it| it.cells_left))?;
        let help = "Cells in both flow tables, while flows are moved";
        families.family("lb_flow_table_move_cells", help, cells(|it| it.cells))
    }
}
