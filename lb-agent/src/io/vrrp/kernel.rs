//! The interfaces and their addresses, as the routers see them.

use std::io;

use crate::io::netlink::{addresses, links};
use crate::model::vrrp::{Interface, Network};

pub(super) fn read_network() -> io::Result<Network> {
    let (links, addresses) = (links()?, addresses()?);
    let interface = |index| {
        let own = addresses.iter().filter(move |(of, _)| *of == index);
        own.map(|(_, net)| *net).collect()
    };
    let network = links.into_iter().map(|link| {
        let addresses = interface(link.index);
        let is_running = link.up && link.running;
        (link.name, Interface { index: link.index, mac: link.mac, is_running, addresses })
    });
    Ok(network.collect())
}
