//! Examines the host for what keeps a load balancer from working, and tells the remedy of each.
//!
//! [`gather`] reads the facts, [`evaluate`] judges them and touches nothing.

mod gather;
mod nic;
mod ports;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use lb_common::api::Check;

use crate::model::agent::{SAME_MODE, detour_remedy};

pub use gather::{addresses, gather, sysctl};
pub use ports::Ephemeral;

/// What was found on the host.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The folder for pins.
    pub pin_path: PathBuf,
    /// Whether it lies on a BPF file system.
    pub on_bpffs: bool,
    /// The configured interfaces.
    pub interfaces: Vec<Interface>,
    /// Whether the agent puts VIPs on the interface itself.
    pub manages_addresses: bool,
    /// Where the services listen.
    pub listens: Vec<SocketAddr>,
    /// Addresses that the host has.
    pub addresses: BTreeSet<IpAddr>,
    /// Addresses of backends without a next hop.
    pub unresolved: BTreeSet<IpAddr>,
    /// Names of the interfaces, not ours, that lead to some of them.
    pub elsewhere: BTreeMap<IpAddr, String>,
    /// Ports that the host takes for its own connections, without those reserved.
    pub ephemeral: Option<Ephemeral>,
    /// Whether a service's replies pass the director.
    pub replies_pass: bool,
    /// Sources of full NAT.
    pub full_nat: Vec<IpAddr>,
    /// Their ports.
    pub full_nat_ports: Option<RangeInclusive<u16>>,
    /// What the host's own connections to backends have as their source.
    pub own_sources: BTreeSet<IpAddr>,
    /// `net.ipv4.conf.all.rp_filter`.
    pub rp_filter_all: Option<u32>,
    /// `net.ipv4.ip_forward`.
    pub forwarding_v4: Option<u32>,
    /// `net.ipv6.conf.all.forwarding`.
    pub forwarding_v6: Option<u32>,
    /// `max_flows` of the configuration.
    pub max_flows: u32,
    /// Memory that the maps take, the flow table included, in bytes.
    pub maps: u64,
    /// Memory of the machine, in bytes.
    pub memory: Option<u64>,
}

/// An interface of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Whether there is one of that name.
    pub exists: bool,
    /// Whether it is up, in the administrator's eyes.
    pub up: bool,
    /// Whether it has a carrier.
    pub running: bool,
    /// Name of its driver.
    pub driver: Option<String>,
    /// `native` or `generic`, once attached.
    pub mode: Option<String>,
    /// Largest packet.
    pub mtu: Option<u32>,
    /// `net.ipv4.conf.NAME.rp_filter`.
    pub rp_filter: Option<u32>,
    /// Whether the NIC or the driver merges received packets (LRO).
    pub lro: Option<bool>,
    /// Whether the kernel merges received packets (GRO).
    pub gro: Option<bool>,
    /// Whether the NIC takes VLAN tags off received frames.
    pub rx_vlan: Option<bool>,
    /// VLAN devices on it.
    pub vlans: Vec<String>,
    /// The other end of a veth, where it is in this network namespace.
    pub peer: Option<Peer>,
}

impl Interface {
    fn is(&self, mode: &str) -> bool {
        self.mode.as_deref() == Some(mode)
    }
}

/// The other end of a veth.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Whether it polls for frames, as those need that XDP sends.
    pub polls: Option<bool>,
}

/// Judges what was found, in the order in which an operator would set things right.
pub fn evaluate(facts: &Facts) -> Vec<Check> {
    let mut checks = vec![bpffs(facts), memory(facts)];
    for interface in &facts.interfaces {
        checks.push(link(interface));
        if interface.exists {
            checks.extend(nic::evaluate(interface));
            checks.extend(rp_filter(interface, facts));
        }
    }
    checks.extend(modes(&facts.interfaces));
    checks.extend(equal_mtu(facts));
    checks.extend(vips(facts));
    checks.extend(next_hops(facts));
    checks.extend(ports::evaluate(facts));
    checks.extend(forwarding(facts));
    checks
}

fn good(name: impl Into<String>, detail: impl Into<String>) -> Check {
    Check { name: name.into(), ok: true, detail: detail.into(), remedy: None }
}

fn bad(name: impl Into<String>, detail: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check { name: name.into(), ok: false, detail: detail.into(), remedy: Some(remedy.into()) }
}

fn bpffs(facts: &Facts) -> Check {
    let path = facts.pin_path.display();
    if facts.on_bpffs {
        return good("bpffs", format!("{path} lies on a BPF file system"));
    }
    let remedy = "mount -t bpf bpf /sys/fs/bpf, or set [datapath] pin_path to a folder on one";
    bad("bpffs", format!("{path} does not lie on a BPF file system"), remedy)
}

/// The kernel takes it when the agent starts, whether there are flows or not.
fn memory(facts: &Facts) -> Check {
    let takes = format!(
        "{} MiB of the kernel's, with {} flows",
        facts.maps.div_ceil(1 << 20),
        facts.max_flows
    );
    if facts.memory.is_some_and(|memory| facts.maps > memory / 2) {
        let detail = format!("{takes}, which is more than half of the machine's");
        return bad("memory", detail, "lower [datapath] max_flows: a flow takes 288 bytes");
    }
    good("memory", takes)
}

