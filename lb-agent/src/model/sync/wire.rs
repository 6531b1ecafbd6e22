//! What directors say to each other, after they have agreed on a version and on keys.
//!
//! A message is a byte that says what it is, and its fields. One that is not understood, or not to its last byte,
//! is [`Wrong`] as a whole.

use ipnet::IpNet;

use super::reader::{Reader, put_address, put_text};
use super::record::Record;
use super::server::Server;
use super::services::{Offer, Services};

/// Version of the messages; directors of different ones do not talk to each other.
pub const VERSION: u16 = 3;

/// Most records of one message: with all fields each has 70 bytes, and a frame takes 65,519.
pub const MAX_RECORDS: usize = 900;

/// Most servers, services and interfaces of one message.
const MAX_ENTRIES: usize = 900;

const HELLO: u8 = 1;
const SERVERS: u8 = 2;
const INTERFACES: u8 = 3;
const FLOWS: u8 = 4;
const MARK: u8 = 5;
const SEEN: u8 = 6;
const AGAIN: u8 = 7;
const SERVICES: u8 = 8;

/// It is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message that cannot be understood")]
pub struct Wrong;

/// An interface of the teller, by the networks that it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The number that records name it by; not zero.
    pub number: u8,
    /// Networks that it is in.
    pub networks: Vec<IpNet>,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Who speaks.
    Hello {
        /// Which run of its agent, told from all others by chance.
        run: u64,
        /// Name of the node.
        node: String,
    },
    /// The backends that records name by these numbers.
    Servers {
        /// Whether all that were named before are forgotten.
        is_first: bool,
        /// The numbers and what they stand for.
        servers: Vec<(u32, Server)>,
    },
    /// The services of the configuration, to be compared.
    Services {
        /// Whether all that were named before are forgotten.
        is_first: bool,
        /// They.
        offers: Vec<Offer>,
    },
    /// All interfaces.
    Interfaces(Vec<Interface>),
    /// Cells that are new, or have changed.
    Flows(Vec<Record>),
    /// All that was told so far has this number.
    Mark {
        /// Rises by one.
        number: u64,
        /// Whether every cell has been told.
        is_whole: bool,
    },
    /// All up to this mark has been taken in.
    Seen {
        /// Of the mark.
        number: u64,
    },
    /// Every cell is to be told once more.
    Again,
}

impl Message {
    /// Servers as messages.
    pub fn servers(all: &[(u32, Server)]) -> Vec<Self> {
        in_parts(all, |is_first, servers| Self::Servers { is_first, servers })
    }

    /// Services as messages.
    pub fn services(all: &Services) -> Vec<Self> {
        in_parts(&all.offers(), |is_first, offers| Self::Services { is_first, offers })
    }

    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Hello { run, node } => {
                bytes.push(HELLO);
                bytes.extend_from_slice(&run.to_be_bytes());
                put_text(node, &mut bytes);
            }
            Self::Servers { is_first, servers } => {
                bytes.extend([SERVERS, u8::from(*is_first)]);
                for (number, server) in servers {
                    bytes.extend_from_slice(&number.to_be_bytes());
                    server.encode(&mut bytes);
                }
            }
            Self::Services { is_first, offers } => {
                bytes.extend([SERVICES, u8::from(*is_first)]);
                for offer in offers {
                    offer.encode(&mut bytes);
                }
            }
            Self::Interfaces(interfaces) => {
                bytes.push(INTERFACES);
                for interface in interfaces {
                    interface.encode(&mut bytes);
                }
            }
            Self::Flows(records) => {
                bytes.push(FLOWS);
                for record in records {
                    record.encode(&mut bytes);
                }
            }
            Self::Mark { number, is_whole } => {
                bytes.extend([MARK, u8::from(*is_whole)]);
                bytes.extend_from_slice(&number.to_be_bytes());
            }
            Self::Seen { number } => {
                bytes.push(SEEN);
                bytes.extend_from_slice(&number.to_be_bytes());
            }
            Self::Again => bytes.push(AGAIN),
        }
        bytes
    }

    /// What the bytes say.
    pub fn decode(bytes: &[u8]) -> Result<Self, Wrong> {
        let mut reader = Reader(bytes);
        let reader = &mut reader;
        let message = match reader.u8()? {
            HELLO => Self::Hello { run: reader.u64()?, node: reader.text()? },
            SERVERS => Self::Servers {
                is_first: boolean(reader)?,
                servers: all(reader, |reader| Ok((reader.u32()?, Server::decode(reader)?)))?,
            },
            SERVICES => {
                Self::Services { is_first: boolean(reader)?, offers: all(reader, Offer::decode)? }
            }
            INTERFACES => Self::Interfaces(all(reader, Interface::decode)?),
            FLOWS => Self::Flows(all(reader, Record::decode)?),
            MARK => Self::Mark { is_whole: boolean(reader)?, number: reader.u64()? },
            SEEN => Self::Seen { number: reader.u64()? },
            AGAIN => Self::Again,
            _ => return Err(Wrong),
        };
        if reader.is_empty() { Ok(message) } else { Err(Wrong) }
    }
}

impl Interface {
    fn encode(&self, bytes: &mut Vec<u8>) {
        let networks = self.networks.get(..usize::from(u8::MAX)).unwrap_or(&self.networks);
        bytes.extend([self.number, u8::try_from(networks.len()).unwrap_or_default()]);
        for network in networks {
            put_address(network.addr(), bytes);
            bytes.push(network.prefix_len());
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Wrong> {
        let (number, n_networks) = (reader.u8()?, reader.u8()?);
        let network = |_| IpNet::new(reader.address()?, reader.u8()?).map_err(|_| Wrong);
        Ok(Self { number, networks: (0..n_networks).map(network).collect::<Result<_, _>>()? })
    }
}

/// One message at least; of many things several.
fn in_parts<T: Clone>(all: &[T], message: impl Fn(bool, Vec<T>) -> Message) -> Vec<Message> {
    let first = all.get(..MAX_ENTRIES.min(all.len())).unwrap_or_default();
    let others = all.get(first.len()..).unwrap_or_default().chunks(MAX_ENTRIES);
    let others = others.map(|part| message(false, part.to_vec()));
    std::iter::once(message(true, first.to_vec())).chain(others).collect()
}

fn boolean(reader: &mut Reader<'_>) -> Result<bool, Wrong> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Wrong),
    }
}

/// Everything up to the end.
fn all<T>(
    reader: &mut Reader<'_>,
    decode: impl Fn(&mut Reader<'_>) -> Result<T, Wrong>,
) -> Result<Vec<T>, Wrong> {
    let mut items = Vec::new();
    while !reader.is_empty() {
        items.push(decode(reader)?);
    }
    Ok(items)
}
