//! Whatever comes in, nothing panics; and what was right before it was forwarded is right after it.

use etherparse::checksum::u32_16bit_word;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use lb_common::layout::{BACKEND_DOWN_RESET, Forward};
use lb_common::verdict::Kind;
use lb_ebpf::Exit;
use lb_ebpf::host::HostFrame;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::cast::error::{error, from_behind, kinds, quotable};
use crate::cast::packet::{CUSTOMER, Packet, SERVICE, icmp, tcp, udp};
use crate::cast::ways::{FIRST_PORT, TUNNELS, WAYS, nat_source};
use crate::cast::{
    BACK, Cast, DIRECTOR_BACK, FAMILIES, FRONT, PROTOCOLS, SERVERS, Sent, TCP, World, answer,
    opening,
};

/// Whether all checksums of a frame are right, as an independent parser computes them. `None`: it cannot
/// tell, since the frame is none that it understands.
fn is_right(bytes: &[u8]) -> Option<bool> {
    let packet = SlicedPacket::from_ethernet(bytes).ok()?;
    match packet.net? {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            let right = is_right_over_ipv4(&packet.transport?, header.source, header.destination)?;
            Some(right && header.calc_header_checksum() == header.header_checksum)
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header().to_header();
            is_right_over_ipv6(&packet.transport?, header.source, header.destination)
        }
        NetSlice::Arp(_) => None,
    }
}

fn is_right_over_ipv4(packet: &TransportSlice, source: [u8; 4], to: [u8; 4]) -> Option<bool> {
    Some(match packet {
        TransportSlice::Tcp(tcp) => tcp.calc_checksum_ipv4(source, to).ok()? == tcp.checksum(),
        TransportSlice::Udp(udp) => {
            let computed = udp.to_header().calc_checksum_ipv4_raw(source, to, udp.payload());
            udp.checksum() == 0 || computed.ok()? == udp.checksum()
        }
        TransportSlice::Icmpv4(message) => {
            let sum = u32_16bit_word::add_slice(0, message.slice());
            u32_16bit_word::ones_complement(sum) == 0
        }
        TransportSlice::Icmpv6(_) | TransportSlice::Igmp(_) => return None,
    })
}

fn is_right_over_ipv6(packet: &TransportSlice, source: [u8; 16], to: [u8; 16]) -> Option<bool> {
    Some(match packet {
        TransportSlice::Tcp(tcp) => tcp.calc_checksum_ipv6(source, to).ok()? == tcp.checksum(),
        TransportSlice::Udp(udp) => {
            let computed = udp.to_header().calc_checksum_ipv6_raw(source, to, udp.payload());
            computed.ok()? == udp.checksum()
        }
        TransportSlice::Icmpv6(message) => message.is_checksum_valid(source, to),
        TransportSlice::Icmpv4(_) | TransportSlice::Igmp(_) => return None,
    })
}

/// A world that knows a flow of the client, and a first fragment of it; where `dead`, its backend is gone.
fn world(cast: Cast, protocol: u8, forward: Forward, dead: bool) -> World {
    let mut world = World::by(cast, protocol, forward);
    world.begin(cast.client);
    world.more(cast.client);
    world.front(&opening(protocol, cast.client, cast.vip).fragment(0, true));
    world.narrow(400);
    if dead {
        world.tables.backends[0].state = BACKEND_DOWN_RESET;
    }
    world
}

/// Frames of all kinds about the flow, with the side that they come from.
fn samples(cast: &Cast, protocol: u8) -> Vec<(Packet, u32)> {
    let mut samples = vec![
        (opening(protocol, cast.client, cast.vip), FRONT),
        (opening(protocol, cast.client_number(1), cast.vip).tags(&[(CUSTOMER, 9)]), FRONT),
        (opening(protocol, cast.client, cast.vip).tags(&[(SERVICE, 9), (CUSTOMER, 8)]), FRONT),
        (tcp(cast.client, cast.vip).ack().payload(b"GET /"), FRONT),
        (udp(cast.client, cast.vip), FRONT),
        (icmp(cast.client.ip(), cast.vip.ip(), 8, 0).payload(&[7; 9]), FRONT),
        (opening(protocol, cast.client, cast.vip).fragment(0, true), FRONT),
        (opening(protocol, cast.client, cast.vip).fragment(9, false), FRONT),
        (opening(protocol, cast.client, cast.vip).payload(&[7; 400]), FRONT),
        (answer(protocol, cast.backends[0], nat_source(*cast, FIRST_PORT)), BACK),
        (opening(protocol, cast.backends[0], cast.client).link(SERVERS[0], DIRECTOR_BACK), BACK),
    ];
    for quoted in quotable(protocol, |packet| packet, cast) {
        let about_reply = quoted.clone().from(cast.vip).to(cast.client);
        let about_packet = quoted.to(cast.backends[0]);
        let length = about_reply.ip_bytes().len();
        for kind in kinds(cast) {
            let sent = error(cast.router, cast.vip.ip(), kind, &about_reply, length);
            samples.push((sent, FRONT));
            let sent = error(cast.router, cast.client.ip(), kind, &about_packet, length);
            samples.push((from_behind(sent), BACK));
        }
    }
    samples
}

