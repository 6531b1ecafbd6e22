//! Packets by every way: what they become holds no byte of what surrounds them, and cut ones go nowhere.

use lb_common::layout::{BACKEND_DOWN_RESET, Forward};
use lb_common::verdict::{Kind, Verdict};

use crate::cast::error::{error, from_behind, kinds};
use crate::cast::packet::{Body, Packet, tcp};
use crate::cast::ways::{
    FIRST_PORT, TUNNELS, WAYS, encapsulated, entropy, nat_source, outer_header,
};
use crate::cast::{BACK, Cast, FAMILIES, FRONT, PROTOCOLS, TCP, World, answer, opening};
use crate::truncation::{dressed, send, set_ip_length};

const MTU: u16 = 300;

/// A packet, the side that it comes from, and what becomes of it.
type Sample = (Packet, u32, Verdict);

/// What a client sends.
fn of_client(cast: &Cast, protocol: u8) -> Vec<Sample> {
    let packet = opening(protocol, cast.client, cast.vip).payload(&[0x77; 30]);
    let long = packet.clone().payload(&[0x77; 280]);
    let later = Packet { body: Body::Other(protocol, vec![0x42; 41]), ..packet.clone() };
    let reply = answer(protocol, cast.vip, cast.client).payload(&[0x77; 30]);
    let length = reply.ip_bytes().len();
    let about_reply = error(cast.router, cast.vip.ip(), kinds(cast)[1], &reply, length);
    let mut samples = Vec::new();
    for (packet, verdict) in [
        (packet.clone(), Verdict::ToBackend),
        (long, Verdict::TooBigReported),
        (about_reply, Verdict::ErrorToBackend),
    ] {
        samples.extend(dressed(&packet).into_iter().map(|packet| (packet, FRONT, verdict)));
    }
    samples.push((packet.fragment(0, true), FRONT, Verdict::ToBackend));
    samples.push((later.fragment(9, false), FRONT, Verdict::FragmentForwarded));
    samples
}

/// What comes from the backends' side: replies, or a router's errors about the tunnel.
fn from_back(world: &World, forward: Forward) -> Vec<Sample> {
    let (cast, protocol) = (world.cast, world.protocol);
    let seen = if forward == Forward::FullNat { nat_source(cast, FIRST_PORT) } else { cast.client };
    let packet = if TUNNELS.contains(&forward) {
        let packet = opening(protocol, cast.client, cast.vip).payload(&[0x77; 30]);
        let outer = entropy(&world.front(&packet).bytes, forward);
        let quoted = encapsulated(&packet, forward, 0, outer);
        let family = &FAMILIES[usize::from(outer_header(forward) == 40)];
        let (to, length) = (outer.source, quoted.ip_bytes().len());
        let error = error(family.router, to, kinds(family)[1], &quoted, length);
        (from_behind(error), Verdict::ErrorToClient)
    } else if forward == Forward::Dsr {
        return Vec::new();
    } else {
        (answer(protocol, cast.backends[0], seen).payload(&[0x77; 30]), Verdict::ToClient)
    };
    dressed(&packet.0).into_iter().map(|dressed| (dressed, BACK, packet.1)).collect()
}

/// Worlds of every way that know a flow of the client, and packets of every kind.
fn each(test: impl Fn(&World, &Sample)) {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            for forward in WAYS {
                let mut world = World::by(cast, protocol, forward);
                world.begin(cast.client);
                world.narrow(MTU);
                let mut samples = of_client(&cast, protocol);
                samples.extend(from_back(&world, forward));
                for sample in &samples {
                    test(&world, sample);
                }
            }
        }
    }
}

#[test]
fn what_a_packet_becomes_does_not_depend_on_what_surrounds_it() {
    each(|world, (packet, interface, verdict)| {
        let sent = send(world, &packet.bytes(), *interface);
        assert_eq!(sent.verdict, *verdict, "{packet:?}");
    });
}

#[test]
fn a_packet_that_is_cut_anywhere_goes_nowhere_and_leaves_no_trace() {
    each(|world, (packet, interface, _)| {
        let bytes = packet.bytes();
        let cells = world.tables.cells();
        for length in 0..bytes.len() {
            let sent = send(world, &bytes[..length], *interface);
            assert_ne!(sent.verdict.kind(), Kind::Forwarded, "{length} of {packet:?}");
            assert_eq!(sent.bytes, bytes[..length]);
        }
        assert_eq!(world.tables.cells(), cells);
    });
}

#[test]
fn no_byte_behind_the_end_that_a_packet_tells_decides_where_it_goes() {
    each(|world, (packet, interface, _)| {
        let whole = packet.bytes();
        let link = 14 + 4 * packet.tags.len();
        let shortest = if packet.source.is_ipv4() { 20 } else { 40 };
        for length in shortest..whole.len() - link {
            let mut bytes = whole.clone();
            set_ip_length(packet, &mut bytes, length);
            let sent = send(world, &bytes, *interface);
            bytes[link + length..].fill(0xee);
            let other = send(world, &bytes, *interface);
            if [&sent, &other].iter().any(|sent| sent.verdict.kind() == Kind::Forwarded) {
                assert_eq!((sent.verdict, sent.exit), (other.verdict, other.exit), "{length}");
            }
        }
    });
}

#[test]
fn a_reset_is_as_short_by_every_way() {
    for cast in FAMILIES {
        for forward in WAYS {
            let mut world = World::by(cast, TCP, forward);
            world.begin(cast.client);
            world.more(cast.client);
            world.tables.backends[0].state = BACKEND_DOWN_RESET;
            let packet = tcp(cast.client, cast.vip).ack().payload(&[0x77; 90]);
            let sent = send(&world, &packet.bytes(), FRONT);
            assert_eq!(sent.verdict, Verdict::ResetSent);
            assert_eq!(sent.bytes.len(), packet.payload(b"").bytes().len());
        }
    }
}
