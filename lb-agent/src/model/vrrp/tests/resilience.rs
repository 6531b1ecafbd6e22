//! What must do no harm: floods, strangers, stalls, other Active routers.

use super::*;
use crate::model::vrrp::advert::Reason;

fn count(one: &One, reason: Reason) -> u64 {
    one.routers.discarded.get(&("eth0".to_owned(), reason)).copied().unwrap_or_default()
}

fn advert(priority: u8) -> Advert {
    let interval = Duration::from_secs(1);
    Advert { id: 51, priority, interval, addresses: vec![vip(OTHER)] }
}

/// Each way to be invalid.
fn invalid() -> Vec<(Reason, Received)> {
    let sound = received(OTHER, "eth0", &advert(255));
    let with = |change: fn(&mut Received)| {
        let mut packet = sound.clone();
        change(&mut packet);
        packet
    };
    vec![
        (Reason::HopLimit, with(|it| it.hop_limit = 254)),
        (Reason::TooShort, with(|it| it.payload.truncate(7))),
        (Reason::TooShort, with(|it| it.payload.clear())),
        (Reason::Version, with(|it| it.payload[0] = 0x21)),
        (Reason::Type, with(|it| it.payload[0] = 0x32)),
        (Reason::Checksum, with(|it| it.payload[7] ^= 1)),
        (Reason::Length, with(|it| it.payload.truncate(11))),
        (Reason::Length, with(|it| it.payload.push(0))),
        (Reason::Length, with(|it| it.payload[3] = 0)),
        (Reason::Destination, {
            let destination = OWN[0].parse().unwrap();
            let source: IpAddr = OTHER.parse().unwrap();
            let payload = advert(255).encode(source, destination, VrrpChecksum::PseudoHeader);
            Received { destination, payload, ..sound.clone() }
        }),
        (Reason::OwnAddress, received(OWN[0], "eth0", &advert(255))),
        (Reason::UnknownRouter, received(OTHER, "eth0", &Advert { id: 99, ..advert(255) })),
        (Reason::UnknownRouter, received(OTHER, "eth1", &advert(255))),
        (
            Reason::Interval,
            received(OTHER, "eth0", &Advert { interval: Duration::ZERO, ..advert(255) }),
        ),
    ]
}

#[test]
fn what_is_invalid_is_counted_by_reason_and_changes_nothing() {
    for is_active in [false, true] {
        let entries = vec![router("a", 51)];
        let mut one = if is_active { One::active(entries) } else { One::with(entries) };
        one.did();
        let before = (one.state(), one.routers.deadline());
        for (reason, packet) in invalid() {
            let interface = packet.interface.clone();
            let counted =
                |one: &One| one.routers.discarded.get(&(interface.clone(), reason)).copied();
            let n = counted(&one).unwrap_or_default();
            one.event(Event::Received(packet));
            assert_eq!(counted(&one), Some(n + 1), "{reason:?}");
            assert_eq!((one.state(), one.routers.deadline()), before, "{reason:?}");
        }
        assert_eq!(one.did(), "");
    }
}

#[test]
fn malformed_packets_do_not_silence_an_active_router() {
    let mut one = One::active(vec![router("a", 51)]);
    for _ in 0..1_000 {
        for (_, packet) in invalid() {
            one.event(Event::Received(packet));
        }
        one.run(10);
    }
    let sent = one.did();
    assert_eq!(sent.split(", ").filter(|word| *word == "send 100").count(), 10, "{sent}");
}

#[test]
fn in_unicast_only_peers_are_believed() {
    let unicast_peers = vec![OTHER.parse().unwrap()];
    let entry = Vrrp { unicast_peers, ..router("a", 51) };
    let mut one = One::with(vec![entry]);
    let unicast = |source: &str| {
        let (source, destination): (IpAddr, IpAddr) =
            (source.parse().unwrap(), OWN[0].parse().unwrap());
        let payload = advert(255).encode(source, destination, VrrpChecksum::PseudoHeader);
        let interface = "eth0".to_owned();
        Received { interface, source, destination, hop_limit: 255, options: Vec::new(), payload }
    };
    let before = one.routers.deadline();
    one.event(Event::Received(unicast("192.0.2.66")));
    one.event(Event::Received(received(OTHER, "eth0", &advert(255))));
    one.event(Event::Received(Received { hop_limit: 254, ..unicast(OTHER) }));
    assert_eq!(one.routers.deadline(), before);
    assert_eq!(
        [Reason::NotAPeer, Reason::Destination, Reason::HopLimit].map(|it| count(&one, it)),
        [1, 1, 1]
    );
    one.run(1_000);
    one.event(Event::Received(unicast(OTHER)));
    assert_ne!(one.routers.deadline(), before);
}

