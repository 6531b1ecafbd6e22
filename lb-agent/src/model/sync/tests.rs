//! Messages as bytes, what a listener makes of them, and what a teller knows of a listener.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use lb_common::cell::{Cell, State};
use lb_common::layout::{Backend, Detail, Forward, address, endpoint};
use lb_ebpf::adopt::Told;
use proptest::prelude::*;
use zerocopy::FromZeros;

use super::*;
use crate::model::cast::start;
use crate::model::config::Protocol;
use crate::model::tables::ListenerKey;

const STATES: [State; 6] =
    [State::Syn, State::SynAck, State::Established, State::HalfClosed, State::Closing, State::Udp];
const WAYS: [Forward; 7] = [
    Forward::Nat,
    Forward::FullNat,
    Forward::Dsr,
    Forward::IpipV4,
    Forward::IpipV6,
    Forward::GueV4,
    Forward::GueV6,
];

prop_compose! {
    fn record()(
        is_v6: bool, ends in any::<([u8; 16], [u8; 16], u16, u16)>(), has_source: bool,
        deltas in any::<(bool, u32, u32)>(), tags in any::<([u16; 2], u16)>(),
        hop in any::<(u8, [u8; 6])>(), backend: u32, state in 0..6_usize,
        is_reply: bool, idle_seconds: u16,
    ) -> Record {
        let ip = |octets: [u8; 16]| -> IpAddr {
            if is_v6 { IpAddr::from(octets) } else { IpAddr::from([octets[0], octets[1], octets[2], octets[3]]) }
        };
        let (client, family) = address(ip(ends.0));
        let source = if has_source { (address(ip(ends.1)).0, ends.3) } else { (client, ends.2) };
        let (is_translated, sequence, timestamp) = deltas;
        let detail = Detail {
            client,
            source: source.0,
            client_port: ends.2,
            source_port: source.1,
            family,
            sequence_delta: if is_translated { sequence } else { 0 },
            timestamp_delta: if is_translated { timestamp } else { 0 },
            hop_interface: hop.0.into(),
            hop_neighbour: hop.1,
            hop_tags: tags.0,
            hop_tag_type: tags.1,
            ..Detail::new_zeroed()
        };
        Record { backend, state: STATES[state], is_reply, is_translated, idle_seconds, detail }
    }
}

prop_compose! {
    fn socket()(octets: [u8; 16], is_v6: bool, port: u16) -> SocketAddr {
        let v4 = [octets[0], octets[1], octets[2], octets[3]];
        SocketAddr::new(if is_v6 { IpAddr::from(octets) } else { IpAddr::from(v4) }, port)
    }
}

prop_compose! {
    fn server()(vip in socket(), address in socket(), is_udp: bool, forward in 0..7_usize) -> Server {
        let protocol = if is_udp { Protocol::Udp } else { Protocol::Tcp };
        Server { listener: ListenerKey { address: vip, protocol }, address, forward: WAYS[forward] }
    }
}

prop_compose! {
    fn interface()(number: u8, networks in prop::collection::vec((socket(), 0..=32_u8), 0..4)) -> Interface {
        let network = |(socket, length): (SocketAddr, u8)| IpNet::new(socket.ip(), length).unwrap();
        Interface { number, networks: networks.into_iter().map(network).collect() }
    }
}

prop_compose! {
    fn offer()(at in socket(), forward in "[a-z-]{0,9}", scheduler in "[a-z]{0,9}", backends: u64) -> Offer {
        let listener = ListenerKey { address: at, protocol: Protocol::Tcp };
        Offer { listener, terms: Terms { forward, scheduler, backends } }
    }
}

