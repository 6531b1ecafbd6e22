//! The shipped object in the kernel and the library on the host do the same with every frame: the same
//! action, the same bytes, the same named verdict, and afterwards the same flow table and counters.
//!
//! `EQUALITY_SEED` repeats a run: its number is printed. `EQUALITY_FRAMES` makes it longer or shorter.
#![cfg(feature = "root")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on panics"
)]
#![expect(unreachable_pub, reason = "a module that several tests share")]

mod cast;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "../director/mod.rs"]
mod director;
mod generator;
mod guard;
mod mutation;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "../packet_path/mod.rs"]
mod packet_path;
mod packets;
mod pair;
mod random;
mod strays;

use std::collections::BTreeMap;

use lb_common::layout::{BACKEND_DOWN_KEEP, BACKEND_DOWN_RESET, BACKEND_UP};
use lb_common::verdict::Verdict;
use lb_ebpf::Exit;

use cast::Cast;
use director::on_a_director;
use generator::Generator;
use mutation::mutate;
use packet_path::pin_to_cpu;
use pair::{Pair, Sent};

/// Nearly three of five are changed on their way, and [`CHANGED`] of those have to agree.
const FRAMES: u64 = 180_000;
/// How many are changed at the least in so many frames.
const CHANGED: u64 = 100_000;
/// How often each verdict is seen at the least in so many, and each way out, and a frame that grew.
const ENOUGH: u64 = 50;

/// Frames before flows move, and while they do.
const MOVING: u64 = 4_000;
/// How many do at the least; others are of nobody who sends any more.
const ENOUGH_MOVED: usize = 30;

/// States of a backend, as often as they stand here.
const STATES: [u8; 11] = [
    BACKEND_UP,
    BACKEND_UP,
    BACKEND_UP,
    BACKEND_UP,
    BACKEND_UP,
    BACKEND_UP,
    BACKEND_UP,
    BACKEND_DOWN_KEEP,
    BACKEND_DOWN_RESET,
    BACKEND_DOWN_RESET,
    BACKEND_DOWN_RESET,
];

/// Ticks that pass; sums of them are the timeouts of [`lb_ebpf::host::HostTables`].
const AGES: [u64; 8] = [0, 1, 6, 7, 7, 21, 28, 400];

/// A flow table.
struct Table {
    buckets: usize,
    /// Whether it is nearly full of open connections.
    is_crowded: bool,
}

/// What was counts.
#[derive(Debug, Default)]
struct Counts {
    frames: u64,
    changed: u64,
    verdicts: BTreeMap<Verdict, u64>,
    transmitted: u64,
    redirected: u64,
    grown: u64,
}

impl Counts {
    fn add(&mut self, sent: &Sent) {
        self.frames += 1;
        *self.verdicts.entry(sent.outcome.verdict).or_default() += 1;
        self.transmitted += u64::from(sent.outcome.exit == Exit::Transmit);
        self.redirected += u64::from(matches!(sent.outcome.exit, Exit::Redirect(_)));
        self.grown += u64::from(sent.frame.len() > sent.arrival.frame.len());
    }

    /// Frames that reached the flow table: with these verdicts alone, every one has.
    fn at_the_flow_table(&self) -> u64 {
        let behind = [
            Verdict::ToBackend,
            Verdict::ToBackendUnremembered,
            Verdict::ToClient,
            Verdict::ErrorToBackend,
            Verdict::ErrorToClient,
            Verdict::ResetSent,
            Verdict::NoBackend,
            Verdict::NoNextHop,
            Verdict::FlowTableFull,
            Verdict::ReplyConflict,
            Verdict::SourcesUsedUp,
            Verdict::SynCookieSent,
            Verdict::SynCookieAccepted,
            Verdict::SynCookieInvalid,
            Verdict::BackendAcknowledged,
            Verdict::BackendReset,
            Verdict::NewFlowsLimited,
            Verdict::HeldForPeer,
        ];
        behind.iter().filter_map(|verdict| self.verdicts.get(verdict)).sum()
    }
}

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().unwrap())
}

