//! IP in IP and GUE to a backend that runs `lb-agent decap`; replies go past the director.

use lb_tests::agent::Agent;
use lb_tests::binaries::Binaries;
use lb_tests::clock::wait_until;
use lb_tests::load::TIMEOUT;
use lb_tests::stage::Stage;
use lb_tests::udp_echo::{UdpEcho, ask, connect};
use lb_tests::web::{PORT, Web};
use lb_tests::world::{World, vips};

use crate::fragments::{DNS, dns_by};
use lb_tests::way::shop_by;

use crate::{exchange, prepare, world_for};

#[test]
fn much_goes_through_every_tunnel_and_back() {
    let world = world_for("ipip");
    let binaries = Binaries::of_this_profile().unwrap();
    let host = &world.backends[0];
    let _backend = prepare(&world, "ipip");
    let listen = [host.at(PORT), vips(PORT)].concat();
    let webs = vec![Web::start_on(&world, host, &binaries, &listen).unwrap()];
    let agent = Agent::start(&world, &binaries, &shop_by("ipip", &world)).unwrap();
    let stage = Stage { agent, webs, world: &world, binaries: binaries.clone() };
    for way in ["ipip", "gue"] {
        stage.agent.write_config(&shop_by(way, &world)).unwrap();
        stage.agent.ctl_ok(&["reload"]).unwrap();
        stage.agent.wait_until_all_up().unwrap();
        for vip in vips(PORT) {
            exchange(&stage, vip);
        }
    }
    assert_eq!(stage.packets("to_client").unwrap(), 0, "no reply passes the director");
}

/// Asks until there is an answer: of the first packets it is learnt how long they may be.
fn ask_patiently(world: &World, vip: std::net::SocketAddr, datagram: &[u8]) -> (String, Vec<u8>) {
    let mut answer = None;
    wait_until(&format!("an answer to {} bytes through {vip}", datagram.len()), TIMEOUT, || {
        let timeout = std::time::Duration::from_millis(200);
        let ask_once = || ask(&connect(vip, timeout).unwrap(), datagram).ok();
        answer = world.client.namespace.enter(ask_once)?;
        Ok(answer.is_some())
    })
    .unwrap();
    answer.unwrap()
}

#[test]
fn large_datagrams_arrive_whole_through_every_tunnel() {
    let world = world_for("ipip");
    let binaries = Binaries::of_this_profile().unwrap();
    let host = &world.backends[0];
    let _backend = prepare(&world, "ipip");
    let _echo = UdpEcho::start_on(host, &vips(DNS)).unwrap();
    let agent = Agent::start(&world, &binaries, &dns_by("ipip", &world)).unwrap();
    let stage = Stage { agent, webs: Vec::new(), world: &world, binaries: binaries.clone() };
    for way in ["ipip", "gue"] {
        stage.agent.write_config(&dns_by(way, &world)).unwrap();
        stage.agent.ctl_ok(&["reload"]).unwrap();
        let followed = stage.packets("fragment_forwarded").unwrap();
        for vip in vips(DNS) {
            for size in [1_473, 3_000, 20_000, 60_000] {
                let datagram: Vec<u8> = (0..=250_u8).cycle().take(size).collect();
                let answer = ask_patiently(&world, vip, &datagram);
                assert!(answer == ("web1".to_owned(), datagram), "{size} by {way} through {vip}");
            }
        }
        assert!(stage.packets("fragment_forwarded").unwrap() >= followed + 80, "{way}");
    }
    assert!(stage.packets("too_big_reported").unwrap() >= 2);
}
