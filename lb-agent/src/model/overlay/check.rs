//! Whether a backend fits into its service: the rules of the configuration file, for changes at run time.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::model::config::{
    Backend, Config, Forward, MAX_WEIGHT, Service, Word, unusable, unusable_name,
};

/// What the file says besides a service.
pub(super) struct Around {
    vips: BTreeSet<IpAddr>,
    /// The sources of tunnels.
    tunnels: Vec<IpAddr>,
}

impl Around {
    pub(super) fn of(file: &Config) -> Self {
        let listens = file.services.iter().flat_map(|service| &service.listen);
        let tunnels = file.datapath.tunnel.sources.iter().map(IpNet::addr);
        Self { vips: listens.map(SocketAddr::ip).collect(), tunnels: tunnels.collect() }
    }
}

/// Checks a backend that is to join the other backends of `service`; says what is wrong.
pub(super) fn backend(around: &Around, service: &Service, backend: &Backend) -> Result<(), String> {
    if backend.weight > MAX_WEIGHT {
        return Err(format!("the weight {} is above {MAX_WEIGHT}", backend.weight));
    }
    if let Some(fault) = unusable_name(&backend.name) {
        return Err(fault);
    }
    backend.address.iter().try_for_each(|address| usable(&around.vips, *address))?;
    families(backend)?;
    backend.address.iter().try_for_each(|address| reachable(around, service, *address))?;
    let taken = service.backends.iter().find_map(|other| {
        let address = other.address.iter().find(|address| backend.address.contains(address))?;
        Some(format!("{address} is the address of backend {}", other.name))
    });
    taken.map_or(Ok(()), Err)
}

fn usable(vips: &BTreeSet<IpAddr>, address: SocketAddr) -> Result<(), String> {
    if vips.contains(&address.ip()) {
        return Err(format!("{} is a VIP", address.ip()));
    }
    if address.port() == 0 {
        return Err(format!("the port of {address} is 0"));
    }
    unusable(address.ip()).map_or(Ok(()), |kind| Err(format!("{} is {kind}", address.ip())))
}

/// Whether packets can be sent there by the service's way of forwarding.
fn reachable(around: &Around, service: &Service, address: SocketAddr) -> Result<(), String> {
    let word = service.forward.word();
    let is_tunnel = match service.forward {
        Forward::Nat | Forward::FullNat => return Ok(()),
        Forward::Dsr => false,
        Forward::Ipip | Forward::Gue => true,
    };
    if let Some(listen) = service.listen.iter().find(|listen| listen.port() != address.port()) {
        return Err(format!(
            "with {word} the port {} cannot differ from the listen port {}",
            address.port(),
            listen.port()
        ));
    }
    let mut sources = around.tunnels.iter();
    if is_tunnel && !sources.any(|source| source.is_ipv4() == address.is_ipv4()) {
        return Err(format!("{word} has no source of its family towards {}", address.ip()));
    }
    Ok(())
}

/// At least one address, and at most one of each family.
fn families(backend: &Backend) -> Result<(), String> {
    let n_v4 = backend.address.iter().filter(|address| address.is_ipv4()).count();
    match (n_v4, backend.address.len() - n_v4) {
        (0, 0) => Err("no address is given".to_owned()),
        (2.., _) => Err("more than one IPv4 address is given".to_owned()),
        (_, 2..) => Err("more than one IPv6 address is given".to_owned()),
        (0 | 1, 0 | 1) => Ok(()),
    }
}

/// Checks that each family that the service listens on has a backend, unless it has none at all.
pub(super) fn service(service: &Service) -> Result<(), String> {
    if service.forward.crosses_families() {
        return Ok(());
    }
    for (is_ipv4, family) in [(true, "IPv4"), (false, "IPv6")] {
        let has = |addresses: &[SocketAddr]| addresses.iter().any(|at| at.is_ipv4() == is_ipv4);
        let is_served = service.backends.iter().any(|backend| has(&backend.address));
        if has(&service.listen) && !is_served && !service.backends.is_empty() {
            return Err(format!("it listens on {family}, and no backend has an {family} address"));
        }
    }
    Ok(())
}
