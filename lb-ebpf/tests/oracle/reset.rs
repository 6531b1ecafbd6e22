//! TCP resets in the name of a dead backend (RFC 9293 section 3.5.2).

use etherparse::TcpHeader;
use lb_common::layout::BACKEND_DOWN_RESET;
use lb_common::verdict::Verdict;
use lb_ebpf::Exit;

use crate::cast::packet::{Body, CUSTOMER, Packet, SERVICE, tcp};
use crate::cast::ways::WAYS;
use crate::cast::{Cast, DIRECTOR_FRONT, FAMILIES, ROUTER, TCP, V4, V6, World, assert_frame};

/// A world whose client has a connection to a backend that is dead now.
fn bereaved(cast: Cast) -> World {
    let mut world = World::new(cast, TCP);
    let index = world.establish(cast.client);
    world.tables.backends[index].state = BACKEND_DOWN_RESET;
    world
}

/// The reset for a packet: a bare header from the VIP.
fn reset(cast: Cast, packet: &Packet, sequence: u32, acknowledges: Option<u32>) -> Packet {
    let mut header = TcpHeader::new(0, 0, sequence, 0);
    header.rst = true;
    header.ack = acknowledges.is_some();
    header.acknowledgment_number = acknowledges.unwrap_or(0);
    let body = Body::Tcp(Box::new(header), Vec::new());
    let reset = Packet { body, padding: Vec::new(), ..packet.clone() };
    reset.from(cast.vip).to(cast.client).ttl(64).link(DIRECTOR_FRONT, ROUTER)
}

#[track_caller]
fn assert_reset(world: &World, packet: &Packet, sequence: u32, acknowledges: Option<u32>) {
    let sent = world.front(packet);
    assert_eq!((sent.verdict, sent.exit), (Verdict::ResetSent, Exit::Transmit));
    assert_frame(&sent.bytes, &reset(world.cast, packet, sequence, acknowledges));
}

#[test]
fn a_segment_with_ack_is_answered_at_its_acknowledgement_number() {
    for cast in FAMILIES {
        let world = bereaved(cast);
        for length in [0, 1, 7, 1400] {
            let packet = tcp(cast.client, cast.vip).ack().payload(&vec![0x5a; length]).ttl(3);
            assert_reset(&world, &packet, 0x9abc_def0, None);
        }
        assert_reset(&world, &tcp(cast.client, cast.vip).fin().ack(), 0x9abc_def0, None);
        assert_reset(&world, &tcp(cast.client, cast.vip).syn().ack(), 0x9abc_def0, None);
    }
}

#[test]
fn a_segment_without_ack_is_acknowledged_whole() {
    for cast in FAMILIES {
        let world = bereaved(cast);
        let plain = tcp(cast.client, cast.vip).sequence(u32::MAX - 2);
        for length in [0, 1, 2, 9] {
            let bytes = vec![0x5a; length as usize];
            let end = (u32::MAX - 2).wrapping_add(length);
            assert_reset(&world, &plain.clone().payload(&bytes), 0, Some(end));
            let fin = plain.clone().fin().payload(&bytes).tcp_options(&[1; 12]);
            assert_reset(&world, &fin, 0, Some(end.wrapping_add(1)));
        }
    }
}

#[test]
fn options_and_extension_headers_are_kept_but_not_tcp_options_payload_or_padding() {
    let packet = tcp(V4.client, V4.vip).ack().options(&[1; 8]).tcp_options(&[1; 20]);
    let packet = packet.payload(b"lost").padding(&[7; 9]);
    assert_reset(&bereaved(V4), &packet, 0x9abc_def0, None);

    let packet = tcp(V6.client, V6.vip).ack().extension(60, &[1, 4, 0, 0, 0, 0]).payload(b"lost");
    assert_reset(&bereaved(V6), &packet, 0x9abc_def0, None);
}

#[test]
fn a_reset_leaves_with_the_tags_of_the_packet() {
    for cast in FAMILIES {
        for tags in [vec![(CUSTOMER, 9)], vec![(SERVICE, 9), (CUSTOMER, 8)]] {
            let packet = tcp(cast.client, cast.vip).ack().tags(&tags).payload(b"lost");
            assert_reset(&bereaved(cast), &packet, 0x9abc_def0, None);
        }
    }
}

#[test]
fn a_client_is_told_the_same_by_every_way() {
    for cast in FAMILIES {
        for forward in WAYS {
            let mut world = World::by(cast, TCP, forward);
            let index = world.begin(cast.client);
            world.more(cast.client);
            world.tables.backends[index].state = BACKEND_DOWN_RESET;
            let packet = tcp(cast.client, cast.vip).ack().tags(&[(CUSTOMER, 9)]).payload(b"lost");
            assert_reset(&world, &packet, 0x9abc_def0, None);
        }
    }
}

#[test]
fn a_reset_is_never_answered_with_a_reset() {
    for cast in FAMILIES {
        let world = bereaved(cast);
        for packet in [tcp(cast.client, cast.vip).rst(), tcp(cast.client, cast.vip).rst().ack()] {
            assert_eq!(world.front(&packet).verdict, Verdict::ToBackend);
        }
        let reset = tcp(cast.client, cast.vip).rst().syn();
        assert_eq!(world.front(&reset).verdict, Verdict::ToBackend);
    }
}

#[test]
fn an_answer_is_given_before_the_backend_has_answered_too() {
    for cast in FAMILIES {
        let mut world = World::new(cast, TCP);
        let index = world.begin(cast.client);
        world.tables.backends[index].state = BACKEND_DOWN_RESET;
        assert_reset(&world, &tcp(cast.client, cast.vip).ack(), 0x9abc_def0, None);
    }
}