/// Sends the frame, checks what holds of every outcome, and that nothing was written behind the frame.
fn send(world: &World, bytes: &[u8], interface: u32) -> Sent {
    let (outcome, frame) = world.tables.send(HostFrame::new(bytes, interface).amid(0xa5));
    assert!(frame.tail().iter().all(|byte| *byte == 0xa5));
    let sent = Sent { verdict: outcome.verdict, exit: outcome.exit, bytes: frame.bytes() };
    match sent.verdict.kind() {
        Kind::Forwarded => assert!(matches!(sent.exit, Exit::Transmit | Exit::Redirect(_))),
        Kind::Passed => assert_eq!(sent.exit, Exit::Pass),
        Kind::Dropped => assert_eq!(sent.exit, Exit::Drop),
    }
    if sent.exit == Exit::Pass {
        assert_eq!(sent.bytes, bytes, "the host would get a changed frame");
    }
    sent
}

/// A change to a frame: some bytes somewhere become others, or it ends earlier.
#[derive(Clone, Debug)]
enum Mutation {
    Byte(Index, u8),
    Bit(Index, u8),
    Word(Index, u16),
    Cut(Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Byte(at, byte)),
        8 => (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Mutation::Bit(at, bit)),
        2 => (any::<Index>(), any::<u16>()).prop_map(|(at, word)| Mutation::Word(at, word)),
        1 => any::<Index>().prop_map(Mutation::Cut),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    if bytes.len() < 2 {
        return;
    }
    match mutation {
        Mutation::Byte(at, byte) => *at.get_mut(bytes) = *byte,
        Mutation::Bit(at, bit) => *at.get_mut(bytes) ^= 1 << bit,
        Mutation::Word(at, word) => {
            let at = at.index(bytes.len() - 1);
            bytes[at..at + 2].copy_from_slice(&word.to_be_bytes());
        }
        Mutation::Cut(at) => bytes.truncate(at.index(bytes.len())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0..3) {
        let mut bytes = bytes;
        if let (0 | 1, true) = (kind, bytes.len() > 15) {
            let [a, b, c] = if kind == 0 { [0x08, 0x00, 0x45] } else { [0x86, 0xdd, 0x60] };
            bytes[12..15].copy_from_slice(&[a, b, c]);
        }
        for cast in FAMILIES {
            let world = world(cast, TCP, Forward::Nat, false);
            for interface in [FRONT, BACK] {
                prop_assert_ne!(send(&world, &bytes, interface).verdict.kind(), Kind::Forwarded);
            }
        }
    }

    #[test]
    fn mutated_frames_never_panic_and_stay_right_if_they_were(
        (which, forward) in (any::<Index>(), prop::sample::select(&WAYS[..])),
        mutations in prop::collection::vec(mutation(), 0..4),
        (udp, dead) in any::<(bool, bool)>(),
    ) {
        for cast in FAMILIES {
            let protocol = PROTOCOLS[usize::from(udp)];
            let world = world(cast, protocol, forward, dead);
            let samples = samples(&cast, protocol);
            let (packet, interface) = which.get(&samples);
            let mut bytes = packet.bytes();
            for mutation in &mutations {
                mutate(&mut bytes, mutation);
            }
            let sent = send(&world, &bytes, *interface);
            // Through a tunnel a packet goes as it came.
            let grew = sent.bytes.len() > bytes.len() && TUNNELS.contains(&forward);
            let forwarded = sent.verdict.kind() == Kind::Forwarded;
            if forwarded && !grew && is_right(&bytes) == Some(true) {
                prop_assert_eq!(is_right(&sent.bytes), Some(true), "{:?} {:02x?}", sent.verdict, bytes);
            }
        }
    }

    #[test]
    fn forwarded_frames_have_right_checksums(
        (port, ttl, payload) in (1..=u16::MAX, 2..=u8::MAX, prop::collection::vec(any::<u8>(), 0..90)),
        (options, padding, tagged) in (0..=10_usize, 0..20_usize, any::<bool>()),
        (udp, dead, backwards) in any::<(bool, bool, bool)>(),
    ) {
        for cast in FAMILIES {
            let protocol = PROTOCOLS[usize::from(udp)];
            let mut client = cast.client;
            client.set_port(port);
            let mut world = World::new(cast, protocol);
            let index = world.establish(client);
            let packet = if protocol == TCP { tcp(client, cast.vip).ack() } else { opening(protocol, client, cast.vip) };
            let mut packet = packet.ttl(ttl).payload(&payload).padding(&vec![0x99; padding]);
            if client.is_ipv4() {
                packet = packet.options(&vec![1; options * 4]);
            } else if options > 0 {
                packet = packet.extension(60, &vec![0; options * 8 - 2]);
            }
            if tagged {
                packet = packet.tags(&[(CUSTOMER, port | 1)]);
            }
            if backwards {
                packet = packet.from(cast.backends[index]).to(client);
                packet = packet.link(SERVERS[index], DIRECTOR_BACK);
            }
            if dead {
                world.tables.backends[index].state = BACKEND_DOWN_RESET;
            }
            prop_assert_eq!(is_right(&packet.bytes()), Some(true));
            let sent = send(&world, &packet.bytes(), if backwards { BACK } else { FRONT });
            prop_assert_eq!(sent.verdict.kind(), Kind::Forwarded);
            prop_assert_eq!(is_right(&sent.bytes), Some(true), "{:?}", sent.verdict);
        }
    }
}

#[test]
fn the_judge_of_checksums_knows_a_wrong_one() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            for (packet, _) in samples(&cast, protocol) {
                let bytes = packet.bytes();
                if is_right(&bytes).is_none() {
                    continue;
                }
                assert_eq!(is_right(&bytes), Some(true), "{packet:?}");
                let mut wrong = bytes;
                *wrong.last_mut().unwrap() ^= 1;
                assert_eq!(is_right(&wrong), Some(false), "{packet:?}");
            }
        }
    }
}
