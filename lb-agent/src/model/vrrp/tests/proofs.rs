//! Advertisements with proofs of the key: what is believed, and what others make of them.

use etherparse::{NetSlice, SlicedPacket};

use super::*;
use crate::model::config::VrrpAuthentication::{self, Off, Require, Send};
use crate::model::vrrp::advert::{PROTOCOL, Reason};
use crate::model::vrrp::packet::parse_v4;
use crate::model::vrrp::proof::Prover;

const KEY: [u8; 32] = [7; 32];

/// Both families; adverts of both are looked at.
fn entry(authentication: VrrpAuthentication, priority: u8) -> Vrrp {
    Vrrp { priority, authentication, ..crate::model::cast::router("a", 51) }
}

/// A director with these addresses, and a key at its start of this number.
fn director(own: [&str; 2], entry: Vrrp, key: Option<([u8; 32], u32)>) -> One {
    let now = start();
    let prover = key.map(|(key, run)| Prover::new(&key, run));
    let routers = Routers::new(BTreeSet::new(), prover);
    let mut one = One { routers, begin: now, now, did: Vec::new() };
    let mut network = network(&["eth0"]);
    let nets = own.map(|address| address.parse::<IpAddr>().unwrap().into());
    network.get_mut("eth0").unwrap().addresses = nets.to_vec();
    one.event(Event::Network(network));
    one.configure(vec![entry]);
    one
}

/// An Active director of priority 200, which is started for the time of this number.
fn speaker(authentication: VrrpAuthentication, key: [u8; 32], run: u32) -> One {
    let mut one = director(OWN, entry(authentication, 200), Some((key, run)));
    one.run(4_000);
    one
}

/// Its next advertisements, one of each family, as others receive them.
fn adverts(one: &mut One) -> Vec<Received> {
    one.now += Duration::from_secs(1);
    let effects = one.routers.handle(one.now, Event::Timer);
    let sent = effects.into_iter().filter_map(|effect| match effect {
        Effect::Send { packet, destination, .. } => Some(arrived(&packet, destination)),
        Effect::Accept(_)
        | Effect::Addresses(_)
        | Effect::Announce { .. }
        | Effect::Changed(_)
        | Effect::Hold
        | Effect::Warning(_) => None,
    });
    sent.collect()
}

/// A packet as the kernel hands it over; the headers are read by somebody else's code too.
fn arrived(packet: &[u8], destination: IpAddr) -> Received {
    let interface = "eth0".to_owned();
    let (options, payload, source) = match SlicedPacket::from_ip(packet).unwrap().net.unwrap() {
        NetSlice::Ipv4(ip) => {
            assert_eq!(ip.payload().ip_number.0, PROTOCOL);
            let header = ip.header().to_header();
            assert_eq!(header.calc_header_checksum(), header.header_checksum);
            let options = ip.header().options();
            let read = parse_v4(packet).unwrap();
            assert_eq!((read.options, read.payload), (options, ip.payload().payload));
            (options.to_vec(), ip.payload().payload.to_vec(), ip.header().source_addr().into())
        }
        NetSlice::Ipv6(ip) => {
            assert_eq!(ip.payload().ip_number.0, PROTOCOL);
            let area = ip.extensions().slice();
            let options = area.get(2..).unwrap_or_default();
            (options.to_vec(), ip.payload().payload.to_vec(), ip.header().source_addr().into())
        }
        NetSlice::Arp(_) => panic!("ARP"),
    };
    Received { interface, source, destination, hop_limit: 255, options, payload }
}

fn count(one: &One, reason: Reason) -> u64 {
    one.routers.discarded.get(&("eth0".to_owned(), reason)).copied().unwrap_or_default()
}

fn n_believed(one: &One) -> u64 {
    one.routers.status(one.now).routers.iter().map(|router| router.adverts_received).sum()
}

fn hear_all(one: &mut One, packets: &[Received]) {
    for packet in packets {
        one.event(Event::Received(packet.clone()));
    }
}

fn listener(authentication: VrrpAuthentication) -> One {
    director([OTHER, OTHER_V6], entry(authentication, 100), Some((KEY, 1)))
}

#[test]
fn who_requires_proofs_believes_those_with_the_key_alone() {
    // What the other one does, and the reason for which it is discarded.
    let cases = [
        (speaker(Require, KEY, 1), None),
        (speaker(Send, KEY, 1), None),
        (speaker(Off, KEY, 1), Some(Reason::NoProof)),
        (speaker(Require, [8; 32], 1), Some(Reason::WrongProof)),
    ];
    for (mut other, reason) in cases {
        let mut one = listener(Require);
        let packets = adverts(&mut other);
        assert_eq!(packets.len(), 2);
        hear_all(&mut one, &packets);
        let discarded = reason.map_or(0, |reason| count(&one, reason));
        assert_eq!((n_believed(&one), discarded), if reason.is_none() { (2, 0) } else { (0, 2) });
    }
}

