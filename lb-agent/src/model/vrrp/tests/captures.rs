//! What others send: captures of keepalived 2.2.7 and FRR 8.4, decoded and answered.

use std::collections::BTreeMap;

use etherparse::{NetSlice, SlicedPacket};

use super::*;
use crate::model::vrrp::advert::{PROTOCOL, Reason};

macro_rules! fixture {
    ($name:expr) => {
        concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/vrrp/", $name)
    };
}

macro_rules! captures {
    ($($name:literal),+ $(,)?) => { &[$(($name, include_bytes!(fixture!($name)))),+] };
}

/// What each file is: taken in network namespaces, between two of the peers.
const INDEX: &str = include_str!(fixture!("INDEX.tsv"));

const CAPTURES: &[(&str, &[u8])] = captures![
    "fmt-v2-ip4-auth.pcap",
    "fmt-v2-ip4-mcast.pcap",
    "fmt-v2-ip4-unicast.pcap",
    "fmt-v2-ip4-vmac.pcap",
    "fmt-v2-ip4-vmacbase.pcap",
    "fmt-v2-ip6-mcast.pcap",
    "fmt-v2-ip6-unicast.pcap",
    "fmt-v2-ip6-vmac.pcap",
    "fmt-v2-ip6-vmacbase.pcap",
    "fmt-v3-ip4-mcast.pcap",
    "fmt-v3-ip4-unicast.pcap",
    "fmt-v3-ip4-vmac.pcap",
    "fmt-v3-ip4-vmacbase.pcap",
    "fmt-v3-ip6-mcast.pcap",
    "fmt-v3-ip6-unicast.pcap",
    "fmt-v3-ip6-vmac.pcap",
    "fmt-v3-ip6-vmacbase.pcap",
    "frr-v3.pcap",
];

/// The Ethernet frames of a capture file (pcap, little endian, microseconds).
fn frames(name: &str) -> Vec<Vec<u8>> {
    let (_, bytes) = CAPTURES.iter().find(|(file, _)| *file == name).unwrap();
    assert_eq!(bytes[..4], [0xd4, 0xc3, 0xb2, 0xa1], "{name}");
    let mut rest = &bytes[24..];
    let mut frames = Vec::new();
    while rest.len() >= 16 {
        let length = u32::from_le_bytes(rest[8..12].try_into().unwrap());
        let (frame, after) = rest[16..].split_at(usize::try_from(length).unwrap());
        frames.push(frame.to_vec());
        rest = after;
    }
    frames
}

/// The packet of VRRP in a frame, if it is one.
fn vrrp(frame: &[u8]) -> Option<Received> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let (source, destination, hop_limit, protocol, payload): (IpAddr, IpAddr, _, _, _) =
        match packet.net? {
            NetSlice::Ipv4(ip) => {
                let (header, payload) = (ip.header(), ip.payload());
                let (source, destination) = (header.source_addr(), header.destination_addr());
                (
                    source.into(),
                    destination.into(),
                    header.ttl(),
                    payload.ip_number,
                    payload.payload,
                )
            }
            NetSlice::Ipv6(ip) => {
                let (header, payload) = (ip.header(), ip.payload());
                let (source, destination) = (header.source_addr(), header.destination_addr());
                let hops = header.hop_limit();
                (source.into(), destination.into(), hops, payload.ip_number, payload.payload)
            }
            NetSlice::Arp(_) => return None,
        };
    let received = || Received {
        interface: "eth0".to_owned(),
        source,
        destination,
        hop_limit,
        options: Vec::new(),
        payload: payload.to_vec(),
    };
    (protocol.0 == PROTOCOL).then(received)
}

/// A row of the index: column by name.
type Row = BTreeMap<String, String>;

fn index() -> Vec<Row> {
    let mut lines = INDEX.lines().map(|line| line.split('\t').map(str::to_owned));
    let names: Vec<String> = lines.next().unwrap().collect();
    lines.map(|line| names.iter().cloned().zip(line).collect()).collect()
}

fn adverts(row: &Row) -> Vec<Received> {
    frames(&row["file"]).iter().filter_map(|frame| vrrp(frame)).collect()
}

#[test]
fn every_capture_is_decoded_as_its_index_says() {
    let rows = index();
    assert_eq!(rows.len(), 18);
    for row in rows {
        let packets = adverts(&row);
        assert_eq!(packets.len().to_string(), row["adverts"], "{row:?}");
        assert_eq!(packets[0].source.to_string(), row["sip"]);
        if row["ver"] == "3" {
            assert_eq!(packets[0].payload[2].to_string(), row["prio"]);
        }
        for packet in &packets {
            let decoded = Advert::parse(&packet.payload, packet.source, packet.destination);
            if row["ver"] == "2" {
                assert_eq!(decoded, Err(Reason::Version), "{row:?}");
                continue;
            }
            let advert = decoded.unwrap_or_else(|reason| panic!("{reason:?} {row:?}"));
            assert_eq!(packet.hop_limit.to_string(), row["ttl"]);
            assert_eq!(advert.id.to_string(), row["vrid"]);
            assert_eq!(advert.addresses.len().to_string(), row["naddr"]);
            // What we send for the same is the same, to the byte.
            let form = VrrpChecksum::PseudoHeader;
            assert_eq!(advert.encode(packet.source, packet.destination, form), packet.payload);
        }
    }
}

/// State of a router of ours with the id and the addresses of a capture, after it has heard it to the end of its first
/// Active router; and whether it has believed everything.
fn answered(row: &Row) -> (State, bool) {
    let mut packets = adverts(row);
    // Whoever takes over in the capture is played by our router.
    let leaves_at = packets.iter().position(|packet| packet.payload[2] == 0);
    packets.truncate(leaves_at.map_or(usize::MAX, |at| at + 1));
    // FRR speaks both families.
    let is_ipv6 = packets[0].source.is_ipv6();
    packets.retain(|packet| packet.source.is_ipv6() == is_ipv6);
    let n_packets = u64::try_from(packets.len()).unwrap();
    let first = &packets[0];
    let advert = Advert::parse(&first.payload, first.source, first.destination).unwrap();
    let mut entry = router("a", advert.id);
    entry.addresses = advert.addresses.iter().map(|address| (*address).into()).collect();
    if !first.destination.is_multicast() {
        entry.unicast_peers = vec![first.source];
        entry.unicast_min_hop_limit = first.hop_limit;
    }
    let mut one = One::with(vec![entry]);
    for packet in packets {
        one.event(Event::Received(packet));
        one.run(900);
    }
    let heard = one.routers.status(one.now).routers[0].adverts_received;
    (one.state(), heard == n_packets)
}

#[test]
fn every_peer_of_a_capture_is_believed_and_taken_over_from_when_it_leaves() {
    for row in index().iter().filter(|row| row["ver"] == "3") {
        let leaves = row["prio0_hex"] != "-";
        let after = if leaves { State::Active } else { State::Backup };
        assert_eq!(answered(row), (after, true), "{row:?}");
    }
}
