//! `[[vrrp]]`: what is read, what is wrong, and any that may be written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::super::{TrackedService, Vrrp, VrrpAuthentication, VrrpChecksum};
use super::property::{millis, name, word};
use super::{World, problems, valid};

/// Valid routers, each of a group of its own.
pub(super) fn routers() -> impl Strategy<Value = Vec<Vrrp>> {
    (0..3_u8).prop_flat_map(|n| (0..n).map(router).collect::<Vec<_>>())
}

/// A router whose addresses no other has: `index` tells them apart.
fn router(index: u8) -> impl Strategy<Value = Vrrp> {
    let v4 = move |host| IpAddr::from(Ipv4Addr::new(10, 9, index, host));
    let v6 = move |host: u16| {
        IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, u16::from(index), host))
    };
    let election = (1..=255_u8, 1..=4_095_u64, any::<bool>(), option::of(millis(0..=3_600_000)));
    let unicast = (any::<bool>(), 1..=255_u8, word());
    // None with a virtual MAC address, which forbids some other keys too.
    let lengths = option::of((8..=32_u8, 16..=128_u8));
    let others = (option::of(name()), option::of("/[a-z]{1,9}"), vec("[a-z]{1,9}", 0..3));
    (election, unicast, lengths, others).prop_map(move |(election, unicast, lengths, others)| {
        let virtual_mac = lengths.is_none();
        let lengths = lengths.unwrap_or((32, 128));
        let has_peers = unicast.0 && !virtual_mac;
        Vrrp {
            name: format!("router {index}"),
            group: others.0.map(|group| format!("{group}{index}")),
            interface: "eth0".to_owned(),
            virtual_router_id: index + 1,
            priority: if virtual_mac { election.0.min(254) } else { election.0 },
            advert_interval: Duration::from_millis(election.1 * 10),
            preempt: election.2,
            preempt_delay: election.3,
            addresses: vec![
                IpNet::new(v4(1), lengths.0).unwrap(),
                IpNet::new(v6(1), lengths.1).unwrap(),
            ],
            virtual_mac,
            accept: unicast.0,
            notify: others.1.map(Into::into),
            unicast_source: if unicast.0 { vec![v4(2), v6(2)] } else { Vec::new() },
            unicast_peers: if has_peers { vec![v4(3), v6(3), v4(4)] } else { Vec::new() },
            unicast_min_hop_limit: unicast.1,
            checksum_v4: unicast.2,
            authentication: VrrpAuthentication::Off,
            track_interfaces: others.2,
            track_services: Vec::new(),
        }
    })
}

const ROUTER: &str = "[[vrrp]]\nname = 'vip-a'\ninterface = 'eth0'\nvirtual_router_id = 51\n\
                      addresses = ['203.0.113.10']\n";

fn says(more: &str, words: &[&str]) {
    let text = World { more, ..World::default() }.text();
    let problems = problems(&text);
    let shown = problems.to_string();
    assert_eq!(problems.len(), 1, "{shown}");
    for words in words {
        assert!(shown.contains(words), "{words:?} is missing in\n{shown}");
    }
}

fn says_of(line: &str, words: &[&str]) {
    says(&format!("{ROUTER}{line}\n"), words);
}

#[test]
fn a_small_router_gets_every_default() {
    let text = World { more: ROUTER, ..World::default() }.text();
    let router = &valid(&text).config.vrrp[0];
    assert_eq!((router.priority, router.preempt, router.preempt_delay), (100, false, None));
    assert_eq!(router.advert_interval, Duration::from_secs(1));
    assert_eq!(router.addresses, ["203.0.113.10/32".parse::<IpNet>().unwrap()]);
    assert_eq!(router.checksum_v4, VrrpChecksum::PseudoHeader);
    assert_eq!((router.group_name().as_str(), router.unicast_min_hop_limit), ("vip-a", 255));
    assert!(router.unicast_peers.is_empty() && router.track_interfaces.is_empty());
}

#[test]
fn notes_say_when_a_vip_is_there_and_what_answers() {
    let notes = |datapath, more: &str| {
        let world = World { datapath, service: "health_check = 'web'", more, ..World::default() };
        valid(&world.text()).notes
    };
    let open = "VIP 203.0.113.10: on eth0 while virtual router vip-a is Active; every port but tcp 80 stays open";
    let closed = open.replace("stays open", "is closed");
    assert_eq!(notes("", ROUTER), [open]);
    assert_eq!(notes("", &format!("{ROUTER}accept = false\n")), [closed.as_str()]);
    assert_eq!(notes("manage_addresses = true", ROUTER), [closed.as_str()]);
    let elsewhere = ROUTER.replace("eth0", "eth7");
    assert!(notes("", &elsewhere)[1].contains("eth7 is not in [datapath] interfaces"));
}

#[test]
fn a_tracked_service_has_a_weight_or_none() {
    let line = "track_services = [{ service = 'shop', weight = -60 }, { service = 'shop' }]";
    let more = format!("{ROUTER}{line}\n");
    let tracked = valid(&World { more: &more, ..World::default() }.text()).config.vrrp[0].clone();
    let of = |weight| TrackedService { service: "shop".to_owned(), weight };
    assert_eq!(tracked.track_services, [of(Some(-60)), of(None)]);
}