fn message() -> impl Strategy<Value = Message> {
    let offers = (any::<bool>(), prop::collection::vec(offer(), 0..20));
    let servers = (any::<bool>(), prop::collection::vec((any::<u32>(), server()), 0..20));
    prop_oneof![
        (any::<u64>(), "[a-z0-9é]{0,100}").prop_map(|(run, node)| Message::Hello { run, node }),
        servers.prop_map(|(is_first, servers)| Message::Servers { is_first, servers }),
        offers.prop_map(|(is_first, offers)| Message::Services { is_first, offers }),
        prop::collection::vec(interface(), 0..5).prop_map(Message::Interfaces),
        prop::collection::vec(record(), 0..20).prop_map(Message::Flows),
        any::<(u64, bool)>().prop_map(|(number, is_whole)| Message::Mark { number, is_whole }),
        any::<u64>().prop_map(|number| Message::Seen { number }),
        Just(Message::Again),
    ]
}

proptest! {
    #[test]
    fn a_message_is_read_as_it_was_written(message in message()) {
        prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn a_message_that_is_cut_or_garbled_is_no_reason_to_panic(message in message(), at: prop::sample::Index, byte: u8) {
        let mut bytes = message.encode();
        let place = at.index(bytes.len());
        drop(Message::decode(&bytes[..place]));
        bytes[place] = byte;
        drop(Message::decode(&bytes));
    }

    #[test]
    fn no_bytes_are_a_reason_to_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(message) = Message::decode(&bytes) {
            drop(Listening::default().take(message));
        }
    }
}

#[test]
fn a_record_of_the_usual_kind_is_short_and_the_longest_frame_takes_what_a_message_may_have() {
    let length = |record: Record| Message::Flows(vec![record]).encode().len() - 1;
    let mut detail = Detail { family: 4, ..Detail::new_zeroed() };
    let usual = Record {
        backend: 1,
        state: State::Established,
        is_reply: false,
        is_translated: false,
        idle_seconds: 0,
        detail,
    };
    assert_eq!(length(usual), 20);
    detail = Detail { family: 6, source_port: 1, hop_tags: [1, 2], ..detail };
    let longest = length(Record { is_translated: true, detail, ..usual });
    assert!(longest * MAX_RECORDS < 65_535 - 16 - 1, "{longest} bytes");
}

fn backend(number: u8, protocol: u8) -> Backend {
    let (address, port, family) = endpoint(SocketAddr::from(([192, 0, 2, number], 8080)));
    let (vip, vip_port, _) = endpoint(SocketAddr::from(([203, 0, 113, 10], 80)));
    Backend { address, port, vip, vip_port, family, protocol, state: 1, ..Backend::new_zeroed() }
}

fn named(number: u32, backend: &Backend) -> (u32, Server) {
    (number, Server::of(backend).unwrap())
}

fn flow(backend: u32) -> Record {
    let (client, client_port, family) = endpoint("198.51.100.7:40000".parse().unwrap());
    let (source, source_port) = (client, client_port);
    let detail = Detail {
        client,
        source,
        client_port,
        source_port,
        family,
        hop_interface: 2,
        hop_neighbour: [7; 6],
        ..Detail::new_zeroed()
    };
    let (state, is_reply, is_translated) = (State::Established, false, false);
    Record { backend, state, is_reply, is_translated, idle_seconds: 9, detail }
}

fn told(listening: &mut Listening, records: Vec<Record>) -> Vec<Told> {
    match listening.take(Message::Flows(records)) {
        Ok(Taken::Flows(told)) => told,
        other => panic!("{other:?}"),
    }
}

fn networks(text: &str) -> Vec<IpNet> {
    text.split(' ').map(|network| network.parse().unwrap()).collect()
}

#[test]
fn backends_are_the_same_by_what_they_are_and_interfaces_by_where_they_lead() {
    let (web, udp) = (backend(11, 6), backend(11, 17));
    let mut listening = Listening::default();
    let own = vec![(3, networks("10.0.0.0/8")), (4, networks("192.0.2.0/24 198.51.100.0/24"))];
    assert!(!listening.learn([(&70, &web), (&71, &udp)], own, &Services::default()));
    let servers = vec![named(1, &udp), named(2, &web)];
    listening.take(Message::Servers { is_first: true, servers }).unwrap();
    let theirs = [(1, "10.0.0.0/9"), (2, "198.51.100.0/24")];
    let theirs = theirs.map(|(number, text)| Interface { number, networks: networks(text) });
    listening.take(Message::Interfaces(theirs.to_vec())).unwrap();
    let all = told(&mut listening, vec![flow(1), flow(2)]);
    let found: Vec<_> = all.iter().map(|told| (told.backend, told.detail.protocol)).collect();
    assert_eq!(found, [(71, 17), (70, 6)]);
    assert_eq!((all[0].detail.hop_interface, all[0].detail.hop_neighbour), (4, [7; 6]));
    assert_eq!(all[0].idle_ticks, 3);
    let elsewhere = Record { detail: Detail { hop_interface: 1, ..flow(1).detail }, ..flow(1) };
    assert_eq!(told(&mut listening, vec![elsewhere])[0].detail.hop_interface, 0);
}

