//! VLAN tags: kept on the NIC that the frame came in by, removed towards another one, restored to the client.

use lb_common::verdict::Verdict;
use lb_ebpf::Exit;

use crate::cast::packet::{CUSTOMER, Packet, SERVICE, tcp};
use crate::cast::{
    DIRECTOR_BACK, DIRECTOR_FRONT, FAMILIES, FRONT, ROUTER, SERVERS, TCP, World, answer,
    assert_frame,
};
use crate::{at_backend, at_client};

/// Priority 3, drop eligible, VLAN 100.
const OUTER: u16 = 0x7064;
/// VLAN 7.
const INNER: u16 = 0x0007;

fn taggings() -> [Vec<(u16, u16)>; 4] {
    [
        vec![(CUSTOMER, OUTER)],
        vec![(SERVICE, OUTER)],
        vec![(SERVICE, OUTER), (CUSTOMER, INNER)],
        vec![(CUSTOMER, OUTER), (CUSTOMER, INNER)],
    ]
}

#[test]
fn a_backend_hears_no_tags_on_the_client_s_interface_either() {
    for cast in FAMILIES {
        for tags in taggings() {
            let world = World::one_armed(cast, TCP);
            let packet = tcp(cast.client, cast.vip).syn().tags(&tags);
            let sent = world.front(&packet);
            assert_eq!(sent.exit, Exit::Transmit);
            let expected = packet.to(cast.backends[0]).ttl(63).link(DIRECTOR_FRONT, SERVERS[0]);
            let expected = expected.tags(&[]);
            assert_frame(&sent.bytes, &expected);
        }
    }
}

#[test]
fn tags_are_removed_towards_another_interface_and_restored_towards_the_client() {
    for cast in FAMILIES {
        for tags in taggings() {
            let world = World::new(cast, TCP);
            let packet = tcp(cast.client, cast.vip).syn().tags(&tags);
            let sent = world.front(&packet);
            assert_frame(&sent.bytes, &at_backend(&world, &packet).tags(&[]));

            let reply = answer(TCP, cast.backends[0], cast.client);
            let sent = world.back(&reply);
            assert_eq!((sent.verdict, sent.exit), (Verdict::ToClient, Exit::Redirect(FRONT)));
            assert_frame(&sent.bytes, &at_client(&world, &reply).tags(&tags));
        }
    }
}

#[test]
fn a_reply_s_own_tags_are_replaced_by_the_client_s() {
    for cast in FAMILIES {
        for (theirs, ours) in [(0, 2), (1, 2), (2, 1), (2, 0), (2, 2)] {
            let some = |n: usize, vlan: u16| -> Vec<(u16, u16)> {
                [(SERVICE, vlan), (CUSTOMER, vlan + 1)][..n].to_vec()
            };
            let world = World::new(cast, TCP);
            world.front(&tcp(cast.client, cast.vip).syn().tags(&some(theirs, 10)));
            let reply = answer(TCP, cast.backends[0], cast.client).tags(&some(ours, 20));
            let sent = world.back(&reply);
            assert_frame(&sent.bytes, &at_client(&world, &reply).tags(&some(theirs, 10)));
        }
    }
}

#[test]
fn a_tag_of_priority_zero_without_a_vlan_is_not_needed() {
    for cast in FAMILIES {
        let world = World::one_armed(cast, TCP);
        let packet = tcp(cast.client, cast.vip).syn().tags(&[(CUSTOMER, 0)]);
        let sent = world.front(&packet);
        let expected = packet.to(cast.backends[0]).ttl(63).link(DIRECTOR_FRONT, SERVERS[0]);
        let expected = expected.tags(&[]);
        assert_frame(&sent.bytes, &expected.tags(&[]));
    }
}

#[test]
fn a_third_tag_is_not_followed() {
    for cast in FAMILIES {
        let world = World::new(cast, TCP);
        let packet =
            tcp(cast.client, cast.vip).syn().tags(&[(SERVICE, 1), (CUSTOMER, 2), (CUSTOMER, 3)]);
        let sent = world.front(&packet);
        assert_eq!((sent.verdict, sent.exit), (Verdict::NotIp, Exit::Pass));
        assert_frame(&sent.bytes, &packet);
    }
}

/// The way to the client is learnt anew while packets come.
#[test]
fn replies_follow_a_client_that_moves_to_another_router() {
    const NEW_ROUTER: [u8; 6] = [2, 0, 0, 0, 0x70, 2];
    for cast in FAMILIES {
        let world = World::new(cast, TCP);
        world.establish(cast.client);
        world.tables.set_tick(1);
        let more = tcp(cast.client, cast.vip).ack().tags(&[(CUSTOMER, 5)]);
        world.front(&more.link(NEW_ROUTER, DIRECTOR_FRONT));
        let reply: Packet =
            tcp(cast.backends[0], cast.client).ack().link(SERVERS[0], DIRECTOR_BACK);
        let expected = at_client(&world, &reply).tags(&[(CUSTOMER, 5)]);
        assert_ne!(NEW_ROUTER, ROUTER);
        assert_frame(&world.back(&reply).bytes, &expected.link(DIRECTOR_FRONT, NEW_ROUTER));
    }
}
