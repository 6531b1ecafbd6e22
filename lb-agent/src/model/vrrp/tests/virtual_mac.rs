//! Virtual MAC addresses: where they are accepted and when, and which frames carry them.

use etherparse::{LinkSlice, NetSlice, SlicedPacket};

use super::*;
use crate::model::vrrp::packet::frame;
use crate::model::vrrp::{Place, Port};

/// Those of the two families.
const MACS: [[u8; 6]; 2] = [[0, 0, 0x5e, 0, 1, 51], [0, 0, 0x5e, 0, 2, 51]];

fn with_mac() -> Vrrp {
    Vrrp { virtual_mac: true, ..router("a", 51) }
}

/// A director whose router of both families takes over now, and what it does.
fn takes_over() -> Vec<Effect> {
    let both = Vrrp { virtual_mac: true, ..crate::model::cast::router("a", 51) };
    let mut one = One::with(vec![both]);
    let deadline = one.routers.deadline().unwrap();
    one.routers.handle(deadline, Event::Timer)
}

#[test]
fn frames_are_accepted_from_the_first_advertisement_until_another_director_has_the_addresses() {
    let mut one = One::with(vec![with_mac()]);
    one.did();
    one.run(3_700);
    assert_eq!(one.did(), "accept 1, send 100, place 1, announce, active");
    one.routers.release(one.now, "a").map(|effects| one.note(effects)).unwrap();
    assert_eq!(one.did(), "send 0, backup");
    one.hear(50);
    assert_eq!(one.did(), "accept 0, place 0");
}

#[test]
fn a_director_that_yields_accepts_them_no_more_before_its_addresses_go() {
    let mut one = One::active(vec![with_mac()]);
    one.hear(200);
    assert_eq!(one.did(), "backup, accept 0, place 0");
}

#[test]
fn one_that_is_taken_out_of_the_file_leaves_all_its_frames_to_others() {
    let mut one = One::active(vec![with_mac()]);
    one.configure(vec![]);
    assert_eq!(one.did(), "send 0, initialize, accept 0, place 0");
}

#[test]
fn an_active_router_that_gets_the_address_or_loses_it_announces_itself_anew() {
    let mut one = One::active(vec![router("a", 51)]);
    one.configure(vec![with_mac()]);
    assert_eq!(one.did(), "accept 1, send 100, place 1, announce");
    one.configure(vec![router("a", 51)]);
    assert_eq!(one.did(), "accept 0, send 100, place 1, announce");
}

#[test]
fn advertisements_and_announcements_come_from_the_virtual_mac_address() {
    let (mut adverts, mut announcements) = (Vec::new(), Vec::new());
    for effect in takes_over() {
        match effect {
            Effect::Send { virtual_mac, destination, packet, .. } => {
                let mac = virtual_mac.expect("a MAC address");
                adverts.push((mac, frame(mac, destination, &packet)));
            }
            Effect::Announce { frame, .. } => announcements.push(frame),
            Effect::Hold
            | Effect::Accept(_)
            | Effect::Addresses(_)
            | Effect::Changed(_)
            | Effect::Warning(_) => {}
        }
    }
    // The groups' addresses: 224.0.0.18 and ff02::12.
    let groups = [[1, 0, 0x5e, 0, 0, 0x12], [0x33, 0x33, 0, 0, 0, 0x12]];
    assert_eq!(adverts.len(), 2);
    for ((mac, bytes), (expected, group)) in adverts.into_iter().zip(MACS.into_iter().zip(groups)) {
        let parsed = SlicedPacket::from_ethernet(&bytes).unwrap();
        let Some(LinkSlice::Ethernet2(link)) = parsed.link else { panic!("Ethernet") };
        assert_eq!((mac, link.source(), link.destination()), (expected, expected, group));
        assert!(matches!(parsed.net, Some(NetSlice::Ipv4(_) | NetSlice::Ipv6(_))));
    }
    // The IPv4 address, the link-local one and the IPv6 address.
    let [v4, v6] = MACS;
    assert_eq!(announcements.len(), 3);
    for (bytes, mac) in announcements.iter().zip([v4, v6, v6]) {
        // From it; and it is what ARP names as the sender, or neighbour discovery as the target's.
        assert_eq!(bytes[6..12], mac);
        let named = if bytes.len() == 42 { &bytes[22..28] } else { &bytes[bytes.len() - 6..] };
        assert_eq!(named, mac);
    }
}

#[test]
fn the_addresses_are_on_a_device_of_the_router() {
    let placed = takes_over().into_iter().find_map(|effect| match effect {
        Effect::Addresses(places) => Some(places),
        Effect::Accept(_)
        | Effect::Send { .. }
        | Effect::Announce { .. }
        | Effect::Changed(_)
        | Effect::Hold
        | Effect::Warning(_) => None,
    });
    let place = |is_ipv6, address: &str| {
        let key = crate::model::vrrp::Key { id: 51, is_ipv6, interface: "eth0".to_owned() };
        Place { port: Port::Virtual(key), address: address.parse().unwrap() }
    };
    let link_local = place(true, "fe80::200:5eff:fe00:233/64");
    let expected = [place(false, "203.0.113.10/32"), link_local, place(true, "2001:db8::10/128")];
    assert_eq!(placed, Some(expected.into()));
}