#[test]
fn who_only_sends_proofs_believes_those_without_but_no_wrong_ones() {
    let mut one = listener(Send);
    hear_all(&mut one, &adverts(&mut speaker(Off, KEY, 1)));
    assert_eq!(n_believed(&one), 2);
    hear_all(&mut one, &adverts(&mut speaker(Send, [8; 32], 1)));
    assert_eq!((n_believed(&one), count(&one, Reason::WrongProof)), (2, 2));
}

#[test]
fn whoever_knows_of_no_proofs_is_not_disturbed_by_them() {
    let mut without_key = director([OTHER, OTHER_V6], entry(Off, 100), None);
    let mut with_key = listener(Off);
    let packets = adverts(&mut speaker(Require, KEY, 1));
    for one in [&mut without_key, &mut with_key] {
        hear_all(one, &packets);
        assert_eq!((n_believed(one), one.routers.discarded.len()), (2, 0));
    }
}

#[test]
fn nothing_that_was_recorded_is_believed_again() {
    let (mut one, mut other) = (listener(Require), speaker(Require, KEY, 1));
    let recorded = adverts(&mut other);
    hear_all(&mut one, &recorded);
    hear_all(&mut one, &recorded);
    assert_eq!((n_believed(&one), count(&one, Reason::Repeated)), (2, 2));
    let newer = adverts(&mut other);
    hear_all(&mut one, &newer);
    // The other one is started anew, with a greater number; what is of its last time is old.
    hear_all(&mut one, &adverts(&mut speaker(Require, KEY, 2)));
    assert_eq!(n_believed(&one), 6);
    hear_all(&mut one, &adverts(&mut other));
    assert_eq!((n_believed(&one), count(&one, Reason::Repeated)), (6, 4));
    // It changes no timer.
    let before = one.routers.deadline();
    one.run(10);
    hear_all(&mut one, &recorded);
    assert_eq!((one.routers.deadline(), one.state()), (before, State::Backup));
}

#[test]
fn a_proof_is_of_everything_that_an_advertisement_says_and_of_both_ends() {
    let mut one = listener(Require);
    let mut other = speaker(Require, KEY, 1);
    // The checksum is made right again: a priority of 255, or another source.
    let says_more = |packet: &mut Received| {
        let mut advert = Advert::parse(&packet.payload, packet.source, packet.destination).unwrap();
        advert.priority = 255;
        packet.payload =
            advert.encode(packet.source, packet.destination, VrrpChecksum::PseudoHeader);
    };
    let comes_from_another = |packet: &mut Received| {
        let advert = Advert::parse(&packet.payload, packet.source, packet.destination).unwrap();
        packet.source =
            if packet.source.is_ipv4() { "192.0.2.9" } else { "fe80::9" }.parse().unwrap();
        packet.payload =
            advert.encode(packet.source, packet.destination, VrrpChecksum::PseudoHeader);
    };
    let is_cut = |packet: &mut Received| packet.options[1] -= 1;
    let changes: [&dyn Fn(&mut Received); 3] = [&says_more, &comes_from_another, &is_cut];
    for (n, how) in (1..).zip(changes) {
        let mut packets = adverts(&mut other);
        packets.iter_mut().for_each(how);
        hear_all(&mut one, &packets);
        assert_eq!((n_believed(&one), count(&one, Reason::WrongProof)), (0, 2 * n));
    }
}

mod properties {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_options_make_a_director_panic_or_believe(options in vec(any::<u8>(), 0..60)) {
            let mut one = listener(Require);
            let packets = adverts(&mut speaker(Require, KEY, 1));
            for packet in packets {
                one.event(Event::Received(Received { options: options.clone(), ..packet }));
            }
            prop_assert_eq!(n_believed(&one), 0);
        }

        #[test]
        fn no_changed_byte_of_a_proof_is_believed(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let mut one = listener(Require);
            for mut packet in adverts(&mut speaker(Require, KEY, 1)) {
                // What follows the proof is padding, and means nothing.
                let at = at.index(26);
                packet.options[at] ^= 1 << bit;
                one.event(Event::Received(packet));
            }
            prop_assert_eq!(n_believed(&one), 0);
        }
    }
}
