//! Next hops and addresses on a real kernel.
#![cfg(feature = "root")]
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(unreachable_pub, reason = "a module that several tests share")]

#[expect(dead_code, reason = "the tests of the packet path use the rest")]
mod director;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use lb_agent::io::netlink::{Addresses, Resolver, links};
use lb_agent::model::tables::{NextHop, Way};
use tokio::sync::mpsc;

use director::{Neighbour, add_wire, address, ip, on_a_director};

const FIRST: [u8; 6] = [2, 0, 0, 0, 0, 0x11];
const SECOND: [u8; 6] = [2, 0, 0, 0, 0, 0x12];

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Watches addresses and waits for what is told of them.
struct Watcher {
    changes: mpsc::Receiver<(IpAddr, Way)>,
    _resolver: Resolver,
}

impl Watcher {
    fn of(addresses: &[&str]) -> Self {
        Self::knowing(BTreeMap::new(), addresses)
    }

    fn knowing(known: BTreeMap<IpAddr, NextHop>, addresses: &[&str]) -> Self {
        let (sender, changes) = mpsc::channel(1024);
        let interfaces = ["nic", "nic2"].map(str::to_owned).into();
        let resolver = Resolver::spawn(interfaces, known, sender).unwrap();
        resolver.watch(addresses.iter().map(|text| address(text)).collect());
        Self { changes, _resolver: resolver }
    }

    /// Waits until the way to an address is through the neighbour with this MAC address, or gone.
    async fn expect(&mut self, of: &str, neighbour: Option<[u8; 6]>) -> Option<NextHop> {
        let way = self.wait_for(of, |way| match way {
            Way::Known(hop) => neighbour == Some(hop.neighbour),
            Way::None => neighbour.is_none(),
            Way::Asked | Way::Elsewhere(_) => false,
        });
        match way.await {
            Way::Known(hop) => Some(hop),
            Way::Asked | Way::Elsewhere(_) | Way::None => None,
        }
    }

    async fn wait_for(&mut self, of: &str, is_it: impl Fn(&Way) -> bool) -> Way {
        let told = async {
            loop {
                let (address, way) = self.changes.recv().await.unwrap();
                if address.to_string() == of && is_it(&way) {
                    return way;
                }
            }
        };
        let told = tokio::time::timeout(Duration::from_secs(10), told).await;
        told.unwrap_or_else(|_| panic!("what is waited for is not told of {of}"))
    }
}

fn mac_of(interface: &str) -> [u8; 6] {
    links().unwrap().into_iter().find(|link| link.name == interface).unwrap().mac.unwrap()
}

/// A neighbour with addresses of both families on the director's subnets.
fn neighbour() -> Neighbour {
    let neighbour = Neighbour::behind_the_wire();
    neighbour.ip("addr add 192.0.2.11/24 dev peer");
    neighbour.ip("addr add 2001:db8::11/64 dev peer nodad");
    neighbour.ip("link set peer up");
    ip("addr add 192.0.2.2/24 dev nic");
    ip("addr add 2001:db8::2/64 dev nic nodad");
    neighbour
}

#[test]
fn a_next_hop_follows_its_neighbour() {
    on_a_director(|_| {
        ip("addr add 192.0.2.2/24 dev nic");
        ip("neigh replace 192.0.2.11 lladdr 02:00:00:00:00:11 dev nic nud permanent");
        block_on(async {
            let mut watcher = Watcher::of(&["192.0.2.11"]);
            let hop = watcher.expect("192.0.2.11", Some(FIRST)).await.unwrap();
            assert_eq!(hop.source, mac_of("nic"));
            ip("neigh replace 192.0.2.11 lladdr 02:00:00:00:00:12 dev nic nud permanent");
            watcher.expect("192.0.2.11", Some(SECOND)).await;
        });
    });
}

