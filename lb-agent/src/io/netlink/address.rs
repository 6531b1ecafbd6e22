//! The VIPs on the interfaces.
//!
//! An address that the host had before is left alone. Those that were put there are noted in a file
//! before they are, so that a restart knows them, even one after a crash.
#![expect(clippy::wildcard_enum_match_arm, reason = "the kernel's enums grow")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use rtnetlink::{Error, Handle, new_connection};

use super::link;

/// Why the addresses are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// The list of addresses that were added.
    #[error("{act} {}", path.display())]
    File {
        /// What was tried.
        act: &'static str,
        /// The list.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
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
        let added = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        };
        let added = added.map_err(|source| AddressError::File {
            act: "read",
            path: file.clone(),
            source,
        })?;
        Ok(Self { file, interfaces: interfaces.to_vec(), added })
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
        let mut result = Ok(());
        let surplus: Vec<_> =
            self.added.keys().filter(|address| !wanted.contains(*address)).copied().collect();
        for address in surplus {
            result = result.and(self.remove(handle, &present, address).await);
        }
        for address in wanted {
            let there = present.iter().any(|present| present.net.addr() == *address);
            if !there {
                result = result.and(self.add(handle, &present, *address).await);
            }
        }
        result
    }

    async fn add(
        &mut self,
        handle: &Handle,
        present: &[Present],
        address: IpAddr,
    ) -> Result<(), AddressError> {
        let links = link::links()?;
        let index_of =
            |name: &str| links.iter().find(|link| link.name == name).map(|link| link.index);
        let interface = self
            .interfaces
            .iter()
            .find(|name| index_of(name).is_some_and(|index| is_on_link(present, index, address)))
            .or(self.interfaces.first())
            .cloned()
            .unwrap_or_default();
        let Some(index) = index_of(&interface) else {
            return Err(AddressError::NoInterface { address, interface });
        };
        self.added.insert(address, interface.clone());
        self.save()?;
        let mut request = handle.address().add(index, address, host_length(address)).replace();
        if address.is_ipv6() {
            // The peer of a pair may have the VIP until it knows better.
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        let act = "put";
        request.execute().await.map_err(|source| AddressError::Change {
            act,
            address,
            interface,
            source: Box::new(source),
        })
    }

    async fn remove(
        &mut self,
        handle: &Handle,
        present: &[Present],
        address: IpAddr,
    ) -> Result<(), AddressError> {
        for entry in present {
            let net = entry.net;
            if net.addr() == address && net.prefix_len() == host_length(address) {
                handle.address().del(entry.message.clone()).execute().await.map_err(|source| {
                    let interface = self.added.get(&address).cloned().unwrap_or_default();
                    AddressError::Change {
                        act: "remove",
                        address,
                        interface,
                        source: Box::new(source),
                    }
                })?;
            }
        }
        self.added.remove(&address);
        self.save()
    }

    /// Writes the list to a new file that takes the old one's place.
    fn save(&self) -> Result<(), AddressError> {
        let new = self.file.with_extension("json.new");
        let write = || {
            if let Some(folder) = self.file.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::write(&new, serde_json::to_vec_pretty(&self.added)?)?;
            std::fs::rename(&new, &self.file)
        };
        write().map_err(|source| AddressError::File {
            act: "write",
            path: self.file.clone(),
            source,
        })
    }
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
        before.added.insert("2001:db8::10".parse().unwrap(), "eth0".into());
        before.save().unwrap();
        let after = Addresses::open(folder.path(), &["eth1".into()]).unwrap();
        assert_eq!(after.added, before.added);
    }
}