/// Sends frames to a director with this many buckets.
fn run(seed: u64, frames: u64, table: &Table, counts: &mut Counts) {
    let cast = Cast::new(table.buckets);
    let mut generator = Generator::new(seed, &cast);
    let mut pair = Pair::new(cast.tables);
    send(&mut pair, &mut generator, (frames, table.is_crowded), counts);
    pair.compare();
}

/// Sends frames; while they run, time passes, and backends die and come back.
fn send(
    pair: &mut Pair,
    generator: &mut Generator,
    (frames, is_crowded): (u64, bool),
    counts: &mut Counts,
) {
    for number in 0..frames {
        let mut arrival = generator.next();
        let random = &mut generator.random;
        let valid = arrival.frame.clone();
        for _ in 0..random.pick(&[0, 0, 1, 1, 2]) {
            mutate(random, &mut arrival);
        }
        counts.changed += u64::from(arrival.frame != valid);
        if number % 40 == 0 {
            pair.set_state(random.below(pair.n_backends()), random.pick(&STATES));
        }
        if number % 400 == 0 {
            pair.age(random.pick(&AGES));
            pair.collide(random);
            pair.mark(random);
        }
        // Often, so that chance does not decide how many frames each kind of rules has.
        if number % 400 == 200 {
            pair.guard(&guard::rules(random));
        }
        if number % 100 == 50 {
            pair.hold(random.chance(10));
        }
        if number % 400 == 0 && is_crowded {
            pair.crowd(random);
        }
        let sent = pair.send(arrival, random.byte());
        counts.add(&sent);
        generator.learn(sent);
    }
}

#[test]
fn kernel_and_host_agree_on_every_byte_of_a_hundred_thousand_changed_frames_and_more() {
    let seed = from_environment("EQUALITY_SEED", 1);
    let frames = from_environment("EQUALITY_FRAMES", FRAMES);
    println!("EQUALITY_SEED={seed} EQUALITY_FRAMES={frames}");
    let mut counts = Counts::default();
    on_a_director(|_| {
        pin_to_cpu(0);
        run(seed, frames * 4 / 5, &Table { buckets: 512, is_crowded: false }, &mut counts);
        run(seed, frames / 5, &Table { buckets: 16, is_crowded: true }, &mut counts);
    });
    println!("{counts:#?}");
    assert!(counts.at_the_flow_table() * 2 >= counts.frames, "{} did", counts.at_the_flow_table());
    let of_so_many = |count| count * frames.min(FRAMES) / FRAMES;
    assert!(counts.changed >= of_so_many(CHANGED), "{} were changed", counts.changed);
    let enough = of_so_many(ENOUGH);
    for verdict in Verdict::ALL {
        let count = counts.verdicts.get(verdict).copied().unwrap_or_default();
        assert!(count >= enough, "{} was seen {count} times", verdict.name());
    }
    assert!(counts.transmitted.min(counts.redirected).min(counts.grown) >= enough, "{counts:?}");
}

#[test]
fn kernel_and_host_agree_while_flows_move_to_a_table_of_another_size() {
    let mut counts = Counts::default();
    on_a_director(|_| {
        pin_to_cpu(0);
        for [before, after] in [[64, 512], [512, 64]] {
            let cast = Cast::new(before);
            let mut generator = Generator::new(2, &cast);
            let mut pair = Pair::new(cast.tables);
            send(&mut pair, &mut generator, (MOVING, false), &mut counts);
            pair = pair.followed_by(Cast::new(after).tables);
            let all = pair.left_behind();
            send(&mut pair, &mut generator, (MOVING, false), &mut counts);
            pair.compare();
            let left = pair.left_behind();
            assert!(left + ENOUGH_MOVED <= all, "{left} of {all} flows have not moved");
        }
    });
}
