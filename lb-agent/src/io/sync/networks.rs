//! The networks that interfaces are in: two directors with an interface in the same one reach the same
//! neighbours by them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::SockaddrStorage;

/// The indexes of those of these interfaces that exist, and the networks of each. Addresses without a network, as
/// VIPs are, do not count, nor do link-local ones, which mean something else on every link.
pub(super) fn networks(interfaces: &[String]) -> Vec<(u32, Vec<IpNet>)> {
    let mut found: BTreeMap<u32, Vec<IpNet>> = BTreeMap::new();
    for entry in getifaddrs().into_iter().flatten() {
        if !interfaces.contains(&entry.interface_name) {
            continue;
        }
        let (address, mask) = (entry.address.and_then(ip), entry.netmask.and_then(ip));
        let network = address.zip(mask).and_then(|(address, mask)| network(address, mask));
        let index = if_nametoindex(entry.interface_name.as_str()).ok();
        if let Some((index, network)) = index.zip(network) {
            found.entry(index).or_default().push(network);
        }
    }
    found.into_iter().collect()
}

fn ip(address: SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| address.ip().into());
    v4.or_else(|| address.as_sockaddr_in6().map(|address| address.ip().into()))
}

fn network(address: IpAddr, mask: IpAddr) -> Option<IpNet> {
    let network = IpNet::with_netmask(address, mask).ok()?.trunc();
    let is_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    (network.prefix_len() < network.max_prefix_len() && !is_local).then_some(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_what_an_address_leads_to() {
        let of = |address: &str, mask: &str| {
            network(address.parse().unwrap(), mask.parse().unwrap()).map(|net| net.to_string())
        };
        assert_eq!(of("192.0.2.1", "255.255.255.0").as_deref(), Some("192.0.2.0/24"));
        assert_eq!(
            of("2001:db8:1::1", "ffff:ffff:ffff:ffff::").as_deref(),
            Some("2001:db8:1::/64")
        );
        assert_eq!(of("203.0.113.10", "255.255.255.255"), None);
        assert_eq!(of("fe80::1", "ffff:ffff:ffff:ffff::"), None);
    }
}
