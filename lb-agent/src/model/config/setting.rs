//! A configuration as keys and values, for writing and for comparing.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use super::duration::encode_duration;
use super::word::{Kind, Word};
use super::{
    Affinity, Backend, CheckKind, Config, Datapath, FullNat, HealthCheck, Service, Sync, Timeouts,
    firewall,
};

/// A key and its value; `None`: the file does not have the key.
pub(super) struct Setting {
    pub(super) key: &'static str,
    pub(super) value: Option<Literal>,
}

/// A value as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    /// With quotes in the file.
    Text(String),
    /// Without.
    Bare(String),
    /// A list of texts.
    List(Vec<String>),
}

impl Literal {
    /// As TOML writes it.
    pub(super) fn to_toml(&self) -> String {
        match self {
            Self::Text(text) => quote(text),
            Self::Bare(text) => text.clone(),
            Self::List(texts) => {
                let texts: Vec<String> = texts.iter().map(|text| quote(text)).collect();
                format!("[{}]", texts.join(", "))
            }
        }
    }
}

/// For a person.
impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::Bare(text) => f.write_str(text),
            Self::List(texts) => f.write_str(&texts.join(", ")),
        }
    }
}

/// A TOML basic string, which can be a key too.
pub(super) fn quote(text: &str) -> String {
    let escaped = text.chars().map(|c| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

/// The tables of a file that stand once.
pub(super) fn sections(config: &Config) -> [(&'static str, Vec<Setting>); 9] {
    let Config { agent, api, metrics, datapath, firewall, services: _, vrrp: _, sync } = config;
    let agent = vec![
        text("node", &agent.node),
        word("shutdown", agent.shutdown),
        path("state_dir", &agent.state_dir),
    ];
    let api =
        vec![path("socket", &api.socket), text("socket_mode", format!("{:04o}", api.socket_mode))];
    let listen = metrics.listen.map(|listen| Literal::Text(listen.to_string()));
    let metrics = vec![optional("listen", listen)];
    let Datapath { timeouts: idle, full_nat, tunnel, .. } = datapath;
    let timeouts = timeouts(idle);
    let datapath = vec![
        list("interfaces", &datapath.interfaces),
        path("pin_path", &datapath.pin_path),
        bare("manage_addresses", datapath.manage_addresses),
        word("xdp_mode", datapath.xdp_mode),
        bare("max_flows", datapath.max_flows),
        word("fragments", datapath.fragments),
    ];
    let FullNat { sources, ports } = full_nat;
    let full_nat = vec![
        list_if_any("sources", sources),
        text("ports", format!("{}-{}", ports.start(), ports.end())),
    ];
    let tunnel = vec![list_if_any("sources", &tunnel.sources), bare("gue_port", tunnel.gue_port)];
    [
        ("agent", agent),
        ("api", api),
        ("metrics", metrics),
        ("datapath", datapath),
        ("datapath.timeouts", timeouts),
        ("datapath.full_nat", full_nat),
        ("datapath.tunnel", tunnel),
        ("sync", sync.as_ref().map_or_else(Vec::new, sync_settings)),
        ("firewall", firewall::setting::firewall(firewall)),
    ]
}

fn sync_settings(sync: &Sync) -> Vec<Setting> {
    vec![
        text("listen", sync.listen.to_string()),
        list("peers", &sync.peers),
        path("key_file", &sync.key_file),
    ]
}

fn timeouts(timeouts: &Timeouts) -> Vec<Setting> {
    vec![
        duration("tcp_syn", timeouts.tcp_syn),
        duration("tcp_established", timeouts.tcp_established),
        duration("tcp_fin", timeouts.tcp_fin),
        duration("udp", timeouts.udp),
    ]
}

/// A service without its health check and its backends.
pub(super) fn service(service: &Service) -> Vec<Setting> {
    vec![
        text("name", &service.name),
        list("listen", &service.listen),
        word("protocol", service.protocol),
        word("forward", service.forward),
        word("scheduler", service.scheduler),
        word("on_backend_down", service.on_backend_down),
        optional("slow_start", service.slow_start.map(text_of)),
        optional("drain_timeout", service.drain_timeout.map(text_of)),
        optional(
            "panic_threshold",
            service.panic_threshold.map(|it| Literal::Bare(it.to_string())),
        ),
        optional("affinity", service.affinity.map(affinity)),
        list_if_any("allow", &service.allow),
    ]
}

fn affinity(affinity: Affinity) -> Literal {
    let Affinity { by, prefix_v4, prefix_v6, timeout } = affinity;
    let (by, timeout) = (quote(by.word()), quote(&encode_duration(timeout)));
    Literal::Bare(format!(
        "{{ by = {by}, prefix_v4 = {prefix_v4}, prefix_v6 = {prefix_v6}, timeout = {timeout} }}"
    ))
}

/// A backend.
pub(super) fn backend(backend: &Backend) -> Vec<Setting> {
    vec![
        text("name", &backend.name),
        list::<SocketAddr>("address", &backend.address),
        bare("weight", backend.weight),
        word("state", backend.state),
        bare("backup", backend.backup),
    ]
}

/// A health check without its name.
pub(super) fn health_check(check: &HealthCheck) -> Vec<Setting> {
    let mut settings = vec![
        word("type", Kind::from(&check.kind)),
        duration("interval", check.interval),
        duration("timeout", check.timeout),
        text("jitter", format!("{:.0}%", check.jitter * 100.0)),
        bare("rise", check.rise),
        bare("fall", check.fall),
    ];
    if let CheckKind::Http { path, host, expect_status } = &check.kind {
        let statuses: Vec<String> = expect_status.iter().map(status).collect();
        settings.push(text("path", path));
        settings.push(optional("host", host.clone().map(Literal::Text)));
        settings.push(list("expect_status", &statuses));
    }
    settings
}

fn status(range: &RangeInclusive<u16>) -> String {
    let (first, last) = (range.start(), range.end());
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

pub(super) fn optional(key: &'static str, value: Option<Literal>) -> Setting {
    Setting { key, value }
}

pub(super) fn text(key: &'static str, value: impl Into<String>) -> Setting {
    Setting { key, value: Some(Literal::Text(value.into())) }
}

pub(super) fn bare(key: &'static str, value: impl fmt::Display) -> Setting {
    Setting { key, value: Some(Literal::Bare(value.to_string())) }
}

pub(super) fn list<T: fmt::Display>(key: &'static str, values: &[T]) -> Setting {
    Setting { key, value: Some(Literal::List(values.iter().map(T::to_string).collect())) }
}

/// The file has no empty lists.
pub(super) fn list_if_any<T: fmt::Display>(key: &'static str, values: &[T]) -> Setting {
    let Setting { key, value } = list(key, values);
    Setting { key, value: value.filter(|_| !values.is_empty()) }
}

pub(super) fn word(key: &'static str, value: impl Word) -> Setting {
    text(key, value.word())
}

pub(super) fn path(key: &'static str, value: &Path) -> Setting {
    text(key, value.to_string_lossy())
}

pub(super) fn duration(key: &'static str, value: Duration) -> Setting {
    Setting { key, value: Some(text_of(value)) }
}

pub(super) fn text_of(duration: Duration) -> Literal {
    Literal::Text(encode_duration(duration))
}
