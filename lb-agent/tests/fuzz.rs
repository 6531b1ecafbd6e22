//! Everything that reads what others have written, on valid bytes that were changed at random: it may refuse them, and
//! what it takes it writes and reads back alike.
//!
//! `cargo xtask fuzz` runs these for as many cases as one has time for.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::net::IpAddr;
use std::time::Duration;

use lb_agent::model::config::{VrrpChecksum, parse};
use lb_agent::model::firewall::{parse_set, set_text};
use lb_agent::model::sync::{Interface, Listening, Message, Offer, Record, Server, Terms};
use lb_agent::model::tables::ListenerKey;
use lb_agent::model::vrrp::advert::Advert;
use lb_agent::model::vrrp::packet::parse_v4;
use lb_common::cell::State;
use lb_common::layout::{Detail, Forward};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use zerocopy::FromZeros;

const EXAMPLE: &str = include_str!("../../docs/lb.toml");
const SET: &[u8] =
    b"# a list\n198.51.100.0/24\n203.0.113.7\n2001:db8::/32 # a network\n\n10.0.0.0/8\n";
const V4: [&str; 2] = ["192.0.2.1", "224.0.0.18"];
const V6: [&str; 2] = ["fe80::1", "ff02::12"];

/// A change of some bytes.
#[derive(Clone, Debug)]
enum Change {
    Flip(Index, u8),
    Put(Index, Vec<u8>),
    Cut(Index, usize),
    Repeat(Index, usize),
    End(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let length = 1..40_usize;
    // What parsers stumble over more often than over others.
    let odd = select(vec![
        0, 1, 0x7f, 0x80, 0xff, b'"', b'[', b']', b'{', b'=', b'.', b'/', b':', b'-', b'\n',
    ]);
    prop_oneof![
        (any::<Index>(), 1..=u8::MAX).prop_map(|(at, bits)| Change::Flip(at, bits)),
        (any::<Index>(), vec(prop_oneof![odd, any::<u8>()], 1..6))
            .prop_map(|(at, new)| Change::Put(at, new)),
        (any::<Index>(), length.clone()).prop_map(|(at, length)| Change::Cut(at, length)),
        (any::<Index>(), length).prop_map(|(at, length)| Change::Repeat(at, length)),
        any::<Index>().prop_map(Change::End),
    ]
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    vec(change(), 0..5)
}

fn changed(valid: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    for change in changes {
        let place = |at: &Index| at.index(bytes.len() + 1);
        let part = |at: &Index, length: usize| place(at)..bytes.len().min(place(at) + length);
        match change {
            Change::Flip(at, bits) => {
                let at = place(at);
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= bits);
            }
            Change::Put(at, new) => drop(bytes.splice(part(at, 0), new.iter().copied())),
            Change::Cut(at, length) => drop(bytes.drain(part(at, *length))),
            Change::Repeat(at, length) => {
                let range = part(at, *length);
                let (end, again) = (range.end, bytes.get(range).unwrap().to_vec());
                bytes.splice(end..end, again);
            }
            Change::End(at) => bytes.truncate(place(at)),
        }
    }
    bytes
}

fn messages() -> Vec<Message> {
    let server = |port: u16| Server {
        listener: ListenerKey::new(format!("203.0.113.10:{port}").parse().unwrap(), 6).unwrap(),
        address: format!("192.0.2.11:{port}").parse().unwrap(),
        forward: Forward::Nat,
    };
    let record = |family: u8, tags: [u16; 2]| Record {
        backend: 1,
        state: State::Established,
        is_reply: family == 6,
        is_translated: false,
        idle_seconds: 300,
        detail: Detail { family, client: [7; 4], hop_tags: tags, ..Detail::new_zeroed() },
    };
    let terms = Terms { forward: "nat".to_owned(), scheduler: "rr".to_owned(), backends: 7 };
    let offer = Offer { listener: server(80).listener, terms };
    let interface = Interface { number: 2, networks: vec!["192.0.2.0/24".parse().unwrap()] };
    vec![
        Message::Hello { run: 7, node: "lb1".to_owned() },
        Message::Servers { is_first: true, servers: vec![(1, server(80)), (2, server(443))] },
        Message::Services { is_first: true, offers: vec![offer] },
        Message::Interfaces(vec![interface]),
        Message::Flows(vec![record(6, [0; 2]), record(6, [7, 8])]),
        Message::Flows(vec![Record { is_translated: true, ..record(6, [0; 2]) }]),
        Message::Mark { number: 7, is_whole: true },
        Message::Seen { number: 7 },
        Message::Again,
    ]
}

proptest! {
    #[test]
    fn configuration_files(changes in changes()) {
        let text = String::from_utf8_lossy(&changed(EXAMPLE.as_bytes(), &changes)).into_owned();
        if let Err(problems) = parse("lb.toml", &text, "lb1") {
            prop_assert!(problems.to_string().contains("error"));
        }
    }

    #[test]
    fn files_of_sets(changes in changes()) {
        match parse_set(&changed(SET, &changes)) {
            Ok(elements) => prop_assert_eq!(parse_set(set_text(&elements).as_bytes()).unwrap(), elements),
            Err(bad) => prop_assert!(bad.to_string().starts_with("line ")),
        }
    }

    #[test]
    fn advertisements(is_v4: bool, plain: bool, changes in changes()) {
        let ends: [IpAddr; 2] = (if is_v4 { V4 } else { V6 }).map(|end| end.parse().unwrap());
        let form = if plain { VrrpChecksum::Plain } else { VrrpChecksum::PseudoHeader };
        let addresses = if is_v4 { ["203.0.113.10", "203.0.113.11"] } else { ["fe80::10", "2001:db8::10"] };
        let addresses = addresses.map(|address| address.parse().unwrap()).to_vec();
        let advert = Advert { id: 51, priority: 200, interval: Duration::from_secs(1), addresses };
        let bytes = changed(&advert.encode(ends[0], ends[1], form), &changes);
        if let Ok(read) = Advert::parse(&bytes, ends[0], ends[1]) {
            prop_assert!(read.interval > Duration::ZERO && !read.addresses.is_empty());
            let again = read.encode(ends[0], ends[1], form);
            prop_assert_eq!(Advert::parse(&again, ends[0], ends[1]), Ok(read));
        }
        if let Some(packet) = parse_v4(&bytes) {
            prop_assert!(packet.payload.len() + 20 <= bytes.len());
        }
    }

    #[test]
    fn messages_of_replication(message in select(messages()), changes in changes()) {
        let bytes = changed(&message.encode(), &changes);
        if let Ok(read) = Message::decode(&bytes) {
            prop_assert_eq!(Message::decode(&read.encode()), Ok(read.clone()));
            drop(Listening::default().take(read));
        }
    }
}
