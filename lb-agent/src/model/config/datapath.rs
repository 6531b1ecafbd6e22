//! `[datapath]`: interfaces, pins and the flow table.

use std::path::PathBuf;
use std::time::Duration;

use super::duration::idle_timeout;
use super::problem::Fault;
use super::reader::{Located, Table};
use super::value::{boolean, choice, integer, interface, path};
use super::{Datapath, Fragments, Timeouts, XdpMode, sources};

const PIN_PATH: &str = "/sys/fs/bpf/lb";
const MAX_FLOWS: u32 = 1_048_576;
const TIMEOUTS: Timeouts = Timeouts {
    tcp_syn: Duration::from_mins(1),
    tcp_established: Duration::from_hours(2),
    tcp_fin: Duration::from_secs(30),
    udp: Duration::from_mins(1),
};

/// Reads `[datapath]`.
pub(super) fn datapath(mut table: Table<'_>) -> Option<Datapath> {
    let interfaces = table.required_list("interfaces", "[\"eth0\"]", interface).items;
    unique(&table, &interfaces);
    let pin_path = table.or("pin_path", PathBuf::from(PIN_PATH), path);
    let manage_addresses = table.or("manage_addresses", false, boolean);
    let xdp_mode = table.or("xdp_mode", XdpMode::Auto, choice(&[]));
    let max_flows = table.or("max_flows", MAX_FLOWS, integer(1_024..=16_777_216));
    let fragments = table.or("fragments", Fragments::Follow, choice(&[]));
    let timeouts = timeouts(table.section("timeouts", "[datapath.timeouts]"));
    let full_nat = sources::full_nat(table.section("full_nat", "[datapath.full_nat]"));
    let tunnel = sources::tunnel(table.section("tunnel", "[datapath.tunnel]"));
    table.finish(&[]);
    Some(Datapath {
        interfaces: interfaces.into_iter().map(|interface| interface.value).collect(),
        pin_path: pin_path?.value,
        manage_addresses: manage_addresses?.value,
        xdp_mode: xdp_mode?.value,
        max_flows: max_flows?.value,
        fragments: fragments?.value,
        timeouts: timeouts?,
        full_nat: full_nat?,
        tunnel: tunnel?,
    })
}

fn unique(table: &Table<'_>, interfaces: &[Located<String>]) {
    for (index, interface) in interfaces.iter().enumerate() {
        let mut earlier = interfaces.iter().take(index);
        if let Some(first) = earlier.find(|other| other.value == interface.value) {
            let message = format!("the interface {:?} is named twice", interface.value);
            let problem = Fault::new(message, "remove one of the two").at(&interface.span);
            table.report.add(problem.and(&first.span, "first named here"));
        }
    }
}

fn timeouts(mut table: Table<'_>) -> Option<Timeouts> {
    let tcp_syn = table.or("tcp_syn", TIMEOUTS.tcp_syn, idle_timeout);
    let tcp_established = table.or("tcp_established", TIMEOUTS.tcp_established, idle_timeout);
    let tcp_fin = table.or("tcp_fin", TIMEOUTS.tcp_fin, idle_timeout);
    let udp = table.or("udp", TIMEOUTS.udp, idle_timeout);
    table.finish(&[]);
    Some(Timeouts {
        tcp_syn: tcp_syn?.value,
        tcp_established: tcp_established?.value,
        tcp_fin: tcp_fin?.value,
        udp: udp?.value,
    })
}
