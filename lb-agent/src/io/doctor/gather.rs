//! Reads the facts. What cannot be read stays unknown and is not judged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;

use ethtool::{EthtoolAttr, EthtoolFeatureAttr};
use futures::StreamExt;
use nix::ifaddrs::getifaddrs;

use super::{Ephemeral, Facts, Interface, Peer};
use crate::io::datapath::{is_on_bpffs, map_bytes};
use crate::io::netlink::{Link, links};
use crate::model::config::Config;
use crate::model::firewall::compile::Size;

/// Examines the host for this configuration. `modes` are the attached interfaces' XDP modes, `unresolved`
/// the addresses of backends without a next hop, `elsewhere` the interfaces, not ours, that lead to some.
pub async fn gather(
    config: &Config,
    modes: &BTreeMap<String, String>,
    unresolved: BTreeSet<IpAddr>,
    elsewhere: BTreeMap<IpAddr, String>,
) -> Facts {
    let datapath = &config.datapath;
    let links = links().unwrap_or_default();
    let mut interfaces = Vec::new();
    for name in &datapath.interfaces {
        interfaces.push(interface(name, &links, modes.get(name)).await);
    }
    Facts {
        on_bpffs: is_on_bpffs(&datapath.pin_path),
        pin_path: datapath.pin_path.clone(),
        interfaces,
        manages_addresses: datapath.manage_addresses,
        listens: config.services.iter().flat_map(|s| s.listen.iter().copied()).collect(),
        addresses: addresses(),
        unresolved,
        elsewhere,
        ephemeral: ephemeral(),
        replies_pass: config.services.iter().any(|service| service.forward.replies_pass()),
        full_nat: datapath.full_nat.sources.clone(),
        full_nat_ports: Some(datapath.full_nat.ports.clone()),
        own_sources: own_sources(config),
        rp_filter_all: sysctl("ipv4/conf/all/rp_filter"),
        forwarding_v4: sysctl("ipv4/ip_forward"),
        forwarding_v6: sysctl("ipv6/conf/all/forwarding"),
        max_flows: datapath.max_flows,
        maps: map_bytes(datapath.max_flows, Size::for_prefixes(config.firewall.max_prefixes))
            .unwrap_or_default(),
        memory: memory(),
    }
}

async fn interface(name: &str, links: &[Link], mode: Option<&String>) -> Interface {
    let link = links.iter().find(|link| link.name == name);
    let features = features(name).await;
    let has = |feature| features.as_ref().map(|active| active.contains(feature));
    Interface {
        name: name.to_owned(),
        exists: link.is_some(),
        up: link.is_some_and(|link| link.up),
        running: link.is_some_and(|link| link.running),
        driver: link.and_then(|link| link.kind.clone()).or_else(|| driver(name)),
        mode: mode.cloned(),
        mtu: link.and_then(|link| link.mtu),
        rp_filter: sysctl(&format!("ipv4/conf/{name}/rp_filter")),
        lro: has("rx-lro"),
        gro: has("rx-gro"),
        rx_vlan: has("rx-vlan-hw-parse"),
        vlans: link.map_or_else(Vec::new, |link| vlans(link, links)),
        peer: peer(link, links).await,
    }
}

/// The VLAN devices on an interface.
fn vlans(link: &Link, links: &[Link]) -> Vec<String> {
    let on_it = |other: &&Link| other.is_a("vlan") && other.joined == Some(link.index);
    links.iter().filter(on_it).map(|other| other.name.clone()).collect()
}

/// The other end of a veth that is in this network namespace.
async fn peer(link: Option<&Link>, links: &[Link]) -> Option<Peer> {
    let index = link.filter(|link| link.is_a("veth"))?.joined?;
    let peer = links.iter().find(|other| other.index == index)?;
    let has_program = peer.xdp.is_some_and(|attached| attached.native);
    let merges = features(&peer.name).await.map(|active| active.contains("rx-gro"));
    let polls = if has_program { Some(true) } else { merges };
    Some(Peer { name: peer.name.clone(), polls })
}

