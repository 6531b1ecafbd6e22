//! A host in order, and what is wrong with it after each change.

use super::*;

const VIP: &str = "203.0.113.10";

fn nic(name: &str) -> Interface {
    Interface {
        name: name.into(),
        exists: true,
        mode: Some("native".into()),
        mtu: Some(1500),
        forwarding_v4: Some(1),
        forwarding_v6: Some(1),
        rp_filter: Some(0),
        lro: Some(false),
        gro: Some(true),
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
        ephemeral: Some(Ephemeral { range: 32768..=60999, reserved: Vec::new() }),
        rp_filter_all: Some(0),
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
    let cases: [(Change, &str, &str); 8] = [
        (|f| f.on_bpffs = false, "bpffs", "mount -t bpf"),
        (|f| f.interfaces[1].exists = false, "interface eth1", "ip link"),
        (|f| f.interfaces[0].lro = Some(true), "LRO eth0", "ethtool -K eth0 lro off"),
        (
            |f| f.interfaces[0].forwarding_v4 = Some(0),
            "net.ipv4.conf.eth0.forwarding",
            "sysctl -w net.ipv4.conf.eth0.forwarding=1",
        ),
        (|f| f.interfaces[1].rp_filter = Some(1), "rp_filter eth1", "eth1.rp_filter=2"),
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
fn a_strict_filter_of_all_interfaces_counts_for_each() {
    let names: Vec<_> =
        wrong(|f| f.rp_filter_all = Some(1)).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["rp_filter eth0", "rp_filter eth1"]);
    assert_eq!(
        wrong(|f| {
            f.rp_filter_all = Some(1);
            f.interfaces.truncate(1);
        }),
        []
    );
    assert_eq!(
        wrong(|f| {
            f.rp_filter_all = Some(1);
            f.interfaces.iter_mut().for_each(|i| i.rp_filter = Some(2));
        }),
        []
    );
}

#[test]
fn merged_packets_are_a_fault_of_generic_mode_only() {
    let names: Vec<_> = wrong(|f| f.interfaces[0].mode = Some("generic".into()))
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["XDP mode eth0", "GRO eth0"]);
}

#[test]
fn only_the_families_in_use_have_to_be_forwarded() {
    assert_eq!(wrong(|f| f.interfaces[0].forwarding_v6 = Some(0)), []);
    let v6 = |f: &mut Facts| {
        f.listens = vec!["[2001:db8::10]:80".parse().unwrap()];
        f.addresses = BTreeSet::from(["2001:db8::10".parse().unwrap()]);
        f.interfaces[0].forwarding_v6 = Some(0);
    };
    assert_eq!(only(v6).0, "net.ipv6.conf.eth0.forwarding");
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
