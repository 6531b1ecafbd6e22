//! Puts virtual addresses on interfaces and takes them off.
//!
//! An address that the host had before is its own (RFC 9568's owner) and left alone. All others are noted in a file
//! when they are configured, so that nothing has to be written when they move, and an agent that was killed leaves
//! none behind.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::devices::{Devices, device_name};
use super::kernel::read_network;
use crate::io::causes::with_causes;
use crate::io::netlink::{AddressScope, Arp, add_address, remove_address};
use crate::io::store;
use crate::model::vrrp::{Key, Network, Place, Port};

const NAME: &str = "vrrp.json";

/// An address that is not where it should be.
#[derive(Debug, thiserror::Error)]
#[error("{act} {address} {interface}")]
pub(super) struct PlaceError {
    act: &'static str,
    address: IpNet,
    interface: String,
    source: io::Error,
}

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Noted {
    /// The boot of the machine.
    boot: String,
    /// Addresses that are ours, by interface.
    ours: BTreeMap<String, BTreeSet<IpNet>>,
    /// Devices with virtual MAC addresses, and everything on them.
    #[serde(default)]
    pub(super) devices: BTreeSet<String>,
    /// What interfaces below such devices did with ARP before.
    #[serde(default)]
    pub(super) arp: BTreeMap<String, Arp>,
}

/// An address, and the interface or device that it is on.
type Spot = (String, IpNet);

/// The addresses and where they are.
#[derive(Debug)]
pub(super) struct Places {
    file: PathBuf,
    noted: Noted,
    /// Whether the file says the same.
    is_saved: bool,
    network: Network,
    present: BTreeSet<Spot>,
    devices: Devices,
}

impl Places {
    pub(super) fn open(state: &Path) -> io::Result<Self> {
        let file = state.join(NAME);
        let boot = store::boot_id().map_err(io::Error::other)?;
        let noted = match std::fs::read(&file) {
            // What cannot be read was cut off with the power, before this boot.
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Noted::default(),
            Err(error) => return Err(error),
        };
        let noted = if noted.boot == boot { noted } else { Noted { boot, ..Noted::default() } };
        let (network, present, devices) = (Network::new(), BTreeSet::new(), Devices::default());
        Ok(Self { file, noted, is_saved: true, network, present, devices })
    }

    /// Takes note of what is on the interfaces now.
    pub(super) fn see(&mut self, network: &Network) {
        self.network.clone_from(network);
        let spots = network.iter().flat_map(|(name, interface)| {
            interface.addresses.iter().map(|address| (name.clone(), *address))
        });
        self.present = spots.collect();
    }

    /// These may have to be moved from now on; makes the devices that they need.
    pub(super) fn note(&mut self, configured: impl Iterator<Item = Place>) -> Result<(), String> {
        let mut noted = self.noted.clone();
        let mut virtuals = BTreeSet::new();
        for Place { port, address } in configured {
            match port {
                Port::Virtual(router) => drop(virtuals.insert(router)),
                Port::Interface(name) => {
                    let spot = (name, address);
                    if self.is_ours(&spot) || !self.present.contains(&spot) {
                        noted.ours.entry(spot.0).or_default().insert(address);
                    }
                }
            }
        }
        self.devices.configure(virtuals);
        let kept = self.keep(noted);
        kept.and(self.make_devices())
    }

    /// Makes the devices that are missing: an interface may have come, or be another one of the same name.
    pub(super) fn make_devices(&mut self) -> Result<(), String> {
        let mut noted = self.noted.clone();
        self.devices.note(&self.network, &mut noted);
        let kept = self.keep(noted);
        kept.and(self.devices.make(&mut self.network))
    }

    /// What cannot be saved holds all the same, for an address that was put must be taken off; it is tried again with
    /// the next look at the network.
    fn keep(&mut self, noted: Noted) -> Result<(), String> {
        self.is_saved &= noted == self.noted;
        self.noted = noted;
        if !self.is_saved {
            let saved = store::save_for_this_boot(&self.file, &self.noted);
            saved.map_err(|error| with_causes(&error))?;
            self.is_saved = true;
        }
        Ok(())
    }

    /// The virtual MAC addresses of these routers, each with the index of its interface.
    pub(super) fn macs(&self, active: &BTreeSet<Key>) -> BTreeSet<(u32, [u8; 6])> {
        let index = |router: &Key| Some(self.network.get(&router.interface)?.index);
        active.iter().filter_map(|router| Some((index(router)?, router.mac()))).collect()
    }

