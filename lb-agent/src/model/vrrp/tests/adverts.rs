//! Bytes: both forms of checksum, headers and announcements against an independent parser, and any bytes at all.

use etherparse::{LinkSlice, NetSlice, SlicedPacket, TransportSlice};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::model::vrrp::advert::{PROTOCOL, Reason};
use crate::model::vrrp::packet::{announcement, packet, parse_v4};

fn addresses(is_ipv6: bool) -> impl Strategy<Value = Vec<IpAddr>> {
    let v4 = any::<[u8; 4]>().prop_map(IpAddr::from).boxed();
    let v6 = any::<[u8; 16]>().prop_map(IpAddr::from).boxed();
    vec(if is_ipv6 { v6 } else { v4 }, 1..=255)
}

fn any_advert(is_ipv6: bool) -> impl Strategy<Value = Advert> {
    (any::<u8>(), any::<u8>(), 1..=4_095_u64, addresses(is_ipv6)).prop_map(
        |(id, priority, interval, addresses)| {
            let interval = Duration::from_millis(interval * 10);
            Advert { id, priority, interval, addresses }
        },
    )
}

fn ends(is_ipv6: bool) -> (IpAddr, IpAddr) {
    if is_ipv6 {
        (OTHER_V6.parse().unwrap(), GROUP_V6.into())
    } else {
        (OTHER.parse().unwrap(), GROUP_V4.into())
    }
}

/// With a family.
fn with_family<T: Strategy>(make: fn(bool) -> T) -> impl Strategy<Value = (bool, T::Value)> {
    any::<bool>().prop_flat_map(move |is_ipv6| (Just(is_ipv6), make(is_ipv6)))
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        (is_ipv6, advert) in with_family(any_advert),
        is_plain in any::<bool>(),
    ) {
        let (source, destination) = ends(is_ipv6);
        let form = if is_plain { VrrpChecksum::Plain } else { VrrpChecksum::PseudoHeader };
        let bytes = advert.encode(source, destination, form);
        prop_assert_eq!(Advert::parse(&bytes, source, destination), Ok(advert));
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in vec(any::<u8>(), 0..100), is_ipv6 in any::<bool>()) {
        let (source, destination) = ends(is_ipv6);
        if let Ok(advert) = Advert::parse(&bytes, source, destination) {
            prop_assert!(advert.interval > Duration::ZERO && !advert.addresses.is_empty());
        }
        parse_v4(&bytes);
    }

    #[test]
    fn a_bit_that_has_changed_on_the_way_is_seen(
        (is_ipv6, advert) in with_family(any_advert),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let (source, destination) = ends(is_ipv6);
        let mut bytes = advert.encode(source, destination, VrrpChecksum::PseudoHeader);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(Advert::parse(&bytes, source, destination).is_err());
    }

    #[test]
    fn a_packet_that_is_cut_is_no_advertisement(
        (is_ipv6, advert) in with_family(any_advert),
        at in any::<prop::sample::Index>(),
    ) {
        let (source, destination) = ends(is_ipv6);
        let bytes = advert.encode(source, destination, VrrpChecksum::PseudoHeader);
        let cut = &bytes[..at.index(bytes.len())];
        prop_assert!(Advert::parse(cut, source, destination).is_err());
    }

    #[test]
    fn no_packet_makes_a_director_panic(packets in vec((vec(any::<u8>(), 0..40), any::<u8>()), 0..50)) {
        let mut one = One::with(vec![crate::model::cast::router("a", 51)]);
        for (mut payload, kind) in packets {
            // Half of them get as far as their checksum.
            if kind % 2 == 0 && payload.len() > 2 {
                payload[..2].copy_from_slice(&[0x31, 51]);
            }
            let (source, destination) = ends(kind % 3 == 0);
            let interface = "eth0".to_owned();
            one.event(Event::Received(Received { interface, source, destination, hop_limit: 255, options: Vec::new(), payload }));
            one.run(100);
        }
    }
}