#[test]
fn a_backend_that_is_not_known_is_told_and_asked_for_when_it_is() {
    let (web1, web2) = (backend(11, 6), backend(12, 6));
    let mut listening = Listening::default();
    listening.learn([(&5, &web1)], Vec::new(), &Services::default());
    let servers = vec![named(1, &web1), named(2, &web2)];
    listening.take(Message::Servers { is_first: true, servers }).unwrap();
    listening.take(Message::Mark { number: 1, is_whole: true }).unwrap();
    assert_eq!(told(&mut listening, vec![flow(1), flow(2), flow(3)]).len(), 1);
    assert_eq!((listening.unknown_flows, listening.n_unknown()), (2, 1));
    let shown = listening.unknown()[0].to_string();
    assert_eq!(shown, "192.0.2.12:8080 behind 203.0.113.10:80 (tcp, nat)");
    assert!(
        !listening.learn([(&5, &web1)], Vec::new(), &Services::default()) && listening.is_whole
    );
    assert!(listening.learn([(&5, &web1), (&6, &web2)], Vec::new(), &Services::default()));
    assert!(!listening.is_whole && listening.n_unknown() == 0);
    assert_eq!(told(&mut listening, vec![flow(2)])[0].backend, 6);
}

#[test]
fn numbers_that_are_named_anew_mean_something_else() {
    let (web1, web2) = (backend(11, 6), backend(12, 6));
    let mut listening = Listening::default();
    listening.learn([(&5, &web1), (&6, &web2)], Vec::new(), &Services::default());
    for (server, id) in [(&web1, 5), (&web2, 6)] {
        let servers = vec![named(1, server)];
        listening.take(Message::Servers { is_first: true, servers }).unwrap();
        assert_eq!(told(&mut listening, vec![flow(1)])[0].backend, id);
    }
    let servers = Vec::new();
    listening.take(Message::Servers { is_first: true, servers }).unwrap();
    assert_eq!(told(&mut listening, vec![flow(1)]).len(), 0);
}

#[test]
fn servers_that_no_message_takes_at_once_are_told_in_several() {
    let all: Vec<_> = (0..2_000).map(|number| named(number, &backend(11, 6))).collect();
    let messages = Message::servers(&all);
    let mut listening = Listening::default();
    listening.learn([(&5, &backend(11, 6))], Vec::new(), &Services::default());
    for message in &messages {
        assert!(message.encode().len() < 65_519);
        listening.take(message.clone()).unwrap();
    }
    assert_eq!(told(&mut listening, (0..2_000).map(flow).collect()).len(), 2_000);
    assert_eq!(Message::servers(&[]).len(), 1, "none are told too");
}

#[test]
fn a_listener_answers_marks_and_takes_no_answers() {
    let mut listening = Listening::default();
    let taken = listening.take(Message::Mark { number: 7, is_whole: false }).unwrap();
    assert!(matches!(taken, Taken::Answer(Message::Seen { number: 7 })) && !listening.is_whole);
    listening.take(Message::Mark { number: 8, is_whole: true }).unwrap();
    assert!(listening.is_whole);
    assert!(listening.take(Message::Again).is_err());
    assert!(listening.take(Message::Seen { number: 8 }).is_err());
}

fn after(begin: Instant, milliseconds: u64) -> Instant {
    begin + Duration::from_millis(milliseconds)
}