#[test]
fn a_next_hop_follows_its_route() {
    on_a_director(|_| {
        ip("addr add 192.0.2.2/24 dev nic");
        ip("neigh replace 192.0.2.1 lladdr 02:00:00:00:00:11 dev nic nud permanent");
        ip("neigh replace 192.0.2.3 lladdr 02:00:00:00:00:12 dev nic nud permanent");
        ip("route add 198.51.100.0/24 via 192.0.2.1");
        block_on(async {
            let mut watcher = Watcher::of(&["198.51.100.7"]);
            watcher.expect("198.51.100.7", Some(FIRST)).await;
            ip("route replace 198.51.100.0/24 via 192.0.2.3");
            watcher.expect("198.51.100.7", Some(SECOND)).await;
            ip("route del 198.51.100.0/24");
            watcher.expect("198.51.100.7", None).await;
            ip("route add 198.51.100.0/24 via 192.0.2.1");
            watcher.expect("198.51.100.7", Some(FIRST)).await;
            ip("link set nic down");
            watcher.expect("198.51.100.7", None).await;
        });
    });
}

#[test]
fn a_next_hop_has_the_mtu_of_its_route() {
    on_a_director(|_| {
        ip("addr add 192.0.2.2/24 dev nic");
        ip("neigh replace 192.0.2.1 lladdr 02:00:00:00:00:11 dev nic nud permanent");
        ip("addr add 2001:db8::2/64 dev nic nodad");
        ip("neigh replace 2001:db8::1 lladdr 02:00:00:00:00:12 dev nic nud permanent");
        for (to, via, mac) in [
            ("198.51.100.7", "198.51.100.0/24 via 192.0.2.1", FIRST),
            ("2001:db8:1::7", "2001:db8:1::/64 via 2001:db8::1", SECOND),
        ] {
            ip(&format!("route add {via} mtu 1400"));
            block_on(async {
                let mut watcher = Watcher::of(&[to]);
                assert_eq!(watcher.expect(to, Some(mac)).await.unwrap().mtu, 1_400);
                ip(&format!("route replace {via} mtu 1300"));
                assert_eq!(watcher.expect(to, Some(mac)).await.unwrap().mtu, 1_300);
                ip(&format!("route replace {via}"));
                assert_eq!(watcher.expect(to, Some(mac)).await.unwrap().mtu, 1_500);
            });
        }
    });
}

#[test]
fn a_way_by_an_interface_that_is_not_used_is_told_by_its_name_until_it_leads_elsewhere() {
    on_a_director(|_| {
        ip("addr add 192.0.2.2/24 dev nic");
        ip("neigh replace 192.0.2.11 lladdr 02:00:00:00:00:11 dev nic nud permanent");
        ip("link add br0 type bridge");
        ip("link set br0 up");
        ip("route add 192.0.2.11/32 dev br0");
        ip("neigh replace 192.0.2.11 lladdr 02:00:00:00:00:12 dev br0 nud permanent");
        block_on(async {
            let mut watcher = Watcher::of(&["192.0.2.11"]);
            let by_bridge = Way::Elsewhere("br0".to_owned());
            watcher.wait_for("192.0.2.11", |way| *way == by_bridge).await;
            ip("route del 192.0.2.11/32 dev br0");
            watcher.expect("192.0.2.11", Some(FIRST)).await;
        });
    });
}

#[test]
fn a_neighbour_that_nobody_has_spoken_to_is_found_in_both_families() {
    on_a_director(|_| {
        let theirs = mac_of("peer");
        let _neighbour = neighbour();
        block_on(async {
            let mut watcher = Watcher::of(&["192.0.2.11"]);
            watcher.expect("192.0.2.11", Some(theirs)).await;
            let mut watcher = Watcher::of(&["2001:db8::11"]);
            watcher.expect("2001:db8::11", Some(theirs)).await;
        });
    });
}

