//! The conversation with the kernel about routes and neighbours.
#![expect(clippy::wildcard_enum_match_arm, reason = "the kernel's enums grow")]

use std::io;
use std::net::IpAddr;

use futures::channel::mpsc::UnboundedReceiver;
use futures::{StreamExt, TryStreamExt};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::neighbour::{NeighbourFlags, NeighbourState};
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::SocketAddr;
use rtnetlink::{Error, Handle, MulticastGroup, RouteMessageBuilder, new_multicast_connection};

use super::link::parse_link;
use super::neighbour::{Key, Neighbour, View, parse_neighbour, parse_route};

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

/// A connection.
pub(super) struct Kernel {
    handle: Handle,
    messages: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
}

impl Kernel {
    pub(super) fn connect() -> io::Result<Self> {
        let (connection, handle, messages) = new_multicast_connection(&GROUPS)?;
        tokio::spawn(connection);
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

    /// The neighbour that packets to an address go to, if there is a route.
    pub(super) async fn route(&self, address: IpAddr) -> Result<Option<Key>, Error> {
        let mut routes = self.handle.route().get(route_to(address)).execute();
        match routes.try_next().await {
            Ok(route) => Ok(route.and_then(|route| parse_route(address, &route))),
            // The kernel answers a lookup without a result with an error: ENETUNREACH, EHOSTUNREACH,
            // or the one that the route asks for.
            Err(Error::NetlinkError(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Interfaces and neighbours as they are now.
    pub(super) async fn view(&self) -> Result<View, Error> {
        let mut view = View::default();
        let mut links = self.handle.link().get().execute();
        while let Some(message) = links.try_next().await? {
            let link = parse_link(&message);
            if let Some(mac) = link.mac {
                view.interfaces.insert(link.index, mac);
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
    pub(super) async fn ask_for(&self, (interface, address): Key) -> Result<(), Error> {
        self.handle
            .neighbours()
            .add(interface, address)
            .state(NeighbourState::None)
            .flags(NeighbourFlags::Use)
            .replace()
            .execute()
            .await
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
