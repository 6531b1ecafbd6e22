//! No established flow of a living backend ever moves, whatever happens to the backends, under any scheduler and by
//! any way of forwarding: the agent's own plans on tables in memory, with real frames.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]
#![expect(unreachable_pub, reason = "modules that several tests share")]

mod director;
#[expect(dead_code, reason = "another test uses the rest")]
#[path = "../packet_path/frames.rs"]
mod frames;
#[expect(dead_code, reason = "another test uses the rest")]
#[path = "../kernel_equality/random.rs"]
mod random;
mod way;

use std::collections::BTreeMap;
use std::time::Duration;

use lb_common::api::{BackendAction, BackendState};

use director::Director;
use frames::Ends;
use random::Random;
use way::{VIPS, Way, client};

/// Of each scheduler, over all ways.
const CHANGES: usize = 1_000;
const FLOWS: usize = 24;
const SCHEDULERS: [&str; 7] = ["rr", "wrr", "lc", "wlc", "sh", "maglev", "random"];

/// By what they came to a VIP.
type Flows = BTreeMap<Ends, u8>;

/// Changes something; false where it was refused.
fn any_change(director: &mut Director, random: &mut Random, way: Way) -> bool {
    let number = 1 + random.byte() % 8;
    let (address, weight, backup, state) = (None, None, None, None);
    let set = |weight, backup, state| BackendAction::Set { address, weight, backup, state };
    let states =
        [BackendState::Ready, BackendState::Ready, BackendState::Drain, BackendState::Maint];
    let weights = [0, 30, 50, 100, 100, 333];
    let action = match random.below(12) {
        0 => BackendAction::Delete,
        1 | 2 => BackendAction::Add { address: way.addresses(number), weight, backup: false },
        3..=5 => set(Some(random.pick(&weights)), backup, state),
        6 => set(weight, Some(random.chance(20)), state),
        7..=9 => set(weight, backup, Some(random.pick(&states))),
        _ => {
            if !director.silent.remove(&number) {
                director.silent.insert(number);
            }
            return true;
        }
    };
    director.change(number, action)
}

/// Opens flows over both families until there are enough, or nobody serves.
fn open(director: &Director, flows: &mut Flows, random: &mut Random, port: &mut u16) {
    while flows.len() < FLOWS {
        *port += 1;
        let vip = VIPS[flows.len() % VIPS.len()];
        let flow = Ends { source: client(vip, random.byte() % 8, *port), destination: vip };
        match director.open(flow) {
            Some(backend) => drop(flows.insert(flow, backend)),
            None => break,
        }
    }
}

/// Makes changes, and looks at all open flows after each; says how many looks there were.
fn change_and_look(scheduler: &str, way: Way, changes: usize) -> usize {
    let mut random = Random::new(1_234_567);
    let mut director = Director::new(scheduler, way);
    let (mut flows, mut n_looks, mut port) = (Flows::new(), 0, 1_000);
    for change in 0..changes {
        open(&director, &mut flows, &mut random, &mut port);
        while !any_change(&mut director, &mut random, way) {}
        director.pass(Duration::from_millis(u64::from(random.word()) / 8));
        flows.retain(|flow, backend| director.is_alive(*backend, flow.destination));
        for (flow, backend) in &flows {
            let went = director.more(*flow);
            assert_eq!(went, Some(*backend), "{scheduler}, {way:?}: {flow:?} after {change}");
            n_looks += 1;
        }
    }
    n_looks
}

/// Over all ways.
fn change_by_all_ways(scheduler: &str) {
    let n_ways = Way::all().count();
    let looks = Way::all().map(|way| change_and_look(scheduler, way, CHANGES / n_ways));
    let n_looks: usize = looks.sum();
    assert!(n_looks > CHANGES * FLOWS / 4, "{scheduler}: only {n_looks} looks");
}

#[test]
fn no_flow_of_a_living_backend_moves_over_a_thousand_changes() {
    std::thread::scope(|scope| {
        for scheduler in SCHEDULERS {
            scope.spawn(|| change_by_all_ways(scheduler));
        }
    });
}
