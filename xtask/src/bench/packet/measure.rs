//! Rounds in which the packet path and its floor take turns.

use anyhow::{Context, Result, ensure};
use aya::programs::ProgramFd;
use lb_common::bench::Feed;
use lb_common::cell::TICK_SHIFT;
use lb_tests::clock::pause;
use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

use super::super::director::Director;
use super::super::feed::Family;
use super::super::harness::{Harness, Ran};
use super::super::row::Row;
use super::cases::{Case, Group, Kind};

/// Numbers of flows from which new ones are taken; established ones have less.
const FIRST_NEW: u32 = 1 << 23;

/// Packets of a run; of new flows fewer, so that the table stays half empty.
const PACKETS: u32 = 1_000_000;
const NEW_PACKETS: u32 = 25_000;

/// The director, what is compared with it, and what they are fed.
struct Bench<'g> {
    group: &'g Group,
    director: Director,
    harness: Harness,
    ours: ProgramFd,
    nothing: ProgramFd,
    next_new: u32,
    rounds: u32,
}

/// Measures the cases of a group, in the namespace `name` with its interface.
pub(crate) fn measure(name: &str, group: &Group, quick: bool) -> Result<Vec<Row>> {
    let director = Director::start(name, group.mode.name, group.max_flows)?;
    let harness = Harness::load(group.max_flows)?;
    let ours = director.program()?;
    let nothing = harness.floor("floor_nothing")?;
    let rounds = if quick { 5 } else { 15 };
    let mut bench = Bench { group, director, harness, ours, nothing, next_new: FIRST_NEW, rounds };
    bench.open_connections()?;
    group.cases.iter().map(|case| bench.case(*case)).collect()
}