/// The driver of a device of the machine; virtual interfaces have a kind instead.
fn driver(interface: &str) -> Option<String> {
    let driver = fs::read_link(format!("/sys/class/net/{interface}/device/driver")).ok()?;
    Some(driver.file_name()?.to_string_lossy().into_owned())
}

/// Memory of the machine.
fn memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// Names of the offloads that are on; `None` where the kernel does not say.
async fn features(interface: &str) -> Option<BTreeSet<String>> {
    let (connection, mut handle, _) = ethtool::new_connection().ok()?;
    let driver = tokio::spawn(connection);
    let mut answers = Box::pin(handle.feature().get(Some(interface)).execute().await.ok()?);
    let answer = answers.next().await;
    driver.abort();
    let mut active = None;
    for attribute in answer?.ok()?.payload.nlas {
        if let EthtoolAttr::Feature(EthtoolFeatureAttr::Active(bits)) = attribute {
            active = Some(bits.into_iter().filter(|bit| bit.value).map(|bit| bit.name).collect());
        }
    }
    active
}

/// Addresses that the host has.
pub fn addresses() -> BTreeSet<IpAddr> {
    let found = getifaddrs().into_iter().flatten().filter_map(|entry| entry.address);
    found
        .filter_map(|address| match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(v4), _) => Some(IpAddr::V4(v4.ip())),
            (None, Some(v6)) => Some(IpAddr::V6(v6.ip())),
            (None, None) => None,
        })
        .collect()
}

/// What connections to backends have as their source. A UDP socket asks for the route, and sends nothing.
fn own_sources(config: &Config) -> BTreeSet<IpAddr> {
    let backends = config.services.iter().flat_map(|service| &service.backends);
    let source = |backend: &SocketAddr| {
        let any = if backend.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(backend).ok()?;
        socket.local_addr().ok().map(|address| address.ip())
    };
    backends.flat_map(|backend| &backend.address).filter_map(source).collect()
}

fn ephemeral() -> Option<Ephemeral> {
    let range = read("ipv4/ip_local_port_range")?;
    let mut ends = range.split_whitespace().filter_map(|end| end.parse().ok());
    let range = ends.next()?..=ends.next()?;
    let reserved = read("ipv4/ip_local_reserved_ports").unwrap_or_default();
    Some(Ephemeral { range, reserved: reserved.split(',').filter_map(ports).collect() })
}

/// `80` or `8000-8099`.
fn ports(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
}

/// `/proc/sys/net` shows the network namespace of the process that reads, unlike `/sys/class/net`, which
/// shows the one it was mounted in.
fn read(key: &str) -> Option<String> {
    fs::read_to_string(Path::new("/proc/sys/net").join(key)).ok()
}

/// A value under /proc/sys/net.
pub fn sysctl<T: FromStr>(key: &str) -> Option<T> {
    read(key)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn reserved_ports_are_single_or_ranges() {
        assert_eq!(ports("80\n"), Some(80..=80));
        assert_eq!(ports("8000-8099"), Some(8000..=8099));
        assert_eq!(ports("\n"), None);
    }

    #[tokio::test]
    async fn the_loopback_interface_is_known_by_its_facts() {
        let links = links().unwrap();
        let lo = interface("lo", &links, None).await;
        assert!(lo.exists);
        assert!(lo.mtu.is_some());
        assert!(lo.up && memory().unwrap() > 1 << 20);
        assert!(lo.rp_filter.is_some());
        // The kernel's loopback device has no LRO to turn on (loopback_net.c).
        assert_eq!(lo.lro, Some(false));
        assert!(addresses().contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }

    #[tokio::test]
    async fn an_interface_that_does_not_exist_has_no_facts() {
        let none = interface("no-such-nic", &[], None).await;
        assert!(!none.exists);
        assert_eq!((none.lro, none.rp_filter), (None, None));
    }

    #[test]
    fn the_range_of_ephemeral_ports_is_read() {
        let ephemeral = ephemeral().unwrap();
        assert!(ephemeral.range.start() < ephemeral.range.end());
    }
}
