//! Raw sockets: one for each interface and family to speak VRRP with, one for each interface to announce addresses.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::cmsg_space;
use nix::sys::socket::sockopt::{Ipv6RecvPacketInfo, Ipv6TClass};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrIn6,
    SockaddrLike, bind, recvmsg, send, setsockopt, socket,
};
use nix::{libc, setsockopt_impl};
use socket2::{Domain, Protocol, Socket, Type};

use crate::model::config;
use crate::model::vrrp::advert::PROTOCOL;
use crate::model::vrrp::packet::parse_v4;
use crate::model::vrrp::{GROUP_V4, GROUP_V6, Network, Received};

/// An advertisement of 255 IPv6 addresses and its headers.
const LONGEST: usize = 8 + 255 * 16 + 60;
/// Destination options that are looked at; longer ones are no proof.
const LONGEST_OPTIONS: usize = 264;
/// Packets that are read from one socket at once: more than its queue holds. A flood waits until timers were looked
/// at.
const MOST_AT_ONCE: usize = 512;

/// Destination options are told with each packet (RFC 3542 9).
#[derive(Clone, Copy)]
struct Ipv6RecvDestinationOptions;

setsockopt_impl!(
    Ipv6RecvDestinationOptions,
    nix::libc::IPPROTO_IPV6,
    nix::libc::IPV6_RECVDSTOPTS,
    bool,
    nix::sys::socket::sockopt::SetBool
);

/// All sockets, by interface.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    speakers: BTreeMap<(String, bool), Speaker>,
    announcers: BTreeMap<String, (u32, OwnedFd)>,
}

#[derive(Debug)]
struct Speaker {
    index: u32,
    socket: Socket,
}

impl Sockets {
    /// Has those that these routers need; an interface that was made anew needs new ones. Every one is tried; the
    /// first error is returned.
    pub(super) fn open(
        &mut self,
        routers: &[config::Vrrp],
        network: &Network,
    ) -> Result<(), String> {
        let needed: BTreeSet<(String, bool)> = routers
            .iter()
            .flat_map(|router| {
                let families = router.addresses.iter().map(|net| net.addr().is_ipv6());
                families.map(|is_ipv6| (router.interface.clone(), is_ipv6))
            })
            .collect();
        let index = |name: &String| network.get(name).map(|interface| interface.index);
        self.speakers
            .retain(|key, speaker| needed.contains(key) && index(&key.0) == Some(speaker.index));
        self.announcers.retain(|name, (of, _)| index(name) == Some(*of));
        let mut result = Ok(());
        for (name, is_ipv6) in needed {
            let Some(index) = index(&name) else { continue };
            let opened = self.open_on(&name, index, is_ipv6);
            result = result
                .and(opened.map_err(|error| format!("open a VRRP socket on {name}: {error}")));
        }
        result
    }

    fn open_on(&mut self, name: &str, index: u32, is_ipv6: bool) -> io::Result<()> {
        if let Entry::Vacant(place) = self.speakers.entry((name.to_owned(), is_ipv6)) {
            let socket = if is_ipv6 { speaker_v6(name, index)? } else { speaker_v4(name, index)? };
            place.insert(Speaker { index, socket });
        }
        if let Entry::Vacant(place) = self.announcers.entry(name.to_owned()) {
            place.insert((index, announcer(index)?));
        }
        Ok(())
    }

    /// Each one that may become readable.
    pub(super) fn each(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.speakers.values().map(|speaker| speaker.socket.as_fd())
    }

    /// Everything that has come.
    pub(super) fn receive(&self) -> Vec<Received> {
        let mut all = Vec::new();
        for ((interface, is_ipv6), speaker) in &self.speakers {
            let receive = || {
                if *is_ipv6 {
                    receive_v6(interface, &speaker.socket)
                } else {
                    receive_v4(interface, &speaker.socket)
                }
            };
            // An error may be the network's (the interface is down), and there is no more to read then.
            let packets = std::iter::from_fn(|| receive().ok()).take(MOST_AT_ONCE);
            all.extend(packets.flatten());
        }
        all
    }

    /// Sends a whole IP packet.
    pub(super) fn send(&self, interface: &str, to: IpAddr, packet: &[u8]) -> io::Result<()> {
        let speaker = self.speakers.get(&(interface.to_owned(), to.is_ipv6()));
        let speaker = speaker.ok_or(io::ErrorKind::NotConnected)?;
        let to = match to {
            IpAddr::V4(v4) => SocketAddr::from((v4, 0)),
            IpAddr::V6(v6) => SocketAddrV6::new(v6, 0, 0, speaker.index).into(),
        };
        speaker.socket.send_to(packet, &to.into()).map(drop)
    }

