//! Frames and packets that are shorter, or say that they are longer, than they should be.

use lb_common::layout::BACKEND_DOWN_RESET;
use lb_common::verdict::{Kind, Verdict};
use lb_ebpf::Exit;
use lb_ebpf::host::HostFrame;

use crate::cast::error::{error, from_behind, kinds};
use crate::cast::packet::{CUSTOMER, Packet, SERVICE, icmp, tcp, udp};
use crate::cast::{
    BACK, Cast, DIRECTOR_BACK, FAMILIES, FRONT, PROTOCOLS, SERVERS, Sent, TCP, World, opening,
};

/// A frame, the side that it comes from, and how much of the IP packet is needed for it to be forwarded.
struct Sample {
    packet: Packet,
    interface: u32,
    needed: Option<usize>,
}

fn link_length(packet: &Packet) -> usize {
    14 + 4 * packet.tags.len()
}

fn header_length(packet: &Packet) -> usize {
    if packet.source.is_ipv4() {
        20 + packet.options.len()
    } else {
        40 + 8 * packet.extensions.len()
    }
}

/// Plain, tagged, with options or extension headers.
pub fn dressed(packet: &Packet) -> Vec<Packet> {
    let odd = packet.clone();
    vec![
        packet.clone(),
        packet.clone().tags(&[(CUSTOMER, 5)]),
        packet.clone().tags(&[(SERVICE, 5), (CUSTOMER, 6)]),
        if packet.source.is_ipv4() {
            odd.options(&[1; 40])
        } else {
            odd.extension(0, &[0; 6]).extension(60, &[0; 6])
        },
    ]
}

fn transports(cast: &Cast, protocol: u8) -> Vec<Sample> {
    let least = if protocol == TCP { 20 } else { 8 };
    let forth = opening(protocol, cast.client, cast.vip);
    let back = opening(protocol, cast.backends[0], cast.client).link(SERVERS[0], DIRECTOR_BACK);
    let mut all = Vec::new();
    for (packet, interface) in [(forth, FRONT), (back, BACK)] {
        for packet in dressed(&packet.payload(&[0x77; 30])) {
            let needed = Some(header_length(&packet) + least);
            all.push(Sample { packet, interface, needed });
        }
    }
    all
}

fn errors(cast: &Cast, protocol: u8) -> Vec<Sample> {
    let reply = opening(protocol, cast.vip, cast.client).payload(&[0x77; 30]);
    let packet = opening(protocol, cast.client, cast.backends[0]).payload(&[0x77; 30]);
    let mut all = Vec::new();
    for (quoted, to, interface) in [(reply, cast.vip, FRONT), (packet, cast.client, BACK)] {
        let whole = quoted.ip_bytes().len();
        let sent = error(cast.router, to.ip(), kinds(cast)[1], &quoted, whole);
        let sent = if interface == BACK { from_behind(sent) } else { sent };
        for packet in dressed(&sent) {
            let needed = Some(header_length(&packet) + 8 + header_length(&quoted) + 8);
            all.push(Sample { packet, interface, needed });
        }
    }
    all
}

fn others(cast: &Cast) -> Vec<Sample> {
    let echo = if cast.vip.is_ipv4() { 8 } else { 128 };
    let kinds = [
        icmp(cast.client.ip(), cast.vip.ip(), echo, 0).payload(&[9; 20]),
        tcp(cast.client, cast.vip).fragment(0, true),
        udp(cast.client, cast.vip).fragment(4, false),
        tcp(cast.client, cast.other_vip).syn(),
    ];
    let kinds = kinds.into_iter();
    kinds.map(|packet| Sample { packet, interface: FRONT, needed: None }).collect()
}

/// A world that knows a flow of the client, and frames of all kinds.
fn each(test: impl Fn(&World, &Sample)) {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let mut world = World::new(cast, protocol);
            world.tables.settings.follow_fragments = 0;
            world.establish(cast.client);
            let kinds = [transports(&cast, protocol), errors(&cast, protocol), others(&cast)];
            kinds.iter().flatten().for_each(|kind| test(&world, kind));
        }
    }
}

/// Sends the bytes twice, amid other memory each time: the result does not depend on what surrounds the
/// frame or what was left of another packet, and the memory behind it stays as it is.
pub fn send(world: &World, bytes: &[u8], interface: u32) -> Sent {
    let [first, second] = [0x00, 0xff].map(|byte| {
        world.tables.litter(byte);
        let (outcome, frame) = world.tables.send(HostFrame::new(bytes, interface).amid(byte));
        assert!(frame.tail().iter().all(|found| *found == byte), "written behind the frame");
        Sent { verdict: outcome.verdict, exit: outcome.exit, bytes: frame.bytes() }
    });
    assert_eq!((first.verdict, first.exit), (second.verdict, second.exit));
    assert_eq!(first.bytes, second.bytes);
    first
}

