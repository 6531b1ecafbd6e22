//! A backend by what it is, which is the same on every director.

use std::fmt;
use std::net::SocketAddr;

use lb_common::layout::{Backend, Forward};

use super::reader::{Reader, put_socket};
use super::wire::Wrong;
use crate::model::tables::{ListenerKey, server};

/// A server behind a listener, and how packets reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Server {
    /// VIP, port and protocol.
    pub listener: ListenerKey,
    /// Its own address and port.
    pub address: SocketAddr,
    /// How packets reach it.
    pub forward: Forward,
}

impl Server {
    /// That of an entry of the tables; `None` for a free one.
    pub fn of(backend: &Backend) -> Option<Self> {
        Some(Self {
            listener: ListenerKey::of_backend(backend)?,
            address: server(backend)?,
            forward: Forward::from_number(backend.forward)?,
        })
    }

    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        put_socket(self.listener.address, bytes);
        bytes.push(self.listener.protocol_number());
        put_socket(self.address, bytes);
        bytes.push(self.forward.number());
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Wrong> {
        let (vip, protocol) = (reader.socket()?, reader.u8()?);
        Ok(Self {
            listener: ListenerKey::new(vip, protocol).ok_or(Wrong)?,
            address: reader.socket()?,
            forward: Forward::from_number(reader.u8()?).ok_or(Wrong)?,
        })
    }
}

/// For a person.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { listener, address, forward } = self;
        let protocol = if listener.protocol_number() == 6 { "tcp" } else { "udp" };
        let way = match forward {
            Forward::Nat => "nat",
            Forward::FullNat => "full-nat",
            Forward::Dsr => "dsr",
            Forward::IpipV4 | Forward::IpipV6 => "ipip",
            Forward::GueV4 | Forward::GueV6 => "gue",
        };
        write!(f, "{address} behind {} ({protocol}, {way})", listener.address)
    }
}
