//! The VIPs on the interfaces.
//!
//! An address that the host had before is left alone. Those that were put there are noted in a file
//! before they are, so that a restart knows them, even one after a crash. A boot of the machine takes
//! them away, so what is there after it is the host's own.
#![expect(clippy::wildcard_enum_match_arm, reason = "the kernel's enums grow")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use rtnetlink::{Error, Handle, new_connection};
use serde::{Deserialize, Serialize};

use super::link::{self, Link};
use crate::io::store::{self, StoreError};

/// Where the kernel tells one boot of the machine from another.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Why the addresses are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// The list of addresses that were added.
    #[error(transparent)]
    File(#[from] StoreError),
    /// None of the configured interfaces exists.
    #[error("put {address} on {interface}, which does not exist")]
    NoInterface {
        /// The VIP.
        address: IpAddr,
        /// Where it belongs.
        interface: String,
    },
    /// The kernel refused.
    #[error("{act} {address} on {interface}")]
    Change {
        /// What was tried.
        act: &'static str,
        /// The VIP.
        address: IpAddr,
        /// Where it belongs.
        interface: String,
        /// Why not.
        source: Box<Error>,
    },
    /// The addresses of the host.
    #[error("read the host's addresses")]
    Read(#[source] Box<Error>),
    /// The interfaces, or the socket to ask for them.
    #[error("read the host's interfaces")]
    Interfaces(#[from] io::Error),
}

/// The VIPs that were put on interfaces.
#[derive(Debug)]
pub struct Addresses {
    file: PathBuf,
    interfaces: Vec<String>,
    list: List,
}

/// The file.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct List {
    /// The boot of the machine in which they were added.
    boot: String,
    /// VIPs and their interfaces.
    added: BTreeMap<IpAddr, String>,
}

/// An address of the host.
struct Present {
    index: u32,
    net: IpNet,
    message: AddressMessage,
}

impl Addresses {
    /// Reads which addresses were added before. `interfaces` are those of the configuration.
    pub fn open(state_dir: &Path, interfaces: &[String]) -> Result<Self, AddressError> {
        let file = state_dir.join("addresses.json");
        let list = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(List::default()),
            Err(error) => Err(error),
        };
        let list: List =
            list.map_err(|source| StoreError::Io { act: "read", path: file.clone(), source })?;
        let path = PathBuf::from(BOOT_ID);
        let boot = std::fs::read_to_string(&path).map_err(|source| StoreError::Io {
            act: "read",
            path,
            source,
        })?;
        let list = if list.boot == boot.trim() {
            list
        } else {
            List { boot: boot.trim().to_owned(), added: BTreeMap::new() }
        };
        Ok(Self { file, interfaces: interfaces.to_vec(), list })
    }

    /// Has exactly these VIPs on the interfaces, beside the addresses that the host has of its own.
    ///
    /// Every change is tried; the first error is returned.
    pub async fn set(&mut self, wanted: &BTreeSet<IpAddr>) -> Result<(), AddressError> {
        let (connection, handle, _) = new_connection()?;
        let connection = tokio::spawn(connection);
        let result = self.change(&handle, wanted).await;
        connection.abort();
        result
    }

    async fn change(
        &mut self,
        handle: &Handle,
        wanted: &BTreeSet<IpAddr>,
    ) -> Result<(), AddressError> {
        let present = read_present(handle).await?;
        let links = link::links()?;
        let mut result = Ok(());
        let is_surplus = |(address, interface): &(&IpAddr, &String)| {
            !wanted.contains(address) || !self.interfaces.contains(interface)
        };
        let added = self.list.added.iter();
        let surplus: Vec<_> =
            added.filter(is_surplus).map(|(address, name)| (*address, name.clone())).collect();
        for (address, interface) in surplus {
            let index = index_of(&links, &interface);
            let there = present.iter().filter(|entry| Some(entry.index) == index);
            result = result.and(self.remove(handle, there, address, interface).await);
        }
        let present = read_present(handle).await?;
        for address in wanted {
            let there = present.iter().any(|present| present.net.addr() == *address);
            if !there {
                result = result.and(self.add(handle, &present, &links, *address).await);
            }
        }
        result
    }

    async fn add(
        &mut self,
        handle: &Handle,
        present: &[Present],
        links: &[Link],
        address: IpAddr,
    ) -> Result<(), AddressError> {
        let on_link = |name: &&String| {
            index_of(links, name).is_some_and(|index| is_on_link(present, index, address))
        };
        let interface = self
            .interfaces
            .iter()
            .find(on_link)
            .or(self.interfaces.first())
            .cloned()
            .unwrap_or_default();
        let Some(index) = index_of(links, &interface) else {
            return Err(AddressError::NoInterface { address, interface });
        };
        self.list.added.insert(address, interface.clone());
        self.save()?;
        let mut request = handle.address().add(index, address, host_length(address)).replace();
        if address.is_ipv6() {
            // The peer of a pair may have the VIP until it knows better.
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        let Err(source) = request.execute().await else { return Ok(()) };
        self.list.added.remove(&address);
        self.save()?;
        let (act, source) = ("put", Box::new(source));
        Err(AddressError::Change { act, address, interface, source })
    }

    async fn remove(
        &mut self,
        handle: &Handle,
        there: impl Iterator<Item = &Present>,
        address: IpAddr,
        interface: String,
    ) -> Result<(), AddressError> {
        for entry in there {
            let net = entry.net;
            if net.addr() == address && net.prefix_len() == host_length(address) {
                handle.address().del(entry.message.clone()).execute().await.map_err(|source| {
                    let (act, interface) = ("remove", interface.clone());
                    AddressError::Change { act, address, interface, source: Box::new(source) }
                })?;
            }
        }
        self.list.added.remove(&address);
        self.save()
    }

    fn save(&self) -> Result<(), AddressError> {
        Ok(store::save(&self.file, &self.list)?)
    }
}

/// The addresses of the host on all interfaces but loopback addresses, VIPs included.
pub async fn host_addresses() -> Result<BTreeSet<IpAddr>, AddressError> {
    let (connection, handle, _) = new_connection()?;
    let connection = tokio::spawn(connection);
    let present = read_present(&handle).await;
    connection.abort();
    let addresses = present?.into_iter().map(|present| present.net.addr());
    Ok(addresses.filter(|address| !address.is_loopback()).collect())
}

async fn read_present(handle: &Handle) -> Result<Vec<Present>, AddressError> {
    let mut answer = handle.address().get().execute();
    let mut present = Vec::new();
    while let Some(message) =
        answer.try_next().await.map_err(|error| AddressError::Read(Box::new(error)))?
    {
        // IFA_LOCAL is the host's end of a point-to-point link, where the two differ.
        let local = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
        let address = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        });
        let net = local
            .or(address)
            .and_then(|address| IpNet::new(address, message.header.prefix_len).ok());
        if let Some(net) = net {
            present.push(Present { index: message.header.index, net, message });
        }
    }
    Ok(present)
}

