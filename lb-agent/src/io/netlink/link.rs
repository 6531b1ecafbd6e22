//! Interfaces as the kernel lists them.
//!
//! Read over a blocking socket, because the answer is there at once and attaching is not asynchronous.
#![expect(clippy::wildcard_enum_match_arm, reason = "the kernel's enums grow")]

use std::io;

use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp, XdpAttached,
};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

use super::neighbour::mac;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What it is, where it is no device of the machine: `veth`, `vlan`.
    pub kind: Option<String>,
    /// The interface that it lies on (a VLAN device) or is joined to (a veth), if that is in this network
    /// namespace.
    pub joined: Option<u32>,
    /// Its largest packet, Ethernet header not included.
    pub mtu: Option<u32>,
    /// Its MAC address; `None` unless it is an Ethernet interface.
    pub mac: Option<[u8; 6]>,
    /// Whether it is up, in the administrator's eyes.
    pub up: bool,
    /// Whether it has a carrier and can send.
    pub running: bool,
    /// The XDP program that it runs, if any.
    pub xdp: Option<Attached>,
}

impl Link {
    /// Whether it is of this kind.
    pub fn is_a(&self, kind: &str) -> bool {
        self.kind.as_deref() == Some(kind)
    }
}

/// An XDP program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Kernel id of the program.
    pub program_id: u32,
    /// Whether it runs in the driver (or the card) rather than in the generic hook.
    pub native: bool,
}

/// All interfaces of this network namespace.
pub fn links() -> io::Result<Vec<Link>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&dump_request(), 0)?;
    let mut links = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        if read_datagram(&datagram, &mut links)? {
            return Ok(links);
        }
    }
}

fn dump_request() -> Vec<u8> {
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetLink(LinkMessage::default()));
    request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    bytes
}

/// Takes the messages of a datagram; true after the last message of the answer.
fn read_datagram(mut datagram: &[u8], links: &mut Vec<Link>) -> io::Result<bool> {
    while !datagram.is_empty() {
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(datagram)
            .map_err(io::Error::other)?;
        let length = usize::try_from(message.header.length).map_err(io::Error::other)?;
        match message.payload {
            NetlinkPayload::Done(_) => return Ok(true),
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                links.push(parse_link(&link));
            }
            _ => {}
        }
        // Messages are aligned to four bytes (NLMSG_ALIGN in linux/netlink.h).
        datagram = datagram.get(length.next_multiple_of(4).max(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// The parts of a link message that matter here.
pub(super) fn parse_link(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        kind: None,
        joined: None,
        mtu: None,
        mac: None,
        up: flags.contains(LinkFlags::Up),
        running: flags.contains(LinkFlags::Running),
        xdp: None,
    };
    // An index counts in a namespace of its own where the message names one (IFLA_LINK_NETNSID).
    let mut elsewhere = false;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Link(index) => link.joined = Some(*index),
            LinkAttribute::LinkNetNsId(_) => elsewhere = true,
            LinkAttribute::Mtu(mtu) => link.mtu = Some(*mtu),
            LinkAttribute::Address(bytes)
                if message.header.link_layer_type == LinkLayerType::Ether =>
            {
                link.mac = mac(bytes);
            }
            LinkAttribute::LinkInfo(infos) => link.kind = infos.iter().find_map(kind),
            LinkAttribute::Xdp(xdp) => link.xdp = parse_xdp(xdp),
            _ => {}
        }
    }
    link.joined = link.joined.filter(|_| !elsewhere);
    link
}

fn kind(info: &LinkInfo) -> Option<String> {
    match info {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    }
}

/// A program in the driver counts before one in the generic hook.
fn parse_xdp(attributes: &[LinkXdp]) -> Option<Attached> {
    let mut found: Option<Attached> = None;
    let mut generic = false;
    for attribute in attributes {
        let (program_id, native) = match attribute {
            LinkXdp::Attached(attached) => {
                generic = *attached == XdpAttached::SocketBuffer;
                continue;
            }
            LinkXdp::DrvProgId(id) | LinkXdp::HwProgId(id) => (*id, true),
            LinkXdp::SkbProgId(id) => (*id, false),
            LinkXdp::ProgId(id) => (*id, !generic),
            _ => continue,
        };
        if found.is_none_or(|before| native && !before.native) {
            found = Some(Attached { program_id, native });
        }
    }
    found.filter(|attached| attached.program_id != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_listed_and_has_no_ethernet_address() {
        let links = links().unwrap();
        let loopback = links.iter().find(|link| link.name == "lo").unwrap();
        assert_eq!(loopback.mac, None);
        assert_eq!(loopback.xdp, None);
    }

    #[test]
    fn a_generic_program_is_told_from_a_native_one() {
        let generic = [
            LinkXdp::Attached(XdpAttached::SocketBuffer),
            LinkXdp::ProgId(7),
            LinkXdp::SkbProgId(7),
        ];
        assert_eq!(parse_xdp(&generic), Some(Attached { program_id: 7, native: false }));
        let native =
            [LinkXdp::Attached(XdpAttached::Driver), LinkXdp::ProgId(8), LinkXdp::DrvProgId(8)];
        assert_eq!(parse_xdp(&native), Some(Attached { program_id: 8, native: true }));
        assert_eq!(parse_xdp(&[LinkXdp::Attached(XdpAttached::None)]), None);
    }
}
