//! Datagrams that are larger than a packet, through the director and back.

use lb_tests::agent::Settings;
use lb_tests::http_server::pattern;
use lb_tests::load::TIMEOUT;
use lb_tests::stage::Stage;
use lb_tests::udp_echo::{UdpEcho, ask, connect};
use lb_tests::world::{Arms, World, vips};

use lb_tests::way::{give_vips, shop_by};

pub const DNS: u16 = 53;

/// A service `dns` by some way, whose backends are held to be healthy.
pub fn dns_by(way: &str, world: &World) -> Settings {
    let settings = shop_by(way, world);
    let tables = settings.tables.replace("\"tcp\"", "\"udp\"").replace(":80\"", ":53\"");
    Settings { tables: tables.replace("health_check = \"web\"", ""), ..settings }
}

fn echoes(world: &World) -> Vec<UdpEcho> {
    world.backends.iter().map(|host| UdpEcho::start(host, DNS).unwrap()).collect()
}

/// Asks what does not fit into a packet: one backend, which had the first datagram, answers all of it.
fn ask_much(world: &World) {
    let ask_all = || {
        for vip in vips(DNS) {
            let socket = connect(vip, TIMEOUT).unwrap();
            let (first, _) = ask(&socket, b"").unwrap();
            for size in [1_473, 3_000, 20_000, 60_000] {
                let datagram = pattern(size);
                let (name, echoed) = ask(&socket, &datagram).unwrap();
                assert!((name, echoed) == (first.clone(), datagram), "{size} through {vip}");
            }
        }
    };
    world.client.namespace.enter(ask_all).unwrap();
}

#[test]
fn large_datagrams_arrive_whole_in_both_directions() {
    for (way, arms) in [("nat", Arms::One), ("nat", Arms::Two), ("full-nat", Arms::Two)] {
        let world = World::new(arms, 2).unwrap();
        let _echoes = echoes(&world);
        let stage = Stage::set(&world, &dns_by(way, &world)).unwrap();
        ask_much(&world);
        // 60,000 bytes are 41 fragments, there and back, by both families.
        assert!(stage.packets("fragment_forwarded").unwrap() >= 160, "{way}");
        assert_eq!(stage.packets("fragment").unwrap(), 0, "{way}");
    }
}

#[test]
fn large_datagrams_arrive_whole_at_backends_that_answer_past_the_director() {
    let world = World::new(Arms::One, 2).unwrap();
    let start = |host| {
        give_vips(host).unwrap();
        UdpEcho::start_on(host, &vips(DNS)).unwrap()
    };
    let _echoes: Vec<_> = world.backends.iter().map(start).collect();
    let stage = Stage::set(&world, &dns_by("dsr", &world)).unwrap();
    ask_much(&world);
    assert!(stage.packets("fragment_forwarded").unwrap() >= 80);
    for none in ["fragment", "to_client"] {
        assert_eq!(stage.packets(none).unwrap(), 0, "{none}");
    }
}

#[test]
fn fragments_are_dropped_by_name_where_the_file_says_so() {
    let world = World::new(Arms::Two, 1).unwrap();
    let _echoes = echoes(&world);
    let mut settings = dns_by("nat", &world);
    let stage = Stage::set(&world, &settings).unwrap();
    let is_answered = |size: usize, within| {
        let ask_one = || {
            let socket = connect(vips(DNS)[0], within).unwrap();
            ask(&socket, &vec![7; size]).is_ok()
        };
        world.client.namespace.enter(ask_one).unwrap()
    };
    assert!(is_answered(4_000, TIMEOUT));
    settings.datapath.push_str("fragments = \"drop\"\n");
    stage.agent.write_config(&settings).unwrap();
    stage.agent.ctl_ok(&["reload"]).unwrap();
    assert!(!is_answered(4_000, std::time::Duration::from_millis(500)));
    assert!(is_answered(1_000, TIMEOUT));
    assert_eq!(stage.packets("fragment").unwrap(), 3);
}
