//! What goes no further.

use lb_common::cell::{Cell, State};
use lb_common::verdict::Verdict;
use lb_ebpf::Exit;
use lb_ebpf::host::HostTables;

use crate::cast::error::{error, from_behind, kinds};
use crate::cast::packet::{Body, icmp, packet, tcp, udp};
use crate::cast::{
    BACK, FAMILIES, FRONT, HASH_KEY, PROTOCOLS, TCP, V4, V6, World, answer, opening,
};

use super::{GRE, assert_verdict, front, ping, shared};

#[test]
fn no_backend() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let mut world = World::new(cast, protocol);
            world.tables.set_slots(world.listener, &[]);
            front(&world, &opening(protocol, cast.client, cast.vip), Verdict::NoBackend);
            assert_eq!(world.tables.traffic_of_listener(world.listener).dropped, 1);

            // A backend of another listener, and an id that stands for none.
            let (_, others) = world.add_other_vip(1);
            for id in [others[0], 99] {
                world.tables.set_slots(world.listener, &[id]);
                front(&world, &opening(protocol, cast.client, cast.vip), Verdict::NoBackend);
            }
        }
    }
}

#[test]
fn port_closed_and_protocol_closed() {
    for cast in FAMILIES {
        let world = World::new(cast, TCP);
        let mut closed = cast.vip;
        closed.set_port(81);
        for packet in [
            tcp(cast.client, closed).syn(),
            tcp(cast.client, closed).fragment(0, true),
            udp(cast.client, cast.vip),
        ] {
            front(&world, &packet, Verdict::PortClosed);
        }
        let gre = packet(cast.client, cast.vip, Body::Other(GRE, vec![0; 40]));
        front(&world, &gre, Verdict::ProtocolClosed);
        let odd = icmp(cast.client.ip(), cast.vip.ip(), 40, 0);
        front(&world, &odd, Verdict::ProtocolClosed);
    }
}

#[test]
fn fragment() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let mut world = World::new(cast, protocol);
            world.tables.settings.follow_fragments = 0;
            let whole = opening(protocol, cast.client, cast.vip);
            front(&world, &whole.clone().fragment(0, true), Verdict::Fragment);
            front(&world, &whole.clone().fragment(3, true), Verdict::Fragment);
            front(&world, &whole.clone().fragment(3, false), Verdict::Fragment);
            front(&world, &ping(&cast, cast.vip.ip()).fragment(0, true), Verdict::Fragment);
            assert_eq!(world.states(), (vec![], vec![]));

            front(&world, &whole, Verdict::ToBackend);
            let reply = answer(protocol, cast.backends[0], cast.client);
            let first = reply.clone().fragment(0, true);
            assert_verdict(&world, &first, BACK, Verdict::Fragment);
            // It has no ports to tell the flow by, but its first fragment had.
            assert_verdict(&world, &reply.clone().fragment(3, false), BACK, Verdict::Fragment);
            let mut another = reply.fragment(3, false);
            another.destination.set_ip(cast.router);
            assert_verdict(&world, &another, BACK, Verdict::NotOurs);
        }
    }
}

#[test]
fn malformed() {
    let world = World::new(V4, TCP);
    let valid = tcp(V4.client, V4.vip).syn().bytes();
    let patches: [(usize, &[u8]); 5] =
        [(14, &[0x55]), (14, &[0x44]), (16, &[0, 19]), (16, &[0, 41]), (16, &[0, 39])];
    for (offset, bytes) in patches {
        let mut frame = valid.clone();
        frame[offset..offset + bytes.len()].copy_from_slice(bytes);
        let sent = world.frame(&frame, FRONT);
        assert_eq!(
            (sent.verdict, sent.exit),
            (Verdict::Malformed, Exit::Drop),
            "{offset} {bytes:?}"
        );
    }
    let world = World::new(V6, TCP);
    let valid = tcp(V6.client, V6.vip).syn().bytes();
    for (offset, byte) in [(14, 0x45), (19, 21), (19, 19), (18, 1)] {
        let mut frame = valid.clone();
        frame[offset] = byte;
        let sent = world.frame(&frame, FRONT);
        assert_eq!((sent.verdict, sent.exit), (Verdict::Malformed, Exit::Drop), "{offset} {byte}");
    }
}

#[test]
fn extension_headers() {
    let world = World::new(V6, TCP);
    let fold =
        |n| (0..n).fold(tcp(V6.client, V6.vip).syn(), |packet, _| packet.extension(60, &[0; 6]));
    front(&world, &fold(7), Verdict::ExtensionHeaders);
    front(&world, &fold(7).to(V6.other_vip), Verdict::NotOurs);
    front(&shared(V6, TCP), &fold(7), Verdict::VipHostPort);
}

#[test]
fn ttl_exceeded() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let world = World::new(cast, protocol);
            let packet = opening(protocol, cast.client, cast.vip);
            for ttl in [0, 1] {
                front(&world, &packet.clone().ttl(ttl), Verdict::TtlExceeded);
            }
            assert_eq!(world.states(), (vec![], vec![]));
            front(&world, &packet, Verdict::ToBackend);
            let reply = answer(protocol, cast.backends[0], cast.client);
            assert_verdict(&world, &reply.clone().ttl(1), BACK, Verdict::TtlExceeded);

            let length = reply.ip_bytes().len();
            let about_reply = reply.from(cast.vip);
            let sent = error(cast.router, cast.vip.ip(), kinds(&cast)[0], &about_reply, length);
            front(&world, &sent.ttl(1), Verdict::TtlExceeded);
            let about_packet = packet.to(cast.backends[0]);
            let length = about_packet.ip_bytes().len();
            let sent = error(cast.router, cast.client.ip(), kinds(&cast)[0], &about_packet, length);
            assert_verdict(&world, &from_behind(sent).ttl(1), BACK, Verdict::TtlExceeded);
        }
    }
}

#[test]
fn no_next_hop() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let mut world = World::new(cast, protocol);
            let client = opening(protocol, cast.client, cast.vip);
            front(&world, &client, Verdict::ToBackend);
            world.tables.backends[0].interface = 0;
            front(&world, &client, Verdict::NoNextHop);
            let reply = answer(protocol, cast.backends[0], cast.client);
            let about_reply = reply.clone().from(cast.vip);
            let length = about_reply.ip_bytes().len();
            let sent = error(cast.router, cast.vip.ip(), kinds(&cast)[0], &about_reply, length);
            front(&world, &sent, Verdict::NoNextHop);

            // The interface that the client's packets came in by is none of ours any more.
            world.tables.interfaces.remove(&u64::from(FRONT));
            assert_verdict(&world, &reply, BACK, Verdict::NoNextHop);
        }
    }
}

#[test]
fn flow_table_full() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let tables = HostTables::with_buckets(2, HASH_KEY);
            let world = World::of(cast, protocol, tables, BACK);
            for index in 0..16 {
                world
                    .tables
                    .set_cell(index, Cell::new(1 + index as u64, 0, 0, State::Established, false));
            }
            front(&world, &opening(protocol, cast.client, cast.vip), Verdict::FlowTableFull);
            assert_eq!(world.tables.traffic_of_listener(world.listener).dropped, 1);
        }
    }
}

#[test]
fn reply_conflict() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let mut world = World::new(cast, protocol);
            world.tables.set_slots(world.listener, &world.backends[..1]);
            world.add_other_vip(1);
            front(&world, &opening(protocol, cast.client, cast.vip), Verdict::ToBackend);
            let second = opening(protocol, cast.client, cast.other_vip);
            front(&world, &second, Verdict::ReplyConflict);
        }
    }
}