#[test]
fn a_lower_hop_limit_is_believed_where_that_is_configured() {
    let unicast_peers = vec![OTHER.parse().unwrap()];
    let entry = Vrrp { unicast_peers, unicast_min_hop_limit: 64, ..router("a", 51) };
    let mut one = One::with(vec![entry]);
    let (source, destination): (IpAddr, IpAddr) = (OTHER.parse().unwrap(), OWN[0].parse().unwrap());
    let payload = advert(255).encode(source, destination, VrrpChecksum::PseudoHeader);
    for hop_limit in [63, 64] {
        let interface = "eth0".to_owned();
        let payload = payload.clone();
        one.event(Event::Received(Received {
            interface,
            source,
            destination,
            hop_limit,
            options: Vec::new(),
            payload,
        }));
    }
    assert_eq!(count(&one, Reason::HopLimit), 1);
    assert_eq!(one.routers.status(one.now).routers[0].adverts_received, 1);
}

#[test]
fn a_backup_that_was_asleep_hears_what_it_missed_before_it_decides() {
    let mut one = One::with(vec![router("a", 51)]);
    one.sleep(60_000);
    one.hear(200);
    one.event(Event::Timer);
    assert_eq!((one.state(), one.did().as_str()), (State::Backup, "backup"));
}

#[test]
fn what_comes_due_while_a_director_reads_what_has_come_is_decided_the_next_time() {
    // It was stopped after it had read that there was nothing, and meanwhile the Active router has spoken.
    let mut one = One::with(vec![router("a", 51)]);
    let advert = || received(OTHER, "eth0", &advert(200));
    let begun = one.now + Duration::from_secs(3);
    let awake = one.now + Duration::from_secs(4);
    let effects = one.routers.catch_up(begun, awake, Vec::new());
    one.note(effects);
    assert_eq!((one.state(), one.did().as_str()), (State::Backup, "backup"));
    let effects = one.routers.catch_up(awake, awake, vec![advert()]);
    one.note(effects);
    assert_eq!((one.state(), one.did().as_str()), (State::Backup, ""));
    // It was stopped before: what it hears then is as old as that at most, and is waited for from the end.
    let later = awake + Duration::from_secs(60);
    let effects = one.routers.catch_up(awake, later, vec![advert()]);
    one.note(effects);
    one.now = later;
    assert_eq!((one.state(), one.due()), (State::Backup, 3_609));
}

#[test]
fn an_active_router_that_was_asleep_leaves_the_addresses_to_who_has_taken_over() {
    for (preempt, after) in [(false, State::Backup), (true, State::Active)] {
        let mut one = One::active(vec![Vrrp { priority: 200, preempt, ..router("a", 51) }]);
        one.sleep(60_000);
        one.hear(100);
        one.event(Event::Timer);
        assert_eq!(one.state(), after);
    }
    // Nobody has taken over: it goes on, with one advertisement and not with sixty.
    let mut alone = One::active(vec![router("a", 51)]);
    alone.sleep(60_000);
    alone.event(Event::Timer);
    assert_eq!((alone.state(), alone.did().as_str()), (State::Active, "send 100"));
    assert_eq!(alone.due(), 1_000);
}

#[test]
fn a_short_sleep_is_no_reason_to_stand_down() {
    let mut one = One::active(vec![router("a", 51)]);
    one.sleep(2_900);
    one.hear(50);
    one.event(Event::Timer);
    assert_eq!(one.state(), State::Active);
}

#[test]
fn the_winners_announcement_is_the_last_one() {
    let mut one = One::active(vec![router("a", 51)]);
    one.run(300);
    one.did();
    one.hear(50);
    assert_eq!(one.did(), "send 100, announce");
    one.run(1_500);
    assert_eq!(one.did(), "send 100, announce");
}