impl Bench<'_> {
    fn family(&self) -> Family {
        self.group.family
    }

    /// As many as the largest case needs, through the program and into the floor's table.
    fn open_connections(&mut self) -> Result<()> {
        let known = self.group.cases.iter().filter(|case| case.kind != Kind::NotOurs);
        let flows = known.map(|case| case.flows).max().unwrap_or(0);
        if flows == 0 {
            return Ok(());
        }
        let (family, replies) = (self.family(), self.group.mode.replies);
        self.director.open_connections(&mut self.harness, family, (flows, replies))?;
        let mut feed = Case { kind: Kind::Known, flows }.feed(family, self.director.mac);
        feed.end = flows;
        let insert = self.floor("lru_insert")?;
        self.feed("feed", &insert, feed, flows)?;
        Ok(())
    }

    fn floor(&self, name: &str) -> Result<ProgramFd> {
        let name = match name {
            "drop" => "floor_drop".to_owned(),
            name => format!("floor_{name}_{}", self.family().suffix()),
        };
        self.harness.floor(&name)
    }

    fn feed(
        &mut self,
        feeder: &'static str,
        target: &ProgramFd,
        feed: Feed,
        packets: u32,
    ) -> Result<Ran> {
        let place = (packets, self.director.interface);
        self.harness.run((feeder, self.family()), target, feed, place)
    }

    fn case(&mut self, case: Case) -> Result<Row> {
        if case.kind == Kind::NewWhereFull {
            self.fill_table()?;
        }
        let name = match case.kind {
            Kind::Known | Kind::FirstOfTick => self.group.mode.floor,
            Kind::New | Kind::NewWhereFull => "lru_insert",
            Kind::NotOurs => "transmit",
            Kind::Closed => "drop",
        };
        let floor = self.floor(name)?;
        let (mut ours, mut floors) = (Vec::new(), Vec::new());
        for round in 1..=self.rounds {
            let [nothing, own, other] = self.round(case, &floor, round)?;
            ours.push(own - nothing);
            floors.push(other - nothing);
        }
        let place = (self.family().name(), case.flows);
        let row = Row::of("packet", &case.name(self.group.mode), place, "ns", &ours);
        Ok(row.beside(name, &ours, &floors))
    }

    /// The harness alone, the packet path and the floor, with the same packets.
    fn round(&mut self, case: Case, floor: &ProgramFd, round: u32) -> Result<[f64; 3]> {
        let packets = match case.kind {
            Kind::New | Kind::NewWhereFull => NEW_PACKETS,
            Kind::FirstOfTick => case.flows,
            Kind::Known | Kind::NotOurs | Kind::Closed => PACKETS,
        };
        let mut feed = case.feed(self.family(), self.director.mac);
        match case.kind {
            Kind::New | Kind::NewWhereFull => {
                feed.next = self.next_new;
                feed.end = u32::MAX;
                self.next_new += packets;
            }
            Kind::FirstOfTick => {}
            Kind::Known | Kind::NotOurs | Kind::Closed => {
                feed.random_mask = case.flows - 1;
                feed.random = round;
            }
        }
        let (ours, nothing) = (self.ours.try_clone()?, self.nothing.try_clone()?);
        Ok([
            self.run(case, &nothing, feed, packets)?,
            self.run_ours(case, &ours, feed, packets)?,
            self.run(case, floor, feed, packets)?,
        ])
    }

    /// Within a tick, so that no cell is written but those that the case is about.
    fn run_ours(&mut self, case: Case, ours: &ProgramFd, feed: Feed, packets: u32) -> Result<f64> {
        for _ in 0..8 {
            if case.kind == Kind::FirstOfTick {
                let before = tick()?;
                while tick()? == before {
                    pause(Duration::from_millis(1));
                }
            }
            let began_in = tick()?;
            let before = self.director.packets(case.kind.verdict())?;
            let nanoseconds = self.run(case, ours, feed, packets)?;
            let met = self.director.packets(case.kind.verdict())? - before;
            expect_nearly_all(case, packets + if warms(case) { case.flows } else { 0 }, met)?;
            if tick()? == began_in || matches!(case.kind, Kind::New | Kind::NewWhereFull) {
                return Ok(nanoseconds);
            }
        }
        None.context("find a tick that is long enough")
    }

    fn run(&mut self, case: Case, target: &ProgramFd, feed: Feed, packets: u32) -> Result<f64> {
        if warms(case) {
            let all = Feed { random_mask: 0, end: case.flows, next: 0, ..feed };
            self.feed("feed", target, all, case.flows)?;
        }
        let ran = self.feed("feed", target, feed, packets)?;
        ensure!(ran.missed * 50 < u64::from(packets), "{} flows are not in the floor", ran.missed);
        Ok(ran.nanoseconds)
    }

    fn fill_table(&mut self) -> Result<()> {
        let mut feed = Case { kind: Kind::New, flows: 0 }.feed(self.family(), self.director.mac);
        feed.next = self.next_new;
        feed.end = u32::MAX;
        let packets = 4 * self.group.max_flows;
        self.next_new += packets;
        let ours = self.ours.try_clone()?;
        self.feed("feed", &ours, feed, packets)?;
        let insert = self.floor("lru_insert")?;
        self.feed("feed", &insert, feed, packets)?;
        Ok(())
    }
}

/// A full table may have no place for a flow: one in a thousand is forgiven, and none elsewhere.
fn expect_nearly_all(case: Case, packets: u32, met: u64) -> Result<()> {
    let forgiven = if case.kind == Kind::NewWhereFull { packets / 1_000 } else { 0 };
    let verdict = case.kind.verdict().name();
    let expected = u64::from(packets - forgiven)..=u64::from(packets);
    ensure!(expected.contains(&met), "{met} of {packets} packets ended as {verdict}");
    Ok(())
}

/// Whether each flow is met once before the measurement.
fn warms(case: Case) -> bool {
    matches!(case.kind, Kind::Known)
}

/// The clock of the packet path.
fn tick() -> Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).context("read the clock")?;
    let nanoseconds = Duration::from(time).as_nanos();
    Ok(u64::try_from(nanoseconds)? >> TICK_SHIFT)
}