    /// Sends an Ethernet frame.
    pub(super) fn announce(&self, interface: &str, frame: &[u8]) -> io::Result<()> {
        let (_, socket) = self.announcers.get(interface).ok_or(io::ErrorKind::NotConnected)?;
        Ok(send(socket.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT).map(drop)?)
    }
}

fn speaker(domain: Domain, interface: &str) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(PROTOCOL))))?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn speaker_v4(interface: &str, index: u32) -> io::Result<Socket> {
    let socket = speaker(Domain::IPV4, interface)?;
    socket.set_header_included_v4(true)?;
    socket.set_multicast_loop_v4(false)?;
    let interface = socket2::InterfaceIndexOrAddress::Index(index);
    socket.join_multicast_v4_n(&GROUP_V4, &interface)?;
    Ok(socket)
}

fn speaker_v6(interface: &str, index: u32) -> io::Result<Socket> {
    let socket = speaker(Domain::IPV6, interface)?;
    socket.set_header_included_v6(true)?;
    socket.set_multicast_loop_v6(false)?;
    socket.set_multicast_if_v6(index)?;
    socket.join_multicast_v6(&GROUP_V6, index)?;
    socket.set_recv_hoplimit_v6(true)?;
    setsockopt(&socket, Ipv6RecvPacketInfo, &true)?;
    setsockopt(&socket, Ipv6RecvDestinationOptions, &true)?;
    setsockopt(&socket, Ipv6TClass, &0xc0)?;
    Ok(socket)
}

/// `None`: a packet that is cut short.
fn receive_v4(interface: &str, socket: &Socket) -> io::Result<Option<Received>> {
    let mut buffer = [0; LONGEST];
    let length = nix::sys::socket::recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)?;
    let packet = buffer.get(..length).unwrap_or_default();
    Ok(parse_v4(packet).map(|packet| Received {
        interface: interface.to_owned(),
        source: packet.source.into(),
        destination: packet.destination.into(),
        hop_limit: packet.ttl,
        options: packet.options.to_vec(),
        payload: packet.payload.to_vec(),
    }))
}

fn receive_v6(interface: &str, socket: &Socket) -> io::Result<Option<Received>> {
    let mut buffer = [0; LONGEST];
    let mut space = cmsg_space!(nix::libc::in6_pktinfo, nix::libc::c_int, [u8; LONGEST_OPTIONS]);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrIn6>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags)?;
    let (mut destination, mut hop_limit, mut options) = (None, 0, Vec::new());
    // Options that are too long are no proof, and no router sends such: what else has come is read on.
    let Ok(controls) = message.cmsgs() else { return Ok(None) };
    for control in controls {
        if let ControlMessageOwned::Ipv6PacketInfo(info) = control {
            destination = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr));
        } else if let ControlMessageOwned::Ipv6HopLimit(limit) = control {
            hop_limit = u8::try_from(limit).unwrap_or(0);
        } else if let ControlMessageOwned::Unknown(other) = control
            && other.cmsg_header.cmsg_type == nix::libc::IPV6_DSTOPTS
        {
            // What follows and the length come before them.
            options = other.data_bytes.get(2..).unwrap_or_default().to_vec();
        }
    }
    let (source, length) = (message.address.map(|address| address.ip()), message.bytes);
    let payload = buffer.get(..length).unwrap_or_default().to_vec();
    Ok(source.zip(destination).map(|(source, destination)| Received {
        interface: interface.to_owned(),
        source: source.into(),
        destination: destination.into(),
        hop_limit,
        options,
        payload,
    }))
}

/// A socket that sends frames by an interface and receives nothing.
fn announcer(index: u32) -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
    bind(socket.as_raw_fd(), &link_address(index)?)?;
    Ok(socket)
}

fn link_address(index: u32) -> io::Result<LinkAddr> {
    let address = nix::libc::sockaddr_ll {
        sll_family: u16::try_from(nix::libc::AF_PACKET).map_err(io::Error::other)?,
        sll_protocol: 0,
        sll_ifindex: i32::try_from(index).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = u32::try_from(size_of_val(&address)).map_err(io::Error::other)?;
    // SAFETY: `address` is a whole `sockaddr_ll` with its family set, `length` is its size, and it is copied.
    let address = unsafe { LinkAddr::from_raw((&raw const address).cast(), Some(length)) };
    address.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}