#[test]
fn a_neighbour_that_stops_to_answer_is_lost_and_found_again() {
    on_a_director(|_| {
        let theirs = mac_of("peer");
        let neighbour = neighbour();
        std::fs::write("/proc/sys/net/ipv4/neigh/nic/retrans_time_ms", "100").unwrap();
        block_on(async {
            let mut watcher = Watcher::of(&["192.0.2.11"]);
            watcher.expect("192.0.2.11", Some(theirs)).await;
            neighbour.ip("addr del 192.0.2.11/24 dev peer");
            ip("neigh change 192.0.2.11 dev nic nud probe");
            watcher.expect("192.0.2.11", None).await;
            neighbour.ip("addr add 192.0.2.11/24 dev peer");
            watcher.expect("192.0.2.11", Some(theirs)).await;
        });
    });
}

#[test]
fn a_way_outlives_the_kernels_memory_of_the_neighbour() {
    on_a_director(|_| {
        let theirs = mac_of("peer");
        let _neighbour = neighbour();
        block_on(async {
            let mut watcher = Watcher::of(&["192.0.2.11"]);
            watcher.expect("192.0.2.11", Some(theirs)).await;
            ip("neigh del 192.0.2.11 dev nic");
            let told = tokio::time::timeout(Duration::from_secs(1), watcher.changes.recv()).await;
            assert!(told.is_err(), "{told:?}");
        });
    });
}

#[test]
fn a_known_way_is_kept_until_its_neighbour_fails() {
    on_a_director(|_| {
        ip("addr add 192.0.2.2/24 dev nic");
        std::fs::write("/proc/sys/net/ipv4/neigh/nic/retrans_time_ms", "100").unwrap();
        let interface = links().unwrap().into_iter().find(|link| link.name == "nic").unwrap().index;
        let way = NextHop { interface, neighbour: FIRST, source: mac_of("nic"), mtu: 1_500 };
        block_on(async {
            let known = BTreeMap::from([(address("192.0.2.11"), way)]);
            let mut watcher = Watcher::knowing(known, &["192.0.2.11"]);
            assert_eq!(
                watcher.changes.recv().await,
                Some((address("192.0.2.11"), Way::Known(way)))
            );
            watcher.expect("192.0.2.11", None).await;
        });
    });
}

