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

use super::kernel::read_network;
use crate::io::netlink::{add_address, remove_address};
use crate::io::store;
use crate::model::vrrp::{Network, Place};

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
struct Noted {
    /// The boot of the machine.
    boot: String,
    /// Addresses that are ours, by interface.
    ours: BTreeMap<String, BTreeSet<IpNet>>,
}

/// The addresses and where they are.
#[derive(Debug)]
pub(super) struct Places {
    file: PathBuf,
    noted: Noted,
    indices: BTreeMap<String, u32>,
    present: BTreeSet<Place>,
}

impl Places {
    pub(super) fn open(state: &Path) -> io::Result<Self> {
        let file = state.join(NAME);
        let boot = store::boot_id().map_err(io::Error::other)?;
        let noted = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Noted::default(),
            Err(error) => return Err(error),
        };
        let noted = if noted.boot == boot { noted } else { Noted { boot, ours: BTreeMap::new() } };
        Ok(Self { file, noted, indices: BTreeMap::new(), present: BTreeSet::new() })
    }

    /// Takes note of what is on the interfaces now.
    pub(super) fn see(&mut self, network: &Network) {
        self.indices = network.iter().map(|(name, it)| (name.clone(), it.index)).collect();
        let places = network.iter().flat_map(|(name, interface)| {
            let addresses = interface.addresses.iter();
            addresses.map(|address| Place { interface: name.clone(), address: *address })
        });
        self.present = places.collect();
    }

    /// These may have to be moved from now on.
    pub(super) fn note(&mut self, configured: impl Iterator<Item = Place>) -> Result<(), String> {
        let mut noted = self.noted.clone();
        for place in configured {
            let is_ours = self.is_ours(&place);
            if is_ours || !self.present.contains(&place) {
                noted.ours.entry(place.interface).or_default().insert(place.address);
            }
        }
        if noted != self.noted {
            store::save(&self.file, &noted).map_err(|error| error.to_string())?;
            self.noted = noted;
        }
        Ok(())
    }

    /// Has those of ours where they are wanted, and nowhere else. Every change is tried; the first error is returned.
    pub(super) fn set(&mut self, wanted: &BTreeSet<Place>) -> Result<(), PlaceError> {
        let missing: Vec<_> = wanted.difference(&self.present).cloned().collect();
        let surplus: Vec<_> =
            self.present.difference(wanted).filter(|place| self.is_ours(place)).cloned().collect();
        let mut result = Ok(());
        for place in missing {
            result = result.and(self.change("put", "on", &place, add_address));
            self.present.insert(place);
        }
        for place in surplus {
            result = result.and(self.change("take", "off", &place, remove_address));
            self.present.remove(&place);
        }
        result
    }

    fn change(
        &self,
        act: &'static str,
        preposition: &str,
        place: &Place,
        change: impl Fn(u32, IpNet) -> io::Result<()>,
    ) -> Result<(), PlaceError> {
        let Place { interface, address } = place;
        let index = self.indices.get(interface).copied();
        let index = index.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
        index.and_then(|index| change(index, *address)).map_err(|source| {
            let interface = format!("{preposition} {interface}");
            PlaceError { act, address: *address, interface, source }
        })
    }

    fn is_ours(&self, place: &Place) -> bool {
        self.noted.ours.get(&place.interface).is_some_and(|ours| ours.contains(&place.address))
    }
}

/// Takes off every address that an agent has left.
pub fn remove_all(state: &Path) -> io::Result<()> {
    let mut places = Places::open(state)?;
    if places.noted.ours.is_empty() {
        return Ok(());
    }
    places.see(&read_network()?);
    places.set(&BTreeSet::new()).map_err(io::Error::other)?;
    std::fs::remove_file(&places.file)
}