#[test]
fn a_teller_knows_how_far_its_peer_has_come() {
    let begin = start();
    let mut telling = Telling::new(begin);
    assert_eq!(telling.mark(after(begin, 99)), None);
    telling.told(after(begin, 10));
    assert_eq!(telling.mark(after(begin, 12)), Some(Message::Mark { number: 1, is_whole: false }));
    telling.set_whole(true);
    assert_eq!(telling.mark(after(begin, 13)), None);
    assert_eq!(telling.mark(after(begin, 112)), Some(Message::Mark { number: 2, is_whole: true }));
    assert_eq!(telling.lag(after(begin, 120)), Duration::from_millis(110));
    telling.seen(1, after(begin, 113));
    assert!(!telling.is_whole());
    assert_eq!(telling.lag(after(begin, 120)), Duration::from_millis(8));
    telling.seen(99, after(begin, 114));
    assert!(!telling.is_whole(), "a mark that was never sent says nothing");
    telling.seen(2, after(begin, 115));
    assert!(telling.is_whole() && telling.lag(after(begin, 130)).is_zero());
    telling.set_whole(false);
    assert!(!telling.is_whole());
}

#[test]
fn a_peer_that_sees_nothing_is_lost_and_is_not_sent_marks_without_end() {
    let begin = start();
    let mut telling = Telling::new(begin);
    let n_marks = (0..1_000).filter(|at| {
        telling.told(after(begin, *at));
        telling.mark(after(begin, *at)).is_some()
    });
    assert_eq!(n_marks.count(), 64);
    assert!(!telling.is_lost(after(begin, 3_000)) && telling.is_lost(after(begin, 3_001)));
    telling.seen(1, after(begin, 2_500));
    assert!(telling.lag(after(begin, 5_500)) > Duration::from_secs(5));
    assert!(!telling.is_lost(after(begin, 5_500)) && telling.is_lost(after(begin, 5_501)));
}

#[test]
fn a_cell_is_news_in_another_state_or_when_its_age_as_told_runs_out() {
    let timeouts = [0, 8, 8, 400, 400, 8, 40, 0];
    for (state, quarter) in [(State::Established, 100), (State::Udp, 10), (State::Syn, 2)] {
        for tick in [50, 4_000, 4_095] {
            let told = Cell::new(1, 2, tick, state, false);
            let seen = |later| told.seen(tick + later, state);
            assert!(!is_news(told, seen(quarter), &timeouts));
            assert!(is_news(told, seen(quarter + 1), &timeouts), "{state:?} at {tick}");
            assert!(is_news(told, told.seen(tick, State::Closing), &timeouts));
            assert!(!is_news(told, told.under(3), &timeouts));
            assert!(!is_news(seen(5), told, &timeouts), "it was told as younger");
        }
    }
    assert!(is_news(Cell::EMPTY, Cell::new(1, 2, 3, State::Syn, false), &timeouts));
}

#[test]
fn an_age_that_is_told_to_and_fro_never_falls() {
    let mut last = 0;
    for n in 0..2_047 {
        let there = ticks(seconds(n));
        assert!((n..=n + 1).contains(&there), "{n} became {there}");
        assert!(there >= last);
        last = there;
    }
    assert_eq!((seconds(0), ticks(0), seconds(u64::from(u16::MAX))), (0, 0, u16::MAX));
}

#[test]
fn a_rate_is_that_of_the_last_whole_second() {
    let (begin, mut meter) = (crate::model::cast::start(), Meter::default());
    let count = |cells| Rate { cells, bytes: 10 * cells };
    for at in [0, 400, 999, 1_000, 1_900] {
        meter.count(after(begin, at), count(1));
    }
    let rates = [1_000, 1_999, 2_000, 2_999, 3_000].map(|at| meter.rate(after(begin, at)));
    assert_eq!(rates, [3, 3, 2, 2, 0].map(count));
    // After a pause a second begins with what comes.
    meter.count(after(begin, 9_500), count(5));
    assert_eq!([10_499, 10_500].map(|at| meter.rate(after(begin, at))), [0, 5].map(count));
}