#[test]
fn ipv6_has_no_checksum_without_a_pseudo_header() {
    let (source, destination) = ends(true);
    let interval = Duration::from_secs(1);
    let advert = Advert { id: 51, priority: 100, interval, addresses: vec![vip(OTHER_V6)] };
    let pseudo = advert.encode(source, destination, VrrpChecksum::PseudoHeader);
    assert_eq!(advert.encode(source, destination, VrrpChecksum::Plain), pseudo);
    let other: IpAddr = "fe80::7".parse().unwrap();
    assert_eq!(Advert::parse(&pseudo, other, destination), Err(Reason::Checksum));
}

#[test]
fn the_packet_around_an_advertisement_is_what_the_protocol_asks_for() {
    for is_ipv6 in [false, true] {
        let (source, destination) = ends(is_ipv6);
        let bytes = packet(source, destination, &[], &[1, 2, 3]).unwrap();
        let parsed = SlicedPacket::from_ip(&bytes).unwrap();
        match parsed.net.unwrap() {
            NetSlice::Ipv4(ip) => {
                let header = ip.header().to_header();
                assert_eq!((header.time_to_live, header.protocol.0), (255, PROTOCOL));
                assert_eq!(header.dscp.value() << 2 | header.ecn.value(), 0xc0);
                assert_eq!(header.calc_header_checksum(), header.header_checksum);
                assert_eq!(ip.payload().payload, [1, 2, 3]);
                let read = parse_v4(&bytes).unwrap();
                assert_eq!(
                    (IpAddr::from(read.source), IpAddr::from(read.destination), read.ttl),
                    (source, destination, 255)
                );
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header().to_header();
                assert_eq!((header.hop_limit, header.next_header.0), (255, PROTOCOL));
                assert_eq!((header.traffic_class, header.flow_label.value()), (0xc0, 0));
                assert_eq!(ip.payload().payload, [1, 2, 3]);
            }
            NetSlice::Arp(_) => panic!("ARP"),
        }
    }
    assert_eq!(packet(OTHER.parse().unwrap(), GROUP_V6.into(), &[], &[]), None);
}

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 5];

#[test]
fn an_ipv4_address_is_announced_by_a_gratuitous_arp_request() {
    let vip = [203, 0, 113, 10];
    let frame = announcement(MAC, IpAddr::from(vip));
    let parsed = SlicedPacket::from_ethernet(&frame).unwrap();
    let Some(LinkSlice::Ethernet2(link)) = parsed.link else { panic!("Ethernet") };
    assert_eq!((link.destination(), link.source()), ([0xff; 6], MAC));
    let Some(NetSlice::Arp(arp)) = parsed.net else { panic!("ARP") };
    assert_eq!(arp.operation(), etherparse::ArpOperation::REQUEST);
    assert_eq!((arp.sender_hw_addr(), arp.sender_protocol_addr()), (&MAC[..], &vip[..]));
    assert_eq!((arp.target_hw_addr(), arp.target_protocol_addr()), (&[0; 6][..], &vip[..]));
}

#[test]
fn an_ipv6_address_is_announced_by_a_neighbour_advertisement_of_a_router() {
    let vip: IpAddr = "2001:db8::10".parse().unwrap();
    let frame = announcement(MAC, vip);
    let parsed = SlicedPacket::from_ethernet(&frame).unwrap();
    let Some(LinkSlice::Ethernet2(link)) = parsed.link else { panic!("Ethernet") };
    assert_eq!((link.destination(), link.source()), ([0x33, 0x33, 0, 0, 0, 1], MAC));
    let Some(NetSlice::Ipv6(ip)) = parsed.net else { panic!("IPv6") };
    let (source, all) = (ip.header().source_addr(), ip.header().destination_addr());
    assert_eq!((IpAddr::from(source), all.to_string().as_str()), (vip, "ff02::1"));
    assert_eq!(ip.header().hop_limit(), 255);
    let Some(TransportSlice::Icmpv6(icmp)) = parsed.transport else { panic!("ICMPv6") };
    assert!(icmp.is_checksum_valid(source.octets(), all.octets()));
    let bytes = icmp.slice();
    // Type 136, flags router and override, target, and its link-layer address.
    assert_eq!((bytes[0], bytes[1], bytes[4]), (136, 0, 0xa0));
    assert_eq!(bytes[8..24], source.octets());
    assert_eq!(bytes[24..], [2, 1, 2, 0, 0, 0, 0, 5]);
}