#[test]
fn a_whole_frame_does_not_depend_on_what_surrounds_it() {
    each(|world, kind| {
        let sent = send(world, &kind.packet.bytes(), kind.interface);
        assert_eq!(
            sent.verdict.kind() == Kind::Forwarded,
            kind.needed.is_some(),
            "{:?}",
            kind.packet
        );
    });
}

#[test]
fn a_frame_that_is_cut_anywhere_goes_nowhere_and_leaves_no_trace() {
    each(|world, kind| {
        let bytes = kind.packet.bytes();
        let cells = world.tables.cells();
        for length in 0..bytes.len() {
            let sent = send(world, &bytes[..length], kind.interface);
            let in_link = length < link_length(&kind.packet);
            let verdict = if in_link { Verdict::NotIp } else { Verdict::Malformed };
            let exit = if in_link { Exit::Pass } else { Exit::Drop };
            assert_eq!((sent.verdict, sent.exit), (verdict, exit), "{length} of {:?}", kind.packet);
            assert_eq!(sent.bytes, bytes[..length]);
        }
        assert_eq!(world.tables.cells(), cells);
    });
}

/// Writes the length field of the IP header.
pub fn set_ip_length(packet: &Packet, bytes: &mut [u8], length: usize) {
    let link = link_length(packet);
    let (offset, value) =
        if packet.source.is_ipv4() { (2, length) } else { (4, length.saturating_sub(40)) };
    let field = &mut bytes[link + offset..link + offset + 2];
    field.copy_from_slice(&u16::try_from(value).unwrap().to_be_bytes());
}

fn assert_cut(world: &World, kind: &Sample, bytes: &[u8], length: usize) {
    let sent = send(world, bytes, kind.interface);
    let forwarded = sent.verdict.kind() == Kind::Forwarded;
    let whole = kind.needed.is_some_and(|needed| length >= needed);
    assert_eq!(forwarded, whole, "{length} bytes, {:?}: {:?}", sent.verdict, kind.packet);
    if !forwarded {
        assert_eq!(sent.bytes, bytes);
    }
}

#[test]
fn a_packet_whose_length_cuts_a_header_is_not_forwarded() {
    each(|world, kind| {
        let link = link_length(&kind.packet);
        let whole = kind.packet.bytes();
        let shortest = if kind.packet.source.is_ipv4() { 0 } else { 40 };
        for length in shortest..=(whole.len() - link) {
            // The rest is padding, and then it is not there at all.
            let mut padded = whole.clone();
            set_ip_length(&kind.packet, &mut padded, length);
            assert_cut(world, kind, &padded, length);
            assert_cut(world, kind, &padded[..link + length.max(20)], length);
        }
    });
}

#[test]
fn a_packet_that_claims_more_than_its_frame_is_malformed() {
    each(|world, kind| {
        let whole = kind.packet.bytes();
        let length = whole.len() - link_length(&kind.packet);
        for more in [1, 2, 100, 65_535 - length] {
            let mut bytes = whole.clone();
            set_ip_length(&kind.packet, &mut bytes, length + more);
            let sent = send(world, &bytes, kind.interface);
            assert_eq!((sent.verdict, sent.exit), (Verdict::Malformed, Exit::Drop));
            assert_eq!(sent.bytes, bytes);
        }
    });
}

#[test]
fn every_length_of_an_ipv4_header_is_held_against_the_packet() {
    let world = World::new(crate::cast::V4, TCP);
    let packet = opening(TCP, world.cast.client, world.cast.vip);
    for words in 0..16_u8 {
        let mut bytes = packet.bytes();
        bytes[14] = 0x40 | words;
        let sent = send(&world, &bytes, FRONT);
        let verdict = if words == 5 { Verdict::ToBackend } else { Verdict::Malformed };
        assert_eq!(sent.verdict, verdict, "{words} words");
    }
}

#[test]
fn a_reset_is_cut_from_no_packet_without_a_whole_header() {
    for cast in FAMILIES {
        let mut world = World::new(cast, TCP);
        world.establish(cast.client);
        world.tables.backends[0].state = BACKEND_DOWN_RESET;
        let packet = tcp(cast.client, cast.vip).ack().payload(b"lost");
        let bytes = packet.bytes();
        for length in 0..bytes.len() {
            let sent = send(&world, &bytes[..length], FRONT);
            assert_ne!(sent.verdict.kind(), Kind::Forwarded);
        }
        // A header length that points beyond the packet counts as no payload.
        for offset in 0..16_u8 {
            let mut bytes = bytes.clone();
            let at = link_length(&packet) + header_length(&packet) + 12;
            bytes[at] = offset << 4;
            assert_eq!(send(&world, &bytes, FRONT).verdict, Verdict::ResetSent);
        }
    }
}