#[test]
fn a_flood_of_valid_advertisements_of_a_lower_priority_is_not_answered_by_a_flood() {
    let mut one = One::active(vec![router("a", 51)]);
    for _ in 0..10_000 {
        one.hear(50);
        one.run(1);
    }
    let did = one.did();
    let n = |word: &str| did.split(", ").filter(|it| *it == word).count();
    assert!(n("send 100") <= 45, "{}", n("send 100"));
    assert!(n("announce") <= 115, "{}", n("announce"));
    assert_eq!(one.state(), State::Active);
}

#[test]
fn a_split_brain_is_told_once_and_shown_until_it_is_over() {
    let mut one = One::active(vec![router("a", 51)]);
    for _ in 0..10 {
        one.hear(50);
        one.run(1_000);
    }
    let did = one.did();
    assert_eq!(did.matches("warning a: split brain: 192.0.2.6 is Active too").count(), 1, "{did}");
    let warnings = |one: &One| one.routers.status(one.now).routers[0].warnings.clone();
    assert_eq!(warnings(&one), ["split brain: 192.0.2.6 is Active too"]);
    one.run(5_000);
    assert!(warnings(&one).is_empty());
    // A rival that gives way at once is none.
    one.hear(50);
    one.run(5_000);
    assert!(!one.did().contains("warning"));
}

#[test]
fn another_interval_is_told_once_and_shown_while_it_is_heard() {
    let entry = |millis| Vrrp { advert_interval: Duration::from_millis(millis), ..router("a", 51) };
    let mut one = One::with(vec![entry(1_000)]);
    let shown = |one: &One| one.routers.status(one.now).routers[0].warnings.clone();
    one.hear(200);
    assert_eq!((one.did().as_str(), shown(&one).len()), ("backup", 0));
    one.configure(vec![entry(500)]);
    for _ in 0..3 {
        one.hear(200);
        one.run(1_000);
    }
    let said = "192.0.2.6 has an interval of 1s, this director of 500ms";
    assert_eq!((one.did(), shown(&one)), (format!("warning a: {said}"), vec![said.to_owned()]));
    one.run(10_000);
    assert!(shown(&one).is_empty());
    one.did();

    // What is not waited for has its own words, each time that the configuration has changed.
    for _ in 0..2 {
        one.configure(vec![entry(10)]);
        one.hear(200);
        one.run(1_000);
        one.hear(200);
        let said = "192.0.2.6 announces itself every 1s only, and is taken for dead again and again: the interval here is 10ms";
        assert_eq!(one.did().matches("warning").count(), 1);
        assert_eq!(shown(&one), [said]);
        one.configure(vec![entry(1_000)]);
        one.hear(200);
        assert!(shown(&one).is_empty());
        one.did();
    }
}

#[test]
fn a_second_owner_is_told_of() {
    let mut one = One::active(vec![Vrrp { priority: 255, ..router("a", 51) }]);
    one.hear(254);
    assert!(!one.did().contains("warning"));
    one.hear(255);
    one.hear(255);
    let did = one.did();
    assert_eq!(did.matches("warning a: 192.0.2.6 owns the addresses too").count(), 1, "{did}");
}

#[test]
fn other_addresses_of_the_active_router_are_shown() {
    let mut one = One::with(vec![router("a", 51)]);
    let addresses = vec!["203.0.113.99".parse().unwrap()];
    let advert = Advert { addresses, ..advert(200) };
    one.event(Event::Received(received(OTHER, "eth0", &advert)));
    let status = one.routers.status(one.now);
    assert_eq!(
        status.routers[0].warnings,
        ["the Active router announces other addresses: 203.0.113.99"]
    );
    assert_eq!(status.routers[0].active, Some(OTHER.parse().unwrap()));
    one.hear(200);
    assert!(one.routers.status(one.now).routers[0].warnings.is_empty());
}

#[test]
fn the_history_tells_of_each_change_and_is_bounded() {
    let mut one = One::active(vec![router("a", 51)]);
    for _ in 0..2_000 {
        one.event(Event::Network(network(&["eth1"])));
        one.event(Event::Network(network(&["eth0", "eth1"])));
    }
    let changes = one.routers.changes(|_| 7);
    assert_eq!(changes.len(), 1_000);
    let last = changes.last().unwrap();
    assert_eq!((last.at_unix, last.from, last.to), (7, State::Initialize, State::Backup));
    assert!(one.at() > 0);
}
