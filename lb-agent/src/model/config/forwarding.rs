//! What the ways of forwarding ask of a service and of `[datapath]`.

use std::net::SocketAddr;

use super::problem::{Fault, Report};
use super::reader::Located;
use super::service::Draft;
use super::{Datapath, Forward, Word};

/// Checks services against their ways of forwarding.
pub(super) fn check(report: &Report, services: &[Draft], datapath: Option<&Datapath>) {
    for service in services {
        let Some(forward) = service.forward() else { continue };
        match forward.value {
            Forward::Nat => {}
            Forward::FullNat => has_sources(report, service, forward, datapath),
            Forward::Dsr => same_ports(report, service, forward),
            Forward::Ipip | Forward::Gue => {
                same_ports(report, service, forward);
                has_tunnel(report, service, forward, datapath);
            }
        }
    }
}

/// Full NAT needs a source of each family that is listened on.
fn has_sources(
    report: &Report,
    service: &Draft,
    forward: &Located<Forward>,
    datapath: Option<&Datapath>,
) {
    let Some(datapath) = datapath else { return };
    for listen in &service.listen.items {
        let mut sources = datapath.full_nat.sources.iter();
        if !sources.any(|source| source.is_ipv4() == listen.value.is_ipv4()) {
            let family = super::address::family(listen.value);
            let message = format!("full-nat has no {family} source for {}", listen.value);
            let help = "name an address of this host in `[datapath.full_nat]`, as in `sources = [\"192.0.2.2\"]`";
            let fault = Fault::new(message, help).at(&listen.span);
            report.add(fault.and(&forward.span, "full-nat is asked for here"));
        }
    }
}

/// A tunnel needs a source of the family of each backend address.
fn has_tunnel(
    report: &Report,
    service: &Draft,
    forward: &Located<Forward>,
    datapath: Option<&Datapath>,
) {
    let Some(datapath) = datapath else { return };
    for address in addresses(service) {
        let mut sources = datapath.tunnel.sources.iter();
        if !sources.any(|source| source.addr().is_ipv4() == address.value.is_ipv4()) {
            let family = super::address::family(address.value);
            let word = forward.value.word();
            let message = format!("{word} has no {family} source towards {}", address.value);
            let help = "name an address or a prefix of this host in `[datapath.tunnel]`, as in `sources = [\"192.0.2.2\"]`";
            let fault = Fault::new(message, help).at(&address.span);
            report.add(fault.and(&forward.span, "a tunnel is asked for here"));
        }
    }
}

/// Nothing of the packet is rewritten, its ports neither.
fn same_ports(report: &Report, service: &Draft, forward: &Located<Forward>) {
    for address in addresses(service) {
        let mut listens = service.listen.items.iter();
        let other = listens.find(|listen| listen.value.port() != address.value.port());
        let Some(listen) = other else { continue };
        let word = forward.value.word();
        let message = format!(
            "with {word} the backend's port {} cannot differ from the listen port {}",
            address.value.port(),
            listen.value.port()
        );
        let help = "give both the same port, or use nat or full-nat, which rewrite it";
        report
            .add(Fault::new(message, help).at(&address.span).and(&listen.span, "listened on here"));
    }
}

fn addresses(service: &Draft) -> impl Iterator<Item = &Located<SocketAddr>> {
    service.backends.iter().flat_map(|backend| &backend.address.items)
}
