//! Frames longer than a page: in generic mode, for no driver's native mode takes them from a program like ours.

use lb_tests::command::run;
use lb_tests::load::TIMEOUT;
use lb_tests::stage::Stage;
use lb_tests::udp_echo::{UdpEcho, ask, connect};
use lb_tests::world::{Arms, Host, World, vips};

use crate::fragments::{DNS, dns_by};

/// Gives every link of the world an MTU of 9,000, and takes away the programs that only native mode needs.
fn widen(world: &World, backend: &Host) {
    std::fs::remove_dir_all(world.link_path()).unwrap();
    let widen = |interface: &str| format!("link set {interface} mtu 9000");
    world.client.namespace.ip(&widen("eth0")).unwrap();
    world.director.ip(&[widen("front"), widen("back")].join("\n")).unwrap();
    for port in ["director", "web1"] {
        world.port(port).namespace.ip(&widen(port)).unwrap();
    }
    backend.namespace.ip(&widen("eth0")).unwrap();
    for interface in world.interfaces() {
        let mut ethtool = world.director.command("ethtool");
        run(ethtool.args(["-K", interface, "gro", "off"])).unwrap();
    }
}

#[test]
fn jumbo_frames_pass_whole_and_the_doctor_says_what_they_cost() {
    let world = World::new(Arms::Two, 1).unwrap();
    widen(&world, &world.backends[0]);
    let _echo = UdpEcho::start(&world.backends[0], DNS).unwrap();
    let stage = Stage::set(&world, &dns_by("nat", &world)).unwrap();
    for vip in vips(DNS) {
        for size in [4_000, 8_900] {
            let datagram: Vec<u8> = (0..=250_u8).cycle().take(size).collect();
            let ask_it = || ask(&connect(vip, TIMEOUT).unwrap(), &datagram).unwrap();
            let answer = world.client.namespace.enter(ask_it).unwrap();
            assert!(answer == ("web1".to_owned(), datagram), "{size} through {vip}");
        }
    }
    assert_eq!(stage.packets("fragment_forwarded").unwrap(), 0);
    let log = stage.agent.process.log();
    assert!(log.contains("its MTU is 9000, and frames must fit into one page"), "{log}");
    let doctor = stage.agent.ctl(&["doctor"]).unwrap();
    let doctor = String::from_utf8_lossy(&doctor.stdout);
    assert!(doctor.contains("remedy: ip link set dev back mtu 3400"), "{doctor}");
}