#[test]
fn more_news_than_can_be_told_does_not_keep_the_resolver() {
    on_a_director(|_| {
        ip("addr add 192.0.2.2/24 dev nic");
        ip("neigh replace 192.0.2.11 lladdr 02:00:00:00:00:11 dev nic nud permanent");
        let folder = tempfile::tempdir().unwrap();
        let change = "addr replace 198.51.100.1/32 dev nic\naddr del 198.51.100.1/32 dev nic\n";
        let file = folder.path().join("flood");
        std::fs::write(&file, change.repeat(500)).unwrap();
        let flood = format!("-batch {}", file.display());
        let others: Vec<_> = (20..200).map(|n| format!("192.0.2.{n}")).collect();
        let hosts: Vec<_> = others.iter().map(String::as_str).chain(["192.0.2.11"]).collect();
        block_on(async {
            let mut watcher = Watcher::of(&hosts);
            watcher.expect("192.0.2.11", Some(FIRST)).await;
            // Nothing else runs on this thread during a flood, so news pile up beside requests.
            for _ in 0..50 {
                ip(&flood);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            ip("neigh replace 192.0.2.11 lladdr 02:00:00:00:00:12 dev nic nud permanent");
            watcher.expect("192.0.2.11", Some(SECOND)).await;
        });
    });
}

#[test]
fn a_backend_on_the_director_itself_has_no_next_hop() {
    on_a_director(|_| {
        ip("addr add 192.0.2.2/24 dev nic");
        block_on(async {
            Watcher::of(&["192.0.2.2"]).expect("192.0.2.2", None).await;
        });
    });
}

#[test]
fn vips_come_and_go_and_addresses_of_the_host_stay() {
    on_a_director(|_| {
        let state = tempfile::tempdir().unwrap();
        add_wire("nic2", "peer2");
        ip("addr add 192.0.2.2/24 dev nic2");
        ip("addr add 203.0.113.5/32 dev nic");
        let interfaces = ["nic".to_owned(), "nic2".to_owned()];
        let vips: BTreeSet<IpAddr> =
            ["203.0.113.10", "2001:db8::10", "192.0.2.80", "203.0.113.5"].map(address).into();
        block_on(async {
            let mut addresses = Addresses::open(state.path(), &interfaces).unwrap();
            addresses.set(&vips).await.unwrap();
            addresses.set(&vips).await.unwrap();
            let (nic, nic2) = (ip("addr show nic"), ip("addr show nic2"));
            assert!(nic.contains("203.0.113.10/32") && nic.contains("2001:db8::10/128 scope"));
            assert!(nic2.contains("192.0.2.80/32"), "{nic2}");

            let mut after_restart = Addresses::open(state.path(), &interfaces).unwrap();
            after_restart.set(&vips).await.unwrap();
            assert_eq!(ip("addr show nic"), nic);
            after_restart.set(&BTreeSet::new()).await.unwrap();
            let (nic, nic2) = (ip("addr show nic"), ip("addr show nic2"));
            assert!(!nic.contains("203.0.113.10") && !nic.contains("2001:db8::10"), "{nic}");
            assert!(nic.contains("203.0.113.5/32"), "it was there before: {nic}");
            assert!(!nic2.contains("192.0.2.80") && nic2.contains("192.0.2.2/24"), "{nic2}");
        });
    });
}

#[test]
fn vips_move_when_the_interfaces_change_and_only_the_agents_own_go() {
    on_a_director(|_| {
        let state = tempfile::tempdir().unwrap();
        add_wire("nic2", "peer2");
        let vips = [address("203.0.113.10")].into();
        let open = |name: &str| Addresses::open(state.path(), &[name.to_owned()]).unwrap();
        block_on(async {
            open("nic").set(&vips).await.unwrap();
            open("nic2").set(&vips).await.unwrap();
            assert!(!ip("addr show nic").contains("203.0.113.10"));
            assert!(ip("addr show nic2").contains("203.0.113.10/32"));
            ip("addr add 203.0.113.10/32 dev nic");
            open("nic2").set(&BTreeSet::new()).await.unwrap();
            assert!(ip("addr show nic").contains("203.0.113.10/32"), "it is the host's");
            assert!(!ip("addr show nic2").contains("203.0.113.10"));
        });
    });
}

#[test]
fn a_vip_that_could_not_be_added_is_not_taken_from_the_host_later() {
    on_a_director(|_| {
        let state = tempfile::tempdir().unwrap();
        let vip = address("2001:db8::10");
        block_on(async {
            let mut addresses = Addresses::open(state.path(), &["nic".to_owned()]).unwrap();
            std::fs::write("/proc/sys/net/ipv6/conf/nic/disable_ipv6", "1").unwrap();
            addresses.set(&[vip].into()).await.unwrap_err();
            std::fs::write("/proc/sys/net/ipv6/conf/nic/disable_ipv6", "0").unwrap();
            ip("addr add 2001:db8::10/128 dev nic nodad");
            addresses.set(&BTreeSet::new()).await.unwrap();
            assert!(ip("addr show nic").contains("2001:db8::10/128"));
        });
    });
}

#[test]
fn a_vip_without_its_interface_is_an_error_that_names_both() {
    on_a_director(|_| {
        let state = tempfile::tempdir().unwrap();
        block_on(async {
            let mut addresses = Addresses::open(state.path(), &["eth7".to_owned()]).unwrap();
            let error = addresses.set(&[address("203.0.113.10")].into()).await.unwrap_err();
            assert_eq!(error.to_string(), "put 203.0.113.10 on eth7, which does not exist");
        });
    });
}
