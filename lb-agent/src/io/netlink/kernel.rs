//! The conversation with the kernel about routes and neighbours.
//!
//! News and answers come over two sockets: the kernel drops what finds the buffer of news full, and an
//! answer among it would be waited for without end.
#![expect(clippy::wildcard_enum_match_arm, reason = "the kernel's enums grow")]

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures::channel::mpsc::UnboundedReceiver;
use futures::{StreamExt, TryStreamExt};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::neighbour::{NeighbourFlags, NeighbourState};
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::SocketAddr;
use rtnetlink::{Error, Handle, MulticastGroup, RouteMessageBuilder};
use rtnetlink::{new_connection, new_multicast_connection};
use tokio::time::timeout;

use super::link::parse_link;
use super::neighbour::{Key, Neighbour, Route, View, parse_neighbour, parse_route};

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

const GROUPS: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];

/// Something has changed.
pub(super) enum News {
    /// A neighbour; `None`: its entry was deleted.
    Neighbour(Key, Option<Neighbour>),
    /// Anything else, or more than could be told.
    Other,
    /// There will be no more news on this connection.
    ConnectionLost,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    /// The kernel refused, or the connection is lost.
    #[error(transparent)]
    Netlink(#[from] Error),
    /// It took too long.
    #[error("no answer within {PATIENCE:?}")]
    Late(#[from] tokio::time::error::Elapsed),
}

/// The two connections.
pub(super) struct Kernel {
    /// For requests.
    handle: Handle,
    /// News.
    messages: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
}

impl Kernel {
    pub(super) fn connect() -> io::Result<Self> {
        let (news, _, messages) = new_multicast_connection(&GROUPS)?;
        let (answers, handle, _) = new_connection()?;
        tokio::spawn(news);
        tokio::spawn(answers);
        Ok(Self { handle, messages })
    }

    pub(super) async fn news(&mut self) -> News {
        let Some((message, _)) = self.messages.next().await else { return News::ConnectionLost };
        let NetlinkPayload::InnerMessage(message) = message.payload else { return News::Other };
        match message {
            RouteNetlinkMessage::NewNeighbour(entry) => parse_neighbour(&entry)
                .map_or(News::Other, |(key, state)| News::Neighbour(key, Some(state))),
            RouteNetlinkMessage::DelNeighbour(entry) => {
                parse_neighbour(&entry).map_or(News::Other, |(key, _)| News::Neighbour(key, None))
            }
            _ => News::Other,
        }
    }

    /// The route to an address, if there is one.
    pub(super) async fn route(&self, address: IpAddr) -> Result<Option<Route>, NoAnswer> {
        let mut routes = self.handle.route().get(route_to(address)).execute();
        match timeout(PATIENCE, routes.try_next()).await? {
            Ok(route) => Ok(route.and_then(|route| parse_route(address, &route))),
            // The kernel answers a lookup without a result with an error: ENETUNREACH, EHOSTUNREACH,
            // or the one that the route asks for.
            Err(Error::NetlinkError(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Interfaces and neighbours as they are now; `ours` are the packet path's interfaces.
    pub(super) async fn view(&self, ours: &[String]) -> Result<View, NoAnswer> {
        Ok(timeout(PATIENCE, self.read_view(ours)).await??)
    }

    async fn read_view(&self, ours: &[String]) -> Result<View, Error> {
        let mut view = View::default();
        let mut links = self.handle.link().get().execute();
        while let Some(message) = links.try_next().await? {
            let link = parse_link(&message);
            if !ours.contains(&link.name) {
                view.others.insert(link.index, link.name);
            } else if let Some(mac) = link.mac {
                // An IP packet has no more than 65,535 bytes, whatever the interface takes.
                let mtu = link.mtu.map_or(0, |mtu| u16::try_from(mtu).unwrap_or(u16::MAX));
                view.interfaces.insert(link.index, (mac, mtu));
            }
        }
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut entries = self.handle.neighbours().get().set_address_family(family).execute();
            while let Some(message) = entries.try_next().await? {
                view.neighbours.extend(parse_neighbour(&message));
            }
        }
        Ok(view)
    }

    /// Has the kernel find out whether a neighbour is there, as if a packet were sent to it.
    pub(super) async fn ask_for(&self, (interface, address): Key) -> Result<(), NoAnswer> {
        let request = self
            .handle
            .neighbours()
            .add(interface, address)
            .state(NeighbourState::None)
            .flags(NeighbourFlags::Use)
            .replace();
        Ok(timeout(PATIENCE, request.execute()).await??)
    }
}

fn route_to(address: IpAddr) -> RouteMessage {
    match address {
        IpAddr::V4(v4) => {
            RouteMessageBuilder::<std::net::Ipv4Addr>::new().destination_prefix(v4, 32).build()
        }
        IpAddr::V6(v6) => {
            RouteMessageBuilder::<std::net::Ipv6Addr>::new().destination_prefix(v6, 128).build()
        }
    }
}
