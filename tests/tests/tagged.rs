//! VLAN-tagged frames of clients.
#![cfg(feature = "root")]

use lb_tests::capture::Capture;
use lb_tests::http_server::pattern;
use lb_tests::link::End;
use lb_tests::stage::Stage;
use lb_tests::web::PORT;
use lb_tests::world::{Arms, World, vips};

#[test]
fn a_tagged_client_is_answered_with_its_tag_and_the_backend_hears_none() {
    let world = World::new(Arms::One, 1).unwrap();
    let stage = Stage::shop(&world).unwrap();
    // From here on all that the client sends arrives with a tag. What the director sends to it then has a
    // tag only if it was told by the client's packets.
    world.tag("client").unwrap();
    let see = |host: &lb_tests::world::Host, filter: &str| {
        let end = End { namespace: &host.namespace, interface: "eth0" };
        Capture::start(&world, end, filter).unwrap()
    };
    let at_client = see(&world.client, "vlan and (ip or ip6) and tcp port 80");
    let at_backend = see(&world.backends[0], "(ip or ip6) and tcp port 80");
    assert_eq!(stage.answers(20).unwrap()["web1"], 20);
    for vip in vips(PORT) {
        let answer = stage.connect(vip).unwrap().get("/bytes/1000000").unwrap();
        assert!(answer.body == pattern(1_000_000), "the body from {vip} was changed");
    }
    at_client.wait_for("vlan 0, p 5, ethertype IPv4").unwrap();
    at_client.wait_for("203.0.113.10.80 > 198.51.100.10").unwrap();
    at_client.wait_for("2001:db8:f::10.80 > 2001:db8:1::10").unwrap();
    at_backend.wait_for("198.51.100.10.").unwrap();
    at_backend.wait_for("> 2001:db8:2::11.80").unwrap();
}
