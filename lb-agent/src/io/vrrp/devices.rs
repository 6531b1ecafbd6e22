//! Devices that have the MAC addresses of virtual routers: a macvlan for each router that wants its own, on the router's
//! interface. It is up while the router is Active; then the kernel hears frames to that address and answers ARP and
//! neighbour discovery from it.
//!
//! It is taken down before its addresses go: a device that is up would take leave of their multicast groups, and the
//! switch would learn from that frame that the MAC address is still here.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use super::places::Noted;
use crate::io::netlink::{Arp, add_macvlan, remove_link, set_arp, set_link_up};
use crate::model::vrrp::{Interface, Key, Network};

/// Does not answer for addresses of scope `host`, which those of virtual routers have, and names addresses of the
/// interface alone as the sender of its questions. All others are as before.
const HIDING: Arp = Arp { ignore: 3, announce: 2 };

/// The device of a router, whose name is within the kernel's 15 characters for any interface. `None`: there is no such
/// interface.
pub(super) fn device_name(network: &Network, router: &Key) -> Option<String> {
    let index = network.get(&router.interface)?.index;
    let family = if router.is_ipv6 { 6 } else { 4 };
    Some(format!("vr{family}-{index:x}-{:x}", router.id))
}

/// The routers whose devices are to be there.
#[derive(Debug, Default)]
pub(super) struct Devices(BTreeSet<Key>);

impl Devices {
    /// These are to be there from now on, and no others.
    pub(super) fn configure(&mut self, routers: BTreeSet<Key>) {
        self.0 = routers;
    }

    /// What is to be noted before [`Devices::make`].
    pub(super) fn note(&self, network: &Network, noted: &mut Noted) {
        noted.devices.extend(self.names(network));
        for parent in self.parents() {
            if let Some(arp) = arp_of(parent).filter(|arp| hidden(*arp) != *arp) {
                noted.arp.entry(parent.clone()).or_insert(arp);
            }
        }
    }

    fn names(&self, network: &Network) -> BTreeSet<String> {
        self.0.iter().filter_map(|router| device_name(network, router)).collect()
    }

    fn parents(&self) -> BTreeSet<&String> {
        self.0.iter().map(|router| &router.interface).collect()
    }

    /// Makes those that are missing. Every one is tried; the first error is returned.
    pub(super) fn make(&self, network: &mut Network) -> Result<(), String> {
        let mut result = Ok(());
        for router in &self.0 {
            let made = make(network, router);
            result = result.and(made.map_err(|error| {
                let (interface, id) = (&router.interface, router.id);
                format!("make the device of virtual router {id} on {interface}: {error}")
            }));
        }
        result
    }

    /// Has those up whose routers are Active, and the others down.
    pub(super) fn set_up(&self, network: &Network, active: &BTreeSet<Key>) -> Result<(), String> {
        let mut result = Ok(());
        for router in &self.0 {
            let name = device_name(network, router);
            let Some((name, device)) = name.and_then(|name| network.get_key_value(&name)) else {
                continue;
            };
            let is_up = active.contains(router);
            let set = set_link_up(device.index, is_up);
            let act = if is_up { "up" } else { "down" };
            result = result.and(set.map_err(|error| format!("take {name} {act}: {error}")));
        }
        result
    }

    /// Removes those that were noted and are not to be there any more, and has interfaces without any do with ARP as
    /// before; forgets both.
    pub(super) fn remove_others(
        &self,
        network: &mut Network,
        noted: &mut Noted,
    ) -> Result<(), String> {
        let (names, mut result) = (self.names(network), Ok(()));
        noted.devices.retain(|name| {
            let is_gone = match network.get(name) {
                _ if names.contains(name) => return true,
                None => Ok(()),
                Some(device) => remove_link(device.index),
            };
            network.remove(name);
            let is_kept = is_gone.is_err();
            let gone = is_gone.map_err(|error| format!("remove {name}: {error}"));
            result = std::mem::replace(&mut result, Ok(())).and(gone);
            is_kept
        });
        let parents = self.parents();
        noted.arp.retain(|name, arp| {
            if parents.contains(name) {
                return true;
            }
            // Whoever has set something else since wanted that.
            if let Some(interface) =
                network.get(name).filter(|_| arp_of(name) == Some(hidden(*arp)))
            {
                let set = set_arp(interface.index, *arp);
                let set = set.map_err(|error| format!("reset arp_ignore of {name}: {error}"));
                result = std::mem::replace(&mut result, Ok(())).and(set);
            }
            false
        });
        result
    }
}

/// What an interface is given that has done so until now.
fn hidden(before: Arp) -> Arp {
    // The kernel takes the greater one of the interface's and that of all; any that is set hides what must be hidden.
    let effective = before.ignore.max(read("ipv4/conf/all/arp_ignore").unwrap_or(0));
    let ignore = if effective == 0 { HIDING.ignore } else { before.ignore };
    Arp { ignore, announce: before.announce.max(HIDING.announce) }
}

fn make(network: &mut Network, router: &Key) -> Result<(), String> {
    let Some(parent) = network.get(&router.interface) else { return Ok(()) };
    let wrong = |error: io::Error| error.to_string();
    if let Some(arp) = arp_of(&router.interface).filter(|arp| hidden(*arp) != *arp) {
        set_arp(parent.index, hidden(arp)).map_err(wrong)?;
    }
    let Some(name) = device_name(network, router) else { return Ok(()) };
    let mac = Some(router.mac());
    if network.get(&name).is_some_and(|device| device.mac == mac) {
        return Ok(());
    }
    let index = add_macvlan(parent.index, &name, router.mac()).map_err(wrong)?;
    network
        .insert(name.clone(), Interface { index, mac, is_running: false, addresses: Vec::new() });
    refuse_routes(&name).and(hears(&name))
}

/// Keeps a router's device from taking addresses and routes that other routers advertise. Where that must not be
/// written (`ProtectKernelTunables=`), it is told unless nothing would be taken anyway.
fn refuse_routes(name: &str) -> Result<(), String> {
    let setting = format!("ipv6/conf/{name}/accept_ra");
    let is_taken = read(&setting).is_some_and(|accepts| accepts != 0)
        && read(&format!("ipv6/conf/{name}/forwarding")) == Some(0);
    let path = format!("/proc/sys/net/{setting}");
    if is_taken && let Err(error) = fs::write(path, "0") {
        return Err(format!(
            "{name} takes what routers advertise in IPv6 ({error}); set net.ipv6.conf.default.accept_ra to 0"
        ));
    }
    Ok(())
}

/// A device has no route to those who ask by it.
fn hears(name: &str) -> Result<(), String> {
    match read("ipv4/conf/all/rp_filter") {
        Some(1) => {
            let remedy = "set it to 0 or 2";
            Err(format!("net.ipv4.conf.all.rp_filter is 1: {name} hears nothing; {remedy}"))
        }
        _ => Ok(()),
    }
}

fn arp_of(interface: &str) -> Option<Arp> {
    let of = |setting| read(&format!("ipv4/conf/{interface}/{setting}"));
    Some(Arp { ignore: of("arp_ignore")?, announce: of("arp_announce")? })
}

fn read(setting: &str) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/sys/net/{setting}")).ok()?;
    text.trim().parse().ok()
}
