//! The states of RFC 9568 6.4 as data: what is done with each event in each state.

use super::*;

/// What happens.
#[derive(Clone, Copy, Debug)]
enum Happens {
    /// `Active_Down_Timer` or `Adver_Timer` fires.
    TimerFires,
    /// An advertisement of this priority, from a neighbour with a greater address.
    Heard(u8),
    /// The same from one with a lesser address.
    HeardFromLesser(u8),
    Stop,
    /// The interface goes down.
    LinkDown,
}

/// A row: priority, preempts, state before, event, state after, what is done, milliseconds to the next timer.
type Row = (u8, bool, State, Happens, State, &'static str, Option<u128>);

use Happens::{Heard, HeardFromLesser, LinkDown, Stop, TimerFires};
use State::{Active, Backup, Initialize};

const TWO_OWNERS: &str =
    "warning a: 192.0.2.6 owns the addresses too (priority 255), backup, place 0";

/// 6.4.2 and 6.4.3; `Skew_Time` of priority 100 is 609 ms, of 200 it is 218 ms.
const TABLE: &[Row] = &[
    (100, false, Backup, TimerFires, Active, "send 100, place 1, announce, active", Some(1_000)),
    (100, false, Backup, Heard(0), Backup, "", Some(609)),
    (200, false, Backup, Heard(0), Backup, "", Some(218)),
    // Preempt_Mode is false, or the priority is at least the own one: the timer begins anew.
    (100, false, Backup, Heard(50), Backup, "", Some(3_609)),
    (100, false, Backup, Heard(100), Backup, "", Some(3_609)),
    (100, true, Backup, Heard(100), Backup, "", Some(3_609)),
    (100, true, Backup, Heard(101), Backup, "", Some(3_609)),
    (200, true, Backup, Heard(255), Backup, "", Some(3_218)),
    // Else it is discarded.
    (100, true, Backup, Heard(99), Backup, "", Some(2_609)),
    (100, false, Backup, Stop, Initialize, "initialize", None),
    (100, false, Backup, LinkDown, Initialize, "initialize", None),
    (100, false, Active, TimerFires, Active, "send 100", Some(1_000)),
    // The Active router that leaves is answered, so that it hears that all is well.
    (100, false, Active, Heard(0), Active, "send 100", Some(1_000)),
    (100, false, Active, Heard(101), Backup, "backup, place 0", Some(3_609)),
    (100, true, Active, Heard(255), Backup, "backup, place 0", Some(3_609)),
    (100, false, Active, Heard(100), Backup, "backup, place 0", Some(3_609)),
    (100, false, Active, HeardFromLesser(100), Active, "send 100, announce", Some(1_000)),
    (100, false, Active, Heard(99), Active, "send 100, announce", Some(1_000)),
    (100, false, Active, Heard(1), Active, "send 100, announce", Some(1_000)),
    (100, false, Active, Stop, Initialize, "send 0, initialize", Some(1_300)),
    (100, false, Active, LinkDown, Initialize, "initialize", Some(1_300)),
    (255, false, Active, Heard(255), Backup, TWO_OWNERS, Some(3_003)),
    (255, false, Active, Heard(254), Active, "send 255, announce", Some(1_000)),
];

/// A director in the state, a second after it came there or a second before it would leave it.
fn director(priority: u8, preempt: bool, state: State) -> One {
    let entry = Vrrp { priority, preempt, ..router("a", 51) };
    match state {
        Active => {
            let mut one = One::active(vec![entry]);
            // In the middle between two advertisements, and with the second announcement done.
            let due = u64::try_from(one.due()).unwrap();
            one.run(due + 500);
            one
        }
        Backup | Initialize => {
            let mut one = One::with(vec![entry]);
            one.run(1_000);
            one
        }
    }
}

#[test]
fn every_state_does_what_the_table_says() {
    for (priority, preempt, before, happens, after, does, timer) in TABLE {
        let mut one = director(*priority, *preempt, *before);
        assert_eq!(one.state(), *before);
        one.did();
        match happens {
            TimerFires => {
                let due = one.routers.deadline().unwrap();
                one.now = due;
                one.event(Event::Timer);
            }
            Heard(heard) => one.hear(*heard),
            HeardFromLesser(heard) => one.hear_from("192.0.2.4", "eth0", 51, *heard),
            Stop => one.event(Event::Stop),
            LinkDown => one.event(Event::Network(network(&["eth1"]))),
        }
        let row = format!("{priority} {preempt} {before:?} {happens:?}");
        assert_eq!((one.state(), one.did().as_str()), (*after, *does), "{row}");
        let due = one.routers.deadline().map(|_| one.due());
        assert_eq!(due, *timer, "{row}");
    }
}

#[test]
fn startup_leads_to_backup_and_an_owner_at_once_to_active() {
    let mut one = One::with(vec![router("a", 51)]);
    assert_eq!((one.did().as_str(), one.due()), ("backup", 3_609));
    let mut owner = One::with(vec![Vrrp { priority: 255, ..router("a", 51) }]);
    assert_eq!(owner.did(), "send 255, place 1, announce, active");
}

#[test]
fn an_active_router_advertises_on_time_and_announces_once_more_after_a_second() {
    let mut one = One::with(vec![router("a", 51)]);
    one.run(3_610);
    one.did();
    one.run(2_500);
    assert_eq!(one.did(), "send 100, announce, send 100");
}
