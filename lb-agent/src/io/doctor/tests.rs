//! A host in order, and what is wrong with it after each change.

use super::*;

const VIP: &str = "203.0.113.10";

fn nic(name: &str) -> Interface {
    Interface {
        name: name.into(),
        exists: true,
        up: true,
        running: true,
        driver: Some("veth".into()),
        mode: Some("native".into()),
        mtu: Some(1500),
        rp_filter: Some(0),
        lro: Some(false),
        gro: Some(true),
        rx_vlan: Some(true),
        vlans: Vec::new(),
        peer: Some(Peer { name: format!("{name}-peer"), polls: Some(true) }),
    }
}

fn host_in_order() -> Facts {
    Facts {
        pin_path: "/sys/fs/bpf/lb".into(),
        on_bpffs: true,
        interfaces: vec![nic("eth0"), nic("eth1")],
        manages_addresses: true,
        listens: vec![format!("{VIP}:80").parse().unwrap()],
        addresses: BTreeSet::from([VIP.parse().unwrap()]),
        unresolved: BTreeSet::new(),
        elsewhere: BTreeMap::new(),
        ephemeral: Some(Ephemeral { range: 32768..=60999, reserved: Vec::new() }),
        full_nat: Vec::new(),
        full_nat_ports: Some(20_000..=60_999),
        replies_pass: true,
        own_sources: BTreeSet::from(["192.0.2.1".parse().unwrap()]),
        rp_filter_all: Some(0),
        forwarding_v4: Some(0),
        forwarding_v6: Some(0),
        max_flows: 1 << 20,
        maps: 408 << 20,
        memory: Some(4 << 30),
    }
}

/// Names and remedies of what is wrong after `change`.
fn wrong(change: impl FnOnce(&mut Facts)) -> Vec<(String, String)> {
    let mut facts = host_in_order();
    change(&mut facts);
    let found = evaluate(&facts).into_iter().filter(|check| !check.ok);
    found.map(|check| (check.name, check.remedy.expect("every fault has a remedy"))).collect()
}

/// The one thing that is wrong after `change`.
fn only(change: impl FnOnce(&mut Facts)) -> (String, String) {
    let mut wrong = wrong(change);
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    wrong.remove(0)
}

#[test]
fn a_host_in_order_has_nothing_to_remedy() {
    assert_eq!(wrong(|_| {}), []);
}

#[test]
fn every_fault_is_found_alone_and_named() {
    type Change = fn(&mut Facts);
    let cases: [(Change, &str, &str); 9] = [
        (|f| f.on_bpffs = false, "bpffs", "mount -t bpf"),
        (|f| f.interfaces[1].exists = false, "interface eth1", "ip link"),
        (|f| f.interfaces[0].lro = Some(true), "LRO eth0", "ethtool -K eth0 lro off"),
        (|f| f.interfaces[0].up = false, "interface eth0", "ip link set eth0 up"),
        (|f| f.interfaces[0].running = false, "interface eth0", "cable"),
        (|f| f.memory = Some(512 << 20), "memory", "max_flows"),
        (|f| f.interfaces[1].mtu = Some(9000), "MTU", "same MTU"),
        (|f| f.addresses.clear(), "VIP 203.0.113.10", "log"),
        (
            |f| f.listens[0].set_port(40000),
            "ephemeral ports",
            "net.ipv4.ip_local_reserved_ports=40000",
        ),
    ];
    for (change, name, remedy) in cases {
        let (found, advice) = only(change);
        assert_eq!(found, name);
        assert!(advice.contains(remedy), "{advice}");
    }
}

#[test]
fn a_jumbo_mtu_is_named_where_it_costs_the_native_mode() {
    let jumbo = |f: &mut Facts| {
        for interface in &mut f.interfaces {
            interface.mtu = Some(9_000);
            interface.gro = Some(false);
        }
    };
    assert_eq!(wrong(jumbo), []);
    let found = wrong(|f| {
        jumbo(f);
        f.interfaces[0].mode = Some("generic".into());
        f.interfaces[1].mode = Some("generic".into());
    });
    assert_eq!(found[0].0, "XDP mode eth0");
    assert!(found[0].1.starts_with("ip link set dev eth0 mtu 3400"), "{found:?}");
}

/// What is said of `name` after `change`, which is no fault.
fn said(name: &str, change: impl FnOnce(&mut Facts)) -> String {
    let mut facts = host_in_order();
    change(&mut facts);
    let check = evaluate(&facts).into_iter().find(|check| check.name == name).unwrap();
    assert!(check.ok, "{check:?}");
    check.detail
}

#[test]
fn what_only_the_hosts_own_stack_minds_is_told_and_no_fault() {
    assert_eq!(said("rp_filter eth0", |_| {}), "off");
    let strict = |f: &mut Facts| f.rp_filter_all = Some(1);
    assert!(said("rp_filter eth1", strict).contains("balanced packets are not filtered"));
    assert_eq!(
        said("rp_filter eth1", |f| {
            strict(f);
            f.interfaces[1].rp_filter = Some(2);
        }),
        "loose"
    );
    let detail = said("forwarding", |f| f.forwarding_v6 = Some(1));
    assert!(detail.starts_with("IPv4 off, IPv6 on: balanced traffic does not need it"), "{detail}");
}

