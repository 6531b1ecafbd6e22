//! Verdicts about SYN cookies and limits.

use super::*;
use crate::cast::packet::Body;
use crate::cast::{DIRECTOR_BACK, SERVERS};

/// A client's SYN has been answered with this cookie.
fn asked(cast: Cast) -> (World, u32) {
    let mut world = World::new(cast, TCP);
    world.tables.listeners[0].syn_cookies = lb_common::layout::SynCookies::Always.number();
    let opening = opening(TCP, cast.client, cast.vip).sequence(7);
    let sent = assert_verdict(&world, &opening, FRONT, Verdict::SynCookieSent);
    let at = 14 + if cast.vip.is_ipv4() { 20 } else { 40 } + 4;
    (world, u32::from_be_bytes(sent.bytes[at..at + 4].try_into().unwrap()))
}

/// What the client sends back.
fn back(cast: Cast, cookie: u32) -> Packet {
    let mut packet = tcp(cast.client, cast.vip).ack().sequence(8);
    let Body::Tcp(header, _) = &mut packet.body else { panic!("not TCP") };
    header.acknowledgment_number = cookie.wrapping_add(1);
    packet
}

#[test]
fn syn_cookie_sent_syn_cookie_invalid_and_syn_cookie_accepted() {
    for cast in FAMILIES {
        let (world, cookie) = asked(cast);
        front(&world, &back(cast, cookie ^ 0x100), Verdict::SynCookieInvalid);
        assert_eq!(world.tables.traffic_of_listener(0).dropped, 1);
        front(&world, &back(cast, cookie), Verdict::SynCookieAccepted);
    }
}

#[test]
fn backend_reset_and_backend_acknowledged() {
    for cast in FAMILIES {
        let (world, cookie) = asked(cast);
        front(&world, &back(cast, cookie), Verdict::SynCookieAccepted);
        let old = tcp(cast.backends[0], cast.client).ack().link(SERVERS[0], DIRECTOR_BACK);
        assert_verdict(&world, &old, BACK, Verdict::BackendReset);
        let accepts = answer(TCP, cast.backends[0], cast.client);
        assert_verdict(&world, &accepts, BACK, Verdict::ToClient);
        assert_verdict(&world, &accepts, BACK, Verdict::BackendAcknowledged);
    }
}

#[test]
fn new_flows_limited() {
    for cast in FAMILIES {
        for protocol in PROTOCOLS {
            let mut world = World::new(cast, protocol);
            let listener = &mut world.tables.listeners[0];
            (listener.flow_cost, listener.flow_burst) = (1_000, 1);
            world.begin(cast.client);
            let other = opening(protocol, cast.client_number(1), cast.vip);
            front(&world, &other, Verdict::NewFlowsLimited);
        }
    }
}
