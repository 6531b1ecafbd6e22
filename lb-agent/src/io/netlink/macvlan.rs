//! Devices with a MAC address of their own on an interface (macvlan), and what keeps that interface from answering for
//! their addresses.
//!
//! Without a runtime, as all that the thread of the virtual routers asks for.

use std::io;

use rtnetlink::packet_core::{DefaultNla, Emitable, NLA_F_NESTED, NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoMacVlan,
    LinkAttribute, LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
};

use super::ask::ask;
use super::link::links;

/// `IFLA_INET_CONF` (`linux/if_link.h`).
const INET_CONF: u16 = 1;
/// `IPV4_DEVCONF_RP_FILTER`, `IPV4_DEVCONF_ARP_ANNOUNCE` and `IPV4_DEVCONF_ARP_IGNORE` (linux/ip.h).
const RP_FILTER: u16 = 8;
const ARP_ANNOUNCE: u16 = 18;
const ARP_IGNORE: u16 = 19;

/// How an interface does with ARP: `arp_ignore` and `arp_announce` (Documentation/networking/ip-sysctl.rst).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Arp {
    /// Which questions it does not answer.
    pub ignore: u32,
    /// Which of the host's addresses it names as its own.
    pub announce: u32,
}

/// Makes a device on an interface that is down, answers for its own addresses only, and makes no address up; gives its
/// index. In the mode `bridge` the interface goes on hearing of others that send from this MAC address.
pub fn add_macvlan(parent: u32, name: &str, mac: [u8; 6]) -> io::Result<u32> {
    let mut message = LinkMessage::default();
    let mode = InfoMacVlan::Mode(MacVlanMode::Bridge);
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Link(parent),
        LinkAttribute::Address(mac.to_vec()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::MacVlan),
            LinkInfo::Data(InfoData::MacVlan(vec![mode])),
        ]),
    ];
    ask(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)?;
    let device = links()?.into_iter().find(|link| link.name == name);
    let index = device.ok_or(io::ErrorKind::NotFound)?.index;
    set_up(index, &[(ARP_IGNORE, 1), (RP_FILTER, 0)]).inspect_err(|_| drop(remove_link(index)))?;
    Ok(index)
}

/// Settings of IPv4, and no address that IPv6 makes up. The kernel takes the latter only where IPv6 is on.
fn set_up(index: u32, settings: &[(u16, u32)]) -> io::Result<()> {
    set(index, AfSpecUnspec::Inet(vec![inet(settings)]))?;
    let none = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    match set(index, AfSpecUnspec::Inet6(vec![none])) {
        Err(error) if error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT) => Ok(()),
        done => done,
    }
}

/// Has an interface do so.
pub fn set_arp(index: u32, arp: Arp) -> io::Result<()> {
    let settings = inet(&[(ARP_IGNORE, arp.ignore), (ARP_ANNOUNCE, arp.announce)]);
    set(index, AfSpecUnspec::Inet(vec![settings]))
}

/// Takes a device up or down.
pub fn set_link_up(index: u32, is_up: bool) -> io::Result<()> {
    let mut message = of(index);
    message.header.flags = if is_up { LinkFlags::Up } else { LinkFlags::empty() };
    message.header.change_mask = LinkFlags::Up;
    ask(RouteNetlinkMessage::SetLink(message), 0).map(drop)
}

/// Removes a device.
pub fn remove_link(index: u32) -> io::Result<()> {
    ask(RouteNetlinkMessage::DelLink(of(index)), 0).map(drop)
}

fn of(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

fn set(index: u32, settings: AfSpecUnspec) -> io::Result<()> {
    let mut message = of(index);
    message.attributes.push(LinkAttribute::AfSpecUnspec(vec![settings]));
    ask(RouteNetlinkMessage::SetLink(message), 0).map(drop)
}

/// As `inet_set_link_af` in net/ipv4/devinet.c takes them: each number with its value.
fn inet(settings: &[(u16, u32)]) -> AfSpecInet {
    let mut bytes = Vec::new();
    for (number, value) in settings {
        let setting = DefaultNla::new(*number, value.to_ne_bytes().to_vec());
        let start = bytes.len();
        bytes.resize(start + setting.buffer_len(), 0);
        setting.emit(bytes.get_mut(start..).unwrap_or_default());
    }
    AfSpecInet::Other(DefaultNla::new(INET_CONF | NLA_F_NESTED, bytes))
}