#[test]
fn driver_and_memory_are_told() {
    assert_eq!(said("interface eth0", |_| {}), "is up, driver veth");
    assert_eq!(said("memory", |_| {}), "408 MiB of the kernel's, with 1048576 flows");
}

#[test]
fn merged_packets_are_a_fault_of_generic_mode_only() {
    let names: Vec<_> = wrong(|f| f.interfaces[0].mode = Some("generic".into()))
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["XDP mode eth0", "GRO eth0", "XDP modes"]);
}

#[test]
fn a_backend_without_next_hop_is_named() {
    let (name, remedy) = only(|f| {
        f.unresolved.insert("192.0.2.11".parse().unwrap());
    });
    assert_eq!(name, "next hop 192.0.2.11");
    assert!(remedy.contains("ip route get 192.0.2.11"), "{remedy}");
}

#[test]
fn a_backend_behind_another_interface_is_told_with_its_name() {
    let web1 = "192.0.2.11".parse().unwrap();
    let (name, remedy) = only(|f| {
        f.unresolved.insert(web1);
        f.elsewhere.insert(web1, "br0".into());
    });
    assert_eq!(name, "next hop 192.0.2.11");
    assert!(remedy.contains("add br0 there"), "{remedy}");
}

#[test]
fn vlan_tags_that_are_taken_off_are_a_fault_only_where_there_are_vlans() {
    let detail = said("VLAN offload eth0", |_| {});
    assert_eq!(detail, "on: before clients' frames carry VLAN tags, ethtool -K eth0 rxvlan off");
    let with_vlan = |f: &mut Facts| f.interfaces[0].vlans = vec!["eth0.100".into()];
    let expected = ("VLAN offload eth0".to_owned(), "ethtool -K eth0 rxvlan off".to_owned());
    assert_eq!(only(with_vlan), expected);
    let detail = said("VLAN offload eth0", |f| {
        with_vlan(f);
        f.interfaces[0].rx_vlan = Some(false);
    });
    assert_eq!(detail, "off");
}

#[test]
fn a_veth_whose_other_end_does_not_poll_is_a_fault_of_native_mode_only() {
    let idle = Peer { name: "peer".into(), polls: Some(false) };
    let (name, remedy) = only(|f| f.interfaces[1].peer = Some(idle.clone()));
    assert_eq!(name, "veth peer eth1");
    assert!(remedy.starts_with("ethtool -K peer gro on"), "{remedy}");
    let generic = wrong(|f| {
        f.interfaces.iter_mut().for_each(|nic| nic.mode = Some("generic".into()));
        f.interfaces[1].peer = Some(idle);
    });
    assert!(generic.iter().all(|(name, _)| !name.contains("veth")), "{generic:?}");
    assert_eq!(wrong(|f| f.interfaces[0].peer = None), []);
}

#[test]
fn a_backend_on_the_director_is_told_from_one_that_is_silent() {
    let own = "192.0.2.1".parse().unwrap();
    let (name, remedy) = only(|f| {
        f.unresolved.insert(own);
        f.addresses.insert(own);
    });
    assert_eq!(name, "next hop 192.0.2.1");
    assert!(remedy.contains("another machine"), "{remedy}");
}

#[test]
fn a_reserved_port_may_be_a_service() {
    let reserve = |f: &mut Facts| {
        f.listens[0].set_port(40000);
        f.ephemeral = Some(Ephemeral { range: 32768..=60999, reserved: vec![40000..=40000] });
    };
    assert_eq!(wrong(reserve), []);
}

#[test]
fn a_vip_that_is_not_managed_must_be_added_by_hand() {
    let (_, remedy) = only(|f| {
        f.addresses.clear();
        f.manages_addresses = false;
    });
    assert!(remedy.contains("ip address add 203.0.113.10/32"), "{remedy}");
}

#[test]
fn sources_of_full_nat_are_on_an_interface_and_leave_the_host_its_own_ports() {
    let source: IpAddr = "192.0.2.1".parse().unwrap();
    let with = |change: fn(&mut Facts)| {
        move |facts: &mut Facts| {
            facts.full_nat = vec![source];
            facts.addresses.insert(source);
            change(facts);
        }
    };
    let (name, remedy) = only(with(|_| {}));
    assert_eq!(name, "full NAT 192.0.2.1");
    assert!(remedy.contains("outside of 32768-60999"), "{remedy}");
    assert_eq!(wrong(with(|facts| facts.full_nat_ports = Some(20_000..=32_767))), []);
    assert_eq!(wrong(with(|facts| facts.own_sources.clear())), []);
    let (_, remedy) = only(with(|facts| facts.addresses = BTreeSet::from([VIP.parse().unwrap()])));
    assert!(remedy.starts_with("ip address add 192.0.2.1/32"), "{remedy}");
}

#[test]
fn interfaces_may_differ_in_mtu_where_no_reply_passes() {
    let wide = |facts: &mut Facts| facts.interfaces[1].mtu = Some(9_000);
    assert_eq!(only(wide).0, "MTU");
    let past = |facts: &mut Facts| {
        wide(facts);
        facts.replies_pass = false;
    };
    assert_eq!(wrong(past), []);
}