fn index_of(links: &[Link], name: &str) -> Option<u32> {
    links.iter().find(|link| link.name == name).map(|link| link.index)
}

/// Whether an interface has an address whose subnet contains this one.
fn is_on_link(present: &[Present], index: u32, address: IpAddr) -> bool {
    present.iter().any(|entry| {
        entry.index == index
            && entry.net.prefix_len() < host_length(address)
            && entry.net.contains(&address)
    })
}

fn host_length(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_cannot_be_read_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("addresses.json"), "nonsense").unwrap();
        let error = Addresses::open(folder.path(), &[]).unwrap_err().to_string();
        assert!(error.starts_with("read /") && error.ends_with("addresses.json"), "{error}");
    }

    #[test]
    fn the_list_outlives_the_agent() {
        let folder = tempfile::tempdir().unwrap();
        let mut before = Addresses::open(folder.path(), &["eth0".into()]).unwrap();
        before.list.added.insert("2001:db8::10".parse().unwrap(), "eth0".into());
        before.save().unwrap();
        let after = Addresses::open(folder.path(), &["eth1".into()]).unwrap();
        assert_eq!(after.list, before.list);
    }

    #[test]
    fn a_list_of_another_boot_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let list = r#"{ "boot": "before", "added": { "203.0.113.10": "eth0" } }"#;
        std::fs::write(folder.path().join("addresses.json"), list).unwrap();
        let addresses = Addresses::open(folder.path(), &[]).unwrap();
        assert_eq!(addresses.list.added, BTreeMap::new());
    }
}
