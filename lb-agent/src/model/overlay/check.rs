//! Whether a backend fits into its service: the rules of the configuration file, for changes at run time.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::model::config::{Backend, MAX_WEIGHT, Service, unusable, unusable_name};

/// Checks a backend that is to join the other backends of `service`; says what is wrong.
pub(super) fn backend(
    vips: &BTreeSet<IpAddr>,
    service: &Service,
    backend: &Backend,
) -> Result<(), String> {
    if backend.weight > MAX_WEIGHT {
        return Err(format!("the weight {} is above {MAX_WEIGHT}", backend.weight));
    }
    if let Some(fault) = unusable_name(&backend.name) {
        return Err(fault);
    }
    backend.address.iter().try_for_each(|address| usable(vips, *address))?;
    families(backend)?;
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
    for (is_ipv4, family) in [(true, "IPv4"), (false, "IPv6")] {
        let has = |addresses: &[SocketAddr]| addresses.iter().any(|at| at.is_ipv4() == is_ipv4);
        let is_served = service.backends.iter().any(|backend| has(&backend.address));
        if has(&service.listen) && !is_served && !service.backends.is_empty() {
            return Err(format!("it listens on {family}, and no backend has an {family} address"));
        }
    }
    Ok(())
}
