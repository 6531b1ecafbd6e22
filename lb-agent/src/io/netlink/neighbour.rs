//! The way to an address, worked out from routes, neighbours and interfaces. No socket here.
#![expect(clippy::wildcard_enum_match_arm, reason = "the kernel's enums grow")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia,
};

use crate::model::tables::{NextHop, Way};

/// A neighbour: interface index and address.
pub(super) type Key = (u32, IpAddr);

/// A way, and the neighbour that it leads to.
pub(super) type Hop = (Key, NextHop);

/// What the kernel knows of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Neighbour {
    /// It has this MAC address, or had it when last heard of.
    Known([u8; 6]),
    /// It is being asked for.
    Pending,
    /// It does not answer.
    Failed,
}

/// The kernel's view at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    /// MAC addresses and MTUs of the packet path's interfaces by index.
    pub(super) interfaces: BTreeMap<u32, ([u8; 6], u16)>,
    /// Names of all other interfaces by index.
    pub(super) others: BTreeMap<u32, String>,
    /// Neighbours.
    pub(super) neighbours: BTreeMap<Key, Neighbour>,
    /// Neighbours that failed since the view before this one.
    pub(super) lost: BTreeSet<Key>,
}

impl View {
    /// The way to `neighbour`, where `last` is what was told before.
    ///
    /// The last MAC address serves while the neighbour is asked for again; only its failure ends it. A
    /// missing entry tells nothing: the kernel forgets neighbours that it did not use lately.
    pub(super) fn way(&self, neighbour: Key, last: Option<Hop>) -> Way {
        let (interface, _) = neighbour;
        if let Some(name) = self.others.get(&interface) {
            return Way::Elsewhere(name.clone());
        }
        let Some(&(source, mtu)) = self.interfaces.get(&interface) else { return Way::None };
        let mac = match self.neighbours.get(&neighbour) {
            Some(Neighbour::Known(mac)) => *mac,
            Some(Neighbour::Failed) => return Way::None,
            Some(Neighbour::Pending) | None if self.lost.contains(&neighbour) => return Way::None,
            Some(Neighbour::Pending) | None => match last.filter(|(of, _)| *of == neighbour) {
                Some((_, hop)) => hop.neighbour,
                None => return Way::Asked,
            },
        };
        Way::Known(NextHop { interface, neighbour: mac, source, mtu })
    }
}

/// Where a route leads: the neighbour that packets to `destination` are handed to.
///
/// `None` where packets are not sent to a neighbour: a local address, or a route that refuses.
pub(super) fn parse_route(destination: IpAddr, route: &RouteMessage) -> Option<Key> {
    if route.header.kind != RouteType::Unicast {
        return None;
    }
    let mut interface = None;
    let mut neighbour = destination;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(gateway))
            | RouteAttribute::Via(RouteVia::Inet(gateway)) => neighbour = IpAddr::V4(*gateway),
            RouteAttribute::Gateway(RouteAddress::Inet6(gateway))
            | RouteAttribute::Via(RouteVia::Inet6(gateway)) => neighbour = IpAddr::V6(*gateway),
            _ => {}
        }
    }
    Some((interface?, neighbour))
}

/// An entry of the neighbour table; `None` where it is not of an IP address.
pub(super) fn parse_neighbour(message: &NeighbourMessage) -> Option<(Key, Neighbour)> {
    let mut address = None;
    let mut known = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                address = Some(IpAddr::V4(*v4));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                address = Some(IpAddr::V6(*v6));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => known = mac(bytes),
            _ => {}
        }
    }
    let neighbour = match message.header.state {
        NeighbourState::Failed => Neighbour::Failed,
        NeighbourState::Incomplete | NeighbourState::None => Neighbour::Pending,
        _ => known.map_or(Neighbour::Pending, Neighbour::Known),
    };
    Some(((message.header.ifindex, address?), neighbour))
}

/// Six bytes as a MAC address.
pub(super) fn mac(bytes: &[u8]) -> Option<[u8; 6]> {
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKEND: Key = (3, IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 11)));
    const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const WAY: NextHop = NextHop { interface: 3, neighbour: THEIRS, source: OURS, mtu: 1_500 };

    fn view(neighbour: Option<Neighbour>) -> View {
        View {
            interfaces: BTreeMap::from([(3, (OURS, 1_500))]),
            neighbours: neighbour.map(|state| (BACKEND, state)).into_iter().collect(),
            ..View::default()
        }
    }

    #[test]
    fn a_known_neighbour_is_the_next_hop() {
        assert_eq!(view(Some(Neighbour::Known(THEIRS))).way(BACKEND, None), Way::Known(WAY));
    }

    #[test]
    fn the_last_mac_is_used_while_the_neighbour_is_asked_for() {
        let pending = view(Some(Neighbour::Pending));
        assert_eq!(pending.way(BACKEND, Some((BACKEND, WAY))), Way::Known(WAY));
        assert_eq!(pending.way(BACKEND, None), Way::Asked);
        let other = (3, "192.0.2.12".parse().unwrap());
        assert_eq!(pending.way(BACKEND, Some((other, WAY))), Way::Asked);
    }

    #[test]
    fn the_last_mac_is_used_when_the_kernel_has_forgotten_the_neighbour() {
        assert_eq!(view(None).way(BACKEND, Some((BACKEND, WAY))), Way::Known(WAY));
        assert_eq!(view(None).way(BACKEND, None), Way::Asked);
    }

    #[test]
    fn a_failed_neighbour_is_no_next_hop() {
        assert_eq!(view(Some(Neighbour::Failed)).way(BACKEND, Some((BACKEND, WAY))), Way::None);
    }

    #[test]
    fn a_neighbour_that_failed_and_is_asked_for_again_or_deleted_is_no_next_hop() {
        for state in [Some(Neighbour::Pending), None] {
            let mut after = view(state);
            after.lost.insert(BACKEND);
            assert_eq!(after.way(BACKEND, Some((BACKEND, WAY))), Way::None);
        }
    }

    #[test]
    fn an_interface_that_is_gone_leads_nowhere() {
        let mut gone = view(Some(Neighbour::Known(THEIRS)));
        gone.interfaces.clear();
        assert_eq!(gone.way(BACKEND, Some((BACKEND, WAY))), Way::None);
    }

    #[test]
    fn an_interface_of_others_is_named_whatever_is_known_of_the_neighbour() {
        for state in [Some(Neighbour::Known(THEIRS)), Some(Neighbour::Failed), None] {
            let mut view = view(state);
            view.interfaces.clear();
            view.others.insert(3, "br0".to_owned());
            let way = view.way(BACKEND, Some((BACKEND, WAY)));
            assert_eq!(way, Way::Elsewhere("br0".to_owned()));
        }
    }

    #[test]
    fn a_route_leads_to_its_gateway_or_to_the_address_itself() {
        let mut route = RouteMessage::default();
        route.header.kind = RouteType::Unicast;
        route.attributes.push(RouteAttribute::Oif(3));
        assert_eq!(parse_route(BACKEND.1, &route), Some(BACKEND));
        let gateway: IpAddr = "2001:db8::1".parse().unwrap();
        route.attributes.push(RouteAttribute::Via(RouteVia::Inet6("2001:db8::1".parse().unwrap())));
        assert_eq!(parse_route(BACKEND.1, &route), Some((3, gateway)));
        route.header.kind = RouteType::Local;
        assert_eq!(parse_route(BACKEND.1, &route), None);
    }
}
