//! What becomes of frames that come to a backend through a tunnel, and of the segment size that it asks for.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

#[path = "../cast/mod.rs"]
mod cast;
mod congestion;
mod segments;
mod tunnels;

use std::collections::BTreeSet;

use lb_common::decap::Verdict;
use lb_common::verdict::Kind;

use tunnels::{Carrier, backend, carry, request, table, ways};

#[test]
fn every_frame_of_the_table_becomes_what_the_table_says() {
    for case in table() {
        let maps = backend();
        let (verdict, after) = maps.receive(&case.frame);
        assert_eq!(verdict, case.verdict, "{}", case.name);
        assert!(after == case.after, "{}\n{after:02x?}\n{:02x?}", case.name, case.after);
        let counted = maps.counted(verdict);
        assert_eq!(
            (counted.packets, counted.bytes),
            (1, u64::try_from(case.frame.len()).unwrap()),
            "{}",
            case.name
        );
    }
}

#[test]
fn the_table_has_every_verdict() {
    let seen: BTreeSet<_> = table().iter().map(|case| case.verdict).collect();
    let missing = Verdict::ALL.iter().filter(|verdict| !seen.contains(verdict));
    // That one is of frames that leave.
    assert_eq!(missing.collect::<Vec<_>>(), [&Verdict::SegmentClamped]);
}

#[test]
fn a_packet_that_is_cut_anywhere_is_never_decapsulated() {
    for (outer, carrier, inner) in ways() {
        let whole = carry(outer, carrier, &request(inner)).bytes();
        for length in 0..whole.len() {
            let (verdict, after) = backend().receive(&whole[..length]);
            let what = format!("{length} bytes of {carrier:?}");
            assert!(matches!(verdict, Verdict::NotIp | Verdict::Malformed), "{what}: {verdict:?}");
            assert_eq!(after, whole[..length], "{what}");
        }
    }
}

#[test]
fn what_a_tunnel_carries_may_be_cut_anywhere_too() {
    for (outer, carrier, inner) in ways() {
        let whole = request(inner).ip_bytes();
        let protocol = if inner.vip.is_ipv4() { 4 } else { 41 };
        for length in 0..whole.len() {
            let frame = tunnels::carry_bytes(outer, carrier, protocol, &whole[..length]).bytes();
            let (verdict, after) = backend().receive(&frame);
            assert_eq!(verdict, Verdict::MalformedInner, "{length} bytes of {carrier:?}");
            assert_eq!(after, frame);
        }
    }
}

#[test]
fn without_a_list_every_source_is_allowed_and_without_a_port_there_is_no_gue() {
    for (outer, carrier, inner) in ways() {
        let mut maps = backend();
        maps.settings.restricted = 0;
        let stranger = carry(outer, carrier, &request(inner)).from(outer.client).bytes();
        assert_eq!(maps.receive(&stranger).0, Verdict::Decapsulated);
        maps.settings.gue_port = 0;
        let expected =
            if carrier == Carrier::Ip { Verdict::Decapsulated } else { Verdict::NotTunnel };
        assert_eq!(maps.receive(&stranger).0, expected, "{carrier:?}");
        let no_port = carry(outer, Carrier::Direct, &request(inner));
        let no_port = no_port.to(std::net::SocketAddr::new(outer.backends[0].ip(), 0));
        assert_eq!(maps.receive(&no_port.bytes()).0, Verdict::NotTunnel);
    }
}

#[test]
fn only_the_host_decides_about_what_is_not_for_a_vip() {
    for case in table() {
        let passed = case.verdict.kind() == Kind::Passed;
        assert!(!passed || case.after == case.frame, "{}", case.name);
    }
}

#[test]
fn a_syn_from_a_vip_asks_for_segments_that_fit() {
    for leaving in segments::table() {
        let maps = backend();
        let after = maps.send(&leaving.before);
        assert!(after == leaving.after, "{}\n{after:02x?}\n{:02x?}", leaving.name, leaving.after);
        let expected = u64::from(leaving.before != leaving.after);
        assert_eq!(maps.counted(Verdict::SegmentClamped).packets, expected, "{}", leaving.name);
    }
}

#[test]
fn a_syn_that_is_cut_anywhere_is_left_alone() {
    for leaving in segments::table().iter().filter(|leaving| leaving.name == "alone") {
        for length in 0..leaving.before.len() {
            let cut = &leaving.before[..length];
            assert_eq!(backend().send(cut), cut, "{length} bytes");
        }
    }
}

#[test]
fn segments_are_any_where_none_is_asked_for() {
    let mut maps = backend();
    maps.settings.segments = [0, 0];
    for leaving in segments::table() {
        assert_eq!(maps.send(&leaving.before), leaving.before, "{}", leaving.name);
    }
    assert_eq!(maps.counted(Verdict::SegmentClamped).packets, 0);
}
