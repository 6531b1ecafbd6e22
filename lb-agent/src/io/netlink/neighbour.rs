//! The way to an address, worked out from routes, neighbours and interfaces. No socket here.
#![expect(clippy::wildcard_enum_match_arm, reason = "the kernel's enums grow")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia,
};

use crate::model::tables::{NextHop, Way};

/// A neighbour: interface index and address.
pub(super) type Key = (u32, IpAddr);

/// A way, and the neighbour that it leads to.
pub(super) type Hop = (Key, NextHop);

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// The neighbour that packets are handed to.
    pub(super) neighbour: Key,
    /// Bytes of the longest packet, where the route says so (`ip route … mtu`, or what the kernel has learnt).
    pub(super) mtu: Option<u16>,
}

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
    /// The way by a route, where `last` is what was told before.
    ///
    /// The last MAC address serves while the neighbour is asked for again; only its failure ends it. A
    /// missing entry tells nothing: the kernel forgets neighbours that it did not use lately.
    pub(super) fn way(&self, route: Route, last: Option<Hop>) -> Way {
        let neighbour = route.neighbour;
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
        // An interface whose MTU is not known has 0.
        let mtus = [Some(mtu).filter(|mtu| *mtu > 0), route.mtu];
        let mtu = mtus.into_iter().flatten().min().unwrap_or(0);
        Way::Known(NextHop { interface, neighbour: mac, source, mtu })
    }
}

/// Where the route of packets to `destination` leads.
///
/// `None` where packets are not sent to a neighbour: a local address, or a route that refuses.
pub(super) fn parse_route(destination: IpAddr, route: &RouteMessage) -> Option<Route> {
    if route.header.kind != RouteType::Unicast {
        return None;
    }
    let mut interface = None;
    let mut neighbour = destination;
    let mut mtu = None;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(gateway))
            | RouteAttribute::Via(RouteVia::Inet(gateway)) => neighbour = IpAddr::V4(*gateway),
            RouteAttribute::Gateway(RouteAddress::Inet6(gateway))
            | RouteAttribute::Via(RouteVia::Inet6(gateway)) => neighbour = IpAddr::V6(*gateway),
            RouteAttribute::Metrics(metrics) => mtu = metrics.iter().find_map(longest_packet),
            _ => {}
        }
    }
    Some(Route { neighbour: (interface?, neighbour), mtu })
}

fn longest_packet(metric: &RouteMetric) -> Option<u16> {
    match metric {
        // An IP packet has no more than 65,535 bytes.
        RouteMetric::Mtu(mtu) if *mtu > 0 => Some(u16::try_from(*mtu).unwrap_or(u16::MAX)),
        _ => None,
    }
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
    const ROUTE: Route = Route { neighbour: BACKEND, mtu: None };
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
        assert_eq!(view(Some(Neighbour::Known(THEIRS))).way(ROUTE, None), Way::Known(WAY));
    }

    #[test]
    fn the_last_mac_is_used_while_the_neighbour_is_asked_for() {
        let pending = view(Some(Neighbour::Pending));
        assert_eq!(pending.way(ROUTE, Some((BACKEND, WAY))), Way::Known(WAY));
        assert_eq!(pending.way(ROUTE, None), Way::Asked);
        let other = (3, "192.0.2.12".parse().unwrap());
        assert_eq!(pending.way(ROUTE, Some((other, WAY))), Way::Asked);
    }

    #[test]
    fn the_last_mac_is_used_when_the_kernel_has_forgotten_the_neighbour() {
        assert_eq!(view(None).way(ROUTE, Some((BACKEND, WAY))), Way::Known(WAY));
        assert_eq!(view(None).way(ROUTE, None), Way::Asked);
    }

    #[test]
    fn a_failed_neighbour_is_no_next_hop() {
        assert_eq!(view(Some(Neighbour::Failed)).way(ROUTE, Some((BACKEND, WAY))), Way::None);
    }

    #[test]
    fn a_neighbour_that_failed_and_is_asked_for_again_or_deleted_is_no_next_hop() {
        for state in [Some(Neighbour::Pending), None] {
            let mut after = view(state);
            after.lost.insert(BACKEND);
            assert_eq!(after.way(ROUTE, Some((BACKEND, WAY))), Way::None);
        }
    }

    #[test]
    fn an_interface_that_is_gone_leads_nowhere() {
        let mut gone = view(Some(Neighbour::Known(THEIRS)));
        gone.interfaces.clear();
        assert_eq!(gone.way(ROUTE, Some((BACKEND, WAY))), Way::None);
    }

    #[test]
    fn an_interface_of_others_is_named_whatever_is_known_of_the_neighbour() {
        for state in [Some(Neighbour::Known(THEIRS)), Some(Neighbour::Failed), None] {
            let mut view = view(state);
            view.interfaces.clear();
            view.others.insert(3, "br0".to_owned());
            let way = view.way(ROUTE, Some((BACKEND, WAY)));
            assert_eq!(way, Way::Elsewhere("br0".to_owned()));
        }
    }

    #[test]
    fn a_route_leads_to_its_gateway_or_to_the_address_itself() {
        let mut route = RouteMessage::default();
        route.header.kind = RouteType::Unicast;
        route.attributes.push(RouteAttribute::Oif(3));
        assert_eq!(parse_route(BACKEND.1, &route), Some(ROUTE));
        let gateway: IpAddr = "2001:db8::1".parse().unwrap();
        route.attributes.push(RouteAttribute::Via(RouteVia::Inet6("2001:db8::1".parse().unwrap())));
        let by_gateway = Route { neighbour: (3, gateway), mtu: None };
        assert_eq!(parse_route(BACKEND.1, &route), Some(by_gateway));
        for (told, mtu) in [(0, None), (1_400, Some(1_400)), (70_000, Some(u16::MAX))] {
            let metrics = vec![RouteMetric::Hoplimit(64), RouteMetric::Mtu(told)];
            let mut route = route.clone();
            route.attributes.push(RouteAttribute::Metrics(metrics));
            assert_eq!(parse_route(BACKEND.1, &route), Some(Route { mtu, ..by_gateway }));
        }
        route.header.kind = RouteType::Local;
        assert_eq!(parse_route(BACKEND.1, &route), None);
    }

    #[test]
    fn the_narrower_of_route_and_interface_counts() {
        let mut view = view(Some(Neighbour::Known(THEIRS)));
        for (of_interface, of_route, mtu) in
            [(1_500, 1_400, 1_400), (1_500, 9_000, 1_500), (0, 1_400, 1_400)]
        {
            view.interfaces.insert(3, (OURS, of_interface));
            let route = Route { mtu: Some(of_route), ..ROUTE };
            assert_eq!(view.way(route, None), Way::Known(NextHop { mtu, ..WAY }));
        }
    }
}