    /// Has the devices of these routers up, and no others.
    pub(super) fn set_up(&self, active: &BTreeSet<Key>) -> Result<(), String> {
        self.devices.set_up(&self.network, active)
    }

    /// Has those of ours where they are wanted, and nowhere else. Every change is tried; the first error is returned.
    pub(super) fn set(&mut self, wanted: &BTreeSet<Place>) -> Result<(), PlaceError> {
        let spot = |place: &Place| Some((self.name_of(&place.port)?, place.address));
        let wanted: BTreeSet<Spot> = wanted.iter().filter_map(spot).collect();
        let missing: Vec<_> = wanted.difference(&self.present).cloned().collect();
        let surplus: Vec<_> =
            self.present.difference(&wanted).filter(|spot| self.is_ours(spot)).cloned().collect();
        let mut result = Ok(());
        for spot in missing {
            let is_hidden = self.noted.devices.contains(&spot.0);
            let scope = if is_hidden { AddressScope::Host } else { AddressScope::Universe };
            let put = |index, address| add_address(index, address, scope);
            result = result.and(self.change("put", "on", &spot, put));
            self.present.insert(spot);
        }
        for spot in surplus {
            result = result.and(self.change("take", "off", &spot, remove_address));
            self.present.remove(&spot);
        }
        result
    }

    /// Removes devices that no router needs any more.
    pub(super) fn remove_devices(&mut self) -> Result<(), String> {
        let mut noted = self.noted.clone();
        let removed = self.devices.remove_others(&mut self.network, &mut noted);
        removed.and(self.keep(noted))
    }

    /// Removes all devices.
    pub(super) fn close(&mut self) -> Result<(), String> {
        self.devices.configure(BTreeSet::new());
        self.remove_devices()
    }

    fn name_of(&self, port: &Port) -> Option<String> {
        match port {
            Port::Interface(name) => Some(name.clone()),
            Port::Virtual(router) => device_name(&self.network, router),
        }
    }

    fn change(
        &self,
        act: &'static str,
        preposition: &str,
        (interface, address): &Spot,
        change: impl Fn(u32, IpNet) -> io::Result<()>,
    ) -> Result<(), PlaceError> {
        let index = self.network.get(interface).map(|interface| interface.index);
        let index = index.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
        index.and_then(|index| change(index, *address)).map_err(|source| {
            let interface = format!("{preposition} {interface}");
            PlaceError { act, address: *address, interface, source }
        })
    }

    fn is_ours(&self, (interface, address): &Spot) -> bool {
        self.noted.devices.contains(interface)
            || self.noted.ours.get(interface).is_some_and(|ours| ours.contains(address))
    }
}

/// Takes off every address that an agent has left, and removes its devices.
pub fn remove_all(state: &Path) -> io::Result<()> {
    let mut places = Places::open(state)?;
    if places.noted.ours.is_empty() && places.noted.devices.is_empty() {
        return Ok(());
    }
    places.see(&read_network()?);
    places.close().map_err(io::Error::other)?;
    places.set(&BTreeSet::new()).map_err(io::Error::other)?;
    std::fs::remove_file(&places.file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spot() -> Spot {
        ("eth0".to_owned(), "203.0.113.10/32".parse().unwrap())
    }

    fn note(places: &mut Places) -> Result<(), String> {
        let (name, address) = spot();
        places.note([Place { port: Port::Interface(name), address }].into_iter())
    }

    #[test]
    fn an_address_that_could_not_be_noted_is_taken_off_all_the_same_and_noted_later() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let mut places = Places::open(&state).unwrap();
        std::fs::write(&state, "no folder").unwrap();
        let error = note(&mut places).unwrap_err();
        assert!(error.contains("create folder") && error.contains("File exists"), "{error}");
        assert!(places.is_ours(&spot()));
        // As after a reload: it is there by now, and still not the host's own.
        places.present.insert(spot());
        note(&mut places).unwrap_err();
        assert!(places.is_ours(&spot()));
        std::fs::remove_file(&state).unwrap();
        assert!(!Places::open(&state).unwrap().is_ours(&spot()));
        places.make_devices().unwrap();
        assert!(Places::open(&state).unwrap().is_ours(&spot()));
    }

    #[test]
    fn a_file_that_the_last_boot_has_not_finished_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(NAME), "").unwrap();
        assert!(!Places::open(folder.path()).unwrap().is_ours(&spot()));
    }
}
