//! Addresses without a runtime, for a thread that must not wait: read, put, removed; and news of their changes.
#![expect(clippy::wildcard_enum_match_arm, reason = "the kernel's enums grow")]

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};

use ipnet::IpNet;
use rtnetlink::AddressMessageBuilder;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE};
use rtnetlink::packet_route::RouteNetlinkMessage;
pub use rtnetlink::packet_route::address::AddressScope;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, CacheInfo,
};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

use super::address::parse_address;
use super::ask::ask;

/// `RTNLGRP_LINK`, `RTNLGRP_IPV4_IFADDR` and `RTNLGRP_IPV6_IFADDR` (linux/rtnetlink.h).
const GROUPS: [u32; 3] = [1, 5, 9];

/// All addresses of this network namespace, each with the index of its interface.
pub fn addresses() -> io::Result<Vec<(u32, IpNet)>> {
    let answers = ask(RouteNetlinkMessage::GetAddress(AddressMessage::default()), NLM_F_DUMP)?;
    let address = |answer| match answer {
        RouteNetlinkMessage::NewAddress(message) => {
            Some((message.header.index, parse_address(&message)?))
        }
        _ => None,
    };
    Ok(answers.into_iter().filter_map(address).collect())
}

/// Puts an address on an interface. An IPv6 address is not asked for before (the director that had it until now
/// may still answer), and is no source of the host's own connections, which would end when it moves; nor is an IPv4
/// address of scope `Host`.
pub fn add_address(index: u32, address: IpNet, scope: AddressScope) -> io::Result<()> {
    let mut message = message(index, address);
    message.header.scope = scope;
    if matches!(address, IpNet::V6(_)) {
        message.header.flags |= AddressHeaderFlags::Nodad;
        let mut lifetimes = CacheInfo::default();
        lifetimes.ifa_valid = u32::MAX;
        message.attributes.push(AddressAttribute::CacheInfo(lifetimes));
    }
    ask(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE).map(drop)
}

/// Takes an address off an interface, if it is there.
pub fn remove_address(index: u32, address: IpNet) -> io::Result<()> {
    match ask(RouteNetlinkMessage::DelAddress(message(index, address)), 0) {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Ok(()),
        done => done.map(drop),
    }
}

fn message(index: u32, address: IpNet) -> AddressMessage {
    let length = address.prefix_len();
    match address {
        IpNet::V4(net) => {
            let message = AddressMessageBuilder::<Ipv4Addr>::new().index(index);
            message.address(net.addr(), length).build()
        }
        IpNet::V6(net) => {
            let message = AddressMessageBuilder::<Ipv6Addr>::new().index(index);
            message.address(net.addr(), length).build()
        }
    }
}

/// Tells that interfaces or addresses have changed; what they are like is read anew by whoever asks.
#[derive(Debug)]
pub struct News(Socket);

impl News {
    /// From now on, in the network namespace of this thread.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        GROUPS.into_iter().try_for_each(|group| socket.add_membership(group))?;
        socket.set_non_blocking(true)?;
        Ok(Self(socket))
    }

    /// Whether there were any since the last time. That some were lost is news too.
    pub fn take(&self) -> bool {
        let mut were_some = false;
        loop {
            match self.0.recv_from_full() {
                Ok(_) => were_some = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return were_some,
                Err(_overrun) => were_some = true,
            }
        }
    }
}

impl AsFd for News {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
