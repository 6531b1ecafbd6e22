//! Interfaces as the kernel lists them.
#![expect(clippy::wildcard_enum_match_arm, reason = "the kernel's enums grow")]

use std::io;

use rtnetlink::packet_core::NLM_F_DUMP;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp, XdpAttached,
};

use super::ask::ask;
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
    let answers = ask(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP)?;
    let link = |answer| match answer {
        RouteNetlinkMessage::NewLink(link) => Some(parse_link(&link)),
        _ => None,
    };
    Ok(answers.into_iter().filter_map(link).collect())
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