#[test]
fn advertisements_are_authenticated_where_there_is_a_key() {
    let sync = "[sync]\nlisten = '10.0.0.2:8848'\npeers = ['10.0.0.3:8848']\nkey_file = '/k'\n";
    let read = |line: &str| {
        let text = format!("{ROUTER}{line}\n{sync}");
        valid(&World { more: &text, ..World::default() }.text()).config.vrrp[0].authentication
    };
    assert_eq!(read(""), VrrpAuthentication::Off);
    assert_eq!(read("authentication = 'send'"), VrrpAuthentication::Send);
    assert_eq!(read("authentication = 'require'"), VrrpAuthentication::Require);
}

#[test]
fn values_of_a_router_are_checked() {
    says_of("priority = 0", &["0 is not within 1 to 255"]);
    says_of("priority = 256", &["256 is not within 1 to 255"]);
    says_of("advert_interval = '15ms'", &["whole hundredths of a second", "a multiple of 10ms"]);
    says_of("advert_interval = '41s'", &["\"41s\" is not within 10ms to 40950ms"]);
    says_of("advert_interval = '0s'", &["\"0s\" is not within"]);
    says_of("preemt = true", &["did you mean `preempt`?"]);
    says_of("unicast_peers = ['lb2']", &["\"lb2\" is not an IP address"]);
    says_of("unicast_peers = ['224.0.0.18']", &["224.0.0.18 is a multicast address"]);
    says_of("checksum_v4 = 'plane'", &["did you mean \"plain\"?"]);
    says_of("track_services = 'shop'", &["expected a list of tables"]);
    says_of("track_services = [{ service = 'shp' }]", &["no service \"shp\"", "mean \"shop\"?"]);
    says_of("track_services = [{ service = 'shop', weight = 5 }]", &["from -253 to -1, found 5"]);
    says_of("unicast_min_hop_limit = 0", &["0 is not within 1 to 255"]);
    says_of("authentication = 'require'", &["the key of [sync], and there is none", "add [sync]"]);
    let twice = "unicast_source = ['192.0.2.1', '192.0.2.2']";
    says_of(twice, &["a second source of the same family"]);
    let own = "unicast_source = ['192.0.2.1']\nunicast_peers = ['192.0.2.1']";
    says_of(own, &["192.0.2.1 is its own peer"]);
}

#[test]
fn a_virtual_mac_address_is_refused_beside_what_it_cannot_be_combined_with() {
    let read = |line: &str| {
        let text = format!("{ROUTER}{line}\n");
        valid(&World { more: &text, ..World::default() }.text()).config.vrrp[0].virtual_mac
    };
    assert_eq!((read(""), read("virtual_mac = true")), (false, true));
    let place = |line: &str| {
        let text = World { more: &format!("{ROUTER}{line}\n"), ..World::default() }.text();
        let before = text.find("virtual_mac = true").unwrap() + "virtual_mac = ".len();
        let (lines, column) = text[..before].rsplit_once('\n').unwrap();
        format!("{}:{}", lines.lines().count() + 1, column.len() + 1)
    };
    for (line, what) in
        [("unicast_peers = ['192.0.2.2']", "unicast_peers"), ("priority = 255", "priority = 255")]
    {
        let lines = format!("{line}\nvirtual_mac = true");
        let said = format!("virtual_mac cannot be combined with {what}");
        says_of(&lines, &[said.as_str(), place(&lines).as_str()]);
        valid(&World { more: &format!("{ROUTER}{line}\n"), ..World::default() }.text());
    }
    let with_length = ROUTER.replace(".10'", ".10/24', 'fe80::1'");
    let said = "virtual_mac cannot be combined with the prefix length of 203.0.113.10/24";
    says(&format!("{with_length}virtual_mac = true\n"), &[said]);
    says_of("virtual_mac = 1", &["expected true or false"]);
}

#[test]
fn an_advertisement_has_room_for_so_many_addresses() {
    let with = |n: usize, address: fn(usize) -> String| {
        let addresses: Vec<_> = (0..n).map(|number| format!("'{}'", address(number))).collect();
        ROUTER.replace("['203.0.113.10']", &format!("[{}]", addresses.join(", ")))
    };
    let v4 = |number: usize| format!("10.0.{}.{}", number / 200, number % 200);
    let v6 = |number: usize| format!("2001:db8::{number:x}:1");
    let families: [fn(usize) -> String; 2] = [v4, v6];
    for (address, (most, family)) in families.into_iter().zip([(255, "IPv4"), (89, "IPv6")]) {
        valid(&World { more: &with(most, address), ..World::default() }.text());
        let words = format!("more than {most} {family} addresses");
        says(&with(most + 1, address), &[&words]);
    }
}

#[test]
fn routers_are_checked_against_each_other() {
    let second = |text: &str| format!("{ROUTER}{text}");
    let other = "[[vrrp]]\nname = 'vip-b'\ninterface = 'eth0'\nvirtual_router_id = 52\n\
                 addresses = ['203.0.113.11']\n";
    valid(&World { more: &second(other), ..World::default() }.text());
    says(
        &second(&other.replace("vip-b", "vip-a")),
        &["\"vip-a\" of a virtual router is used twice"],
    );
    says(&second(&other.replace("52", "51")), &["the virtual router id 51 is used twice on eth0"]);
    says(&second(&other.replace(".11'", ".10'")), &["203.0.113.10 is used twice"]);
    let grouped = |line: &str| format!("{ROUTER}group = 'g'\n{other}group = 'g'\n{line}\n");
    valid(&World { more: &grouped(""), ..World::default() }.text());
    for (line, key) in [
        ("priority = 99", "priority of"),
        ("advert_interval = '2s'", "advert_interval of"),
        ("preempt = true", "preempt and preempt_delay of"),
    ] {
        says(&grouped(line), &[key, "they move together"]);
    }
}