fn link(interface: &Interface) -> Check {
    let name = &interface.name;
    let check = format!("interface {name}");
    match (interface.exists, interface.up, interface.running) {
        (false, ..) => {
            let remedy = "correct [datapath] interfaces; `ip link` lists those there are";
            bad(check, "does not exist", remedy)
        }
        (true, false, _) => bad(check, "is down", format!("ip link set {name} up")),
        (true, true, false) => bad(check, "has no carrier", "look at its cable and its peer"),
        (true, true, true) => {
            let driver = interface.driver.as_deref().unwrap_or("unknown");
            good(check, format!("is up, driver {driver}"))
        }
    }
}

/// Balanced packets never meet the filter: XDP sees them first. The kernel uses the larger one of the
/// interface's value and that of `all`; 1 is strict.
fn rp_filter(interface: &Interface, facts: &Facts) -> Option<Check> {
    let value = interface.rp_filter?.max(facts.rp_filter_all?);
    let detail = match value {
        1 => {
            "strict: the host itself does not hear who comes by another way than it would answer (a \
             ping to a VIP); balanced packets are not filtered"
        }
        0 => "off",
        _ => "loose",
    };
    Some(good(format!("rp_filter {}", interface.name), detail))
}

/// Sluice forwards by itself; the kernel only does it for those who use the director as a router.
fn forwarding(facts: &Facts) -> Option<Check> {
    let word = |value| if value == 0 { "off" } else { "on" };
    let families = [("IPv4", facts.forwarding_v4), ("IPv6", facts.forwarding_v6)];
    let known = families.into_iter().filter_map(|(name, value)| Some((name, word(value?))));
    let known: Vec<_> = known.map(|(name, word)| format!("{name} {word}")).collect();
    let detail = format!(
        "{}: balanced traffic does not need it; connections that backends open through this host do",
        known.join(", ")
    );
    (!known.is_empty()).then(|| good("forwarding", detail))
}

/// That not all interfaces, given by name and mode, run the program in the same mode.
///
/// A native program sends by the driver of the target (`ndo_xdp_xmit`), where one that has no native XDP has
/// nothing to take the frame; the kernel then drops it, and only a tracepoint tells.
pub fn mixed_modes<'a>(
    interfaces: &(impl Iterator<Item = (&'a str, &'a str)> + Clone),
) -> Option<String> {
    let first = |mode| interfaces.clone().find(|(_, of)| *of == mode);
    let (native, generic) = (first("native")?.0, first("generic")?.0);
    Some(format!(
        "{native} is native and {generic} generic: what goes from the one out of the other may be dropped \
         unseen"
    ))
}

fn modes(interfaces: &[Interface]) -> Option<Check> {
    let modes = interfaces.iter().filter_map(|i| Some((i.name.as_str(), i.mode.as_deref()?)));
    mixed_modes(&modes).map(|detail| bad("XDP modes", detail, SAME_MODE))
}

/// A packet that is too long for the way to a backend is reported to its sender, a reply is not.
fn equal_mtu(facts: &Facts) -> Option<Check> {
    let known = facts.interfaces.iter().filter_map(|i| Some((&i.name, i.mtu?)));
    let known: Vec<_> = known.collect();
    if known.len() < 2 {
        return None;
    }
    let equal = known.iter().all(|(_, mtu)| known.first().is_some_and(|(_, first)| first == mtu));
    let list: Vec<_> = known.iter().map(|(name, mtu)| format!("{name} {mtu}")).collect();
    let detail = list.join(", ");
    let remedy = "give all interfaces the same MTU: XDP does not fragment replies";
    let is_good = equal || !facts.replies_pass;
    Some(if is_good { good("MTU", detail) } else { bad("MTU", detail, remedy) })
}

fn vips(facts: &Facts) -> Vec<Check> {
    let vips: BTreeSet<_> = facts.listens.iter().map(SocketAddr::ip).collect();
    let judge = |vip: IpAddr| {
        let name = format!("VIP {vip}");
        if facts.addresses.contains(&vip) {
            return good(name, "is on an interface");
        }
        let remedy = if facts.manages_addresses {
            "the agent adds it; see its log for why it could not".to_owned()
        } else {
            let bits = if vip.is_ipv4() { 32 } else { 128 };
            format!(
                "ip address add {vip}/{bits} dev INTERFACE, route it here, or set [datapath] \
                 manage_addresses = true"
            )
        };
        bad(name, "is on no interface: nobody answers ARP or neighbour discovery for it", remedy)
    };
    vips.into_iter().map(judge).collect()
}

fn next_hops(facts: &Facts) -> Vec<Check> {
    if facts.unresolved.is_empty() {
        return vec![good("next hops", "all resolved")];
    }
    let judge = |address: &IpAddr| {
        let check = format!("next hop {address}");
        if facts.addresses.contains(address) {
            let remedy =
                "move the backend to another machine: XDP does not hand packets to its own";
            return bad(check, "is this host itself", remedy);
        }
        if let Some(interface) = facts.elsewhere.get(address) {
            let detail = format!("by {interface}, which is not in [datapath] interfaces");
            return bad(check, detail, detour_remedy(interface));
        }
        let remedy = format!("see `ip route get {address}` and `ip neighbour`; is the machine on?");
        bad(check, "not resolved: no route, or no answer to ARP or neighbour discovery", remedy)
    };
    facts.unresolved.iter().map(judge).collect()
}
