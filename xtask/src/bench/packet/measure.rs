//! Rounds in which the packet path and its floor take turns.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::programs::ProgramFd;
use lb_agent::io::clock::tick;
use lb_common::bench::Feed;
use lb_tests::clock::wait_until;

use super::super::budget::Budget;
use super::super::director::Director;
use super::super::feed::Family;
use super::super::harness::{Harness, Ran};
use super::super::results::Results;
use super::super::row::Row;
use super::cases::{Case, Floor, Group, Kind, LRU_INSERT};

/// Numbers of flows from which new ones are taken; established ones have less.
const FIRST_NEW: u32 = 1 << 23;

/// Packets of a value. Of new flows fewer, so that the table stays half empty.
const PACKETS: u32 = 1_000_000;
const QUICK_PACKETS: u32 = 300_000;
const NEW_PACKETS: u32 = 25_000;
/// What is fed at once where there are more flows than packets: a stretch, and before it what warms it, take a small part
/// of a tick.
const STRETCH: u32 = 250_000;

/// What is fed, and how many packets of it.
type Fed = (Feed, u32);

/// The director, what is compared with it, and what they are fed.
struct Bench<'g> {
    group: &'g Group,
    director: Director,
    harness: Harness,
    ours: ProgramFd,
    nothing: ProgramFd,
    next_new: u32,
    packets: u32,
}

/// Measures the cases of a group, in the namespace `name` with its interface.
pub(crate) fn measure(
    name: &str,
    group: &Group,
    (is_quick, budget): (bool, Budget),
    results: &mut Results,
) -> Result<()> {
    let director = Director::start(name, group.mode.name, group.max_flows)?;
    let harness = Harness::load(&[(group.family, 2 * group.max_flows)])?;
    let ours = director.program()?;
    let nothing = harness.program_fd("floor_nothing")?;
    let packets = if is_quick { QUICK_PACKETS } else { PACKETS };
    let mut bench = Bench { group, director, harness, ours, nothing, next_new: FIRST_NEW, packets };
    budget.step()?;
    bench.open_connections()?;
    let named = |case: &Case| (format!("{} {}", case.name(group.mode), case.flows), *case);
    let cases = group.cases.iter().map(named).collect();
    results.of_each(
        budget,
        cases,
        |case| case.weight(),
        |results, budget, case| {
            results.rows.extend(bench.case(case, budget)?);
            Ok(())
        },
    );
    Ok(())
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
        self.director.expect_flows(flows)?;
        let mut feed = Case { kind: Kind::Known, flows }.feed(family, self.director.mac);
        feed.end = flows;
        let insert = self.floor(LRU_INSERT)?;
        self.feed("feed", &insert, feed, flows)?;
        Ok(())
    }

    fn floor(&self, floor: Floor) -> Result<ProgramFd> {
        let (program, family) = (floor.program, self.family().suffix());
        let name = if floor.by_family { format!("{program}_{family}") } else { program.to_owned() };
        self.harness.program_fd(&name)
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

    /// A row for each floor.
    fn case(&mut self, case: Case, budget: Budget) -> Result<Vec<Row>> {
        if case.kind == Kind::NewWhereFull {
            self.fill_table()?;
        }
        let floors = case.floors(self.group.mode);
        let programs: Vec<_> =
            floors.iter().map(|floor| self.floor(*floor)).collect::<Result<_>>()?;
        let mut ours = Vec::new();
        let mut others = vec![Vec::new(); floors.len()];
        for round in budget.rounds(7, 5) {
            let feeds = self.next_feeds(case, round);
            let nothing = self.nothing.try_clone()?;
            let nothing = mean(&feeds, |fed| self.run(case, &nothing, fed))?;
            ours.push(mean(&feeds, |fed| self.run_ours(case, fed, budget))? - nothing);
            for (program, values) in programs.iter().zip(&mut others) {
                values.push(mean(&feeds, |fed| self.run(case, program, fed))? - nothing);
            }
        }
        let place = (self.family().name(), case.flows);
        let row = Row::of("packet", &case.name(self.group.mode), place, "ns", &ours);
        let rows = floors.iter().zip(&others);
        Ok(rows.map(|(floor, values)| row.clone().beside(floor.name, &ours, values)).collect())
    }

    /// What is fed in a round, stretch by stretch.
    fn next_feeds(&mut self, case: Case, round: u32) -> Vec<Fed> {
        let feed = case.feed(self.family(), self.director.mac);
        match case.kind {
            Kind::New | Kind::NewWhereFull => {
                let next = self.next_new;
                self.next_new += NEW_PACKETS;
                vec![(Feed { next, end: u32::MAX, ..feed }, NEW_PACKETS)]
            }
            Kind::FirstOfTick => vec![(feed, case.flows)],
            Kind::Known | Kind::NotOurs | Kind::Closed => {
                let (stretches, packets) = if is_in_stretches(case) {
                    (PACKETS / STRETCH, STRETCH)
                } else {
                    (1, self.packets.max(case.flows.min(PACKETS)))
                };
                let seeds = (0..stretches).map(|stretch| round * stretches + stretch);
                let feed = |random| Feed { random_mask: case.flows - 1, random, ..feed };
                seeds.map(|seed| (feed(seed), packets)).collect()
            }
        }
    }

    /// Within a tick, so that no cell is written but those that the case is about.
    fn run_ours(&mut self, case: Case, fed: Fed, budget: Budget) -> Result<f64> {
        let ours = self.ours.try_clone()?;
        for attempt in 0..8 {
            budget.step()?;
            if case.kind == Kind::FirstOfTick || attempt > 0 {
                wait_for_tick()?;
            }
            let began_in = tick();
            let before = self.director.packets(case.kind.verdict())?;
            let nanoseconds = self.run(case, &ours, fed)?;
            let met = self.director.packets(case.kind.verdict())? - before;
            let warming: u32 = warming(case, fed).iter().map(|(_, packets)| packets).sum();
            expect_nearly_all(case, fed.1 + warming, met)?;
            if tick() == began_in || matches!(case.kind, Kind::New | Kind::NewWhereFull) {
                return Ok(nanoseconds);
            }
        }
        None.context("measure within a tick, 8 times in vain; the machine is too busy")
    }

    fn run(&mut self, case: Case, target: &ProgramFd, fed: Fed) -> Result<f64> {
        for (feed, packets) in warming(case, fed) {
            self.feed("feed", target, feed, packets)?;
        }
        let n_packets = fed.1;
        let ran = self.feed("feed", target, fed.0, n_packets)?;
        let is_as_fed = ran.missed * 50 < u64::from(n_packets);
        ensure!(is_as_fed, "{} packets were answered, or their flows not in the floor", ran.missed);
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
        let insert = self.floor(LRU_INSERT)?;
        self.feed("feed", &insert, feed, packets)?;
        Ok(())
    }
}

/// Packets of the kernel's own, such as those that look for IPv6 neighbours, that may meet the program too.
const STRAYS: u32 = 100;

/// A full table may have no place for a flow: one in a thousand is forgiven, and none elsewhere.
fn expect_nearly_all(case: Case, packets: u32, met: u64) -> Result<()> {
    let forgiven = if case.kind == Kind::NewWhereFull { packets / 1_000 } else { 0 };
    let verdict = case.kind.verdict().name();
    let expected = u64::from(packets - forgiven)..=u64::from(packets + STRAYS);
    ensure!(expected.contains(&met), "{met} of {packets} packets ended as {verdict}");
    Ok(())
}

/// Whether a value is the mean of stretches.
fn is_in_stretches(case: Case) -> bool {
    case.kind == Kind::Known && case.flows > PACKETS
}

/// What is fed before a stretch is measured, so that its flows were seen in this tick: each flow once, in their order.
/// Where they are too many, what is to be measured, and then as much of other flows, which takes its place in the caches.
fn warming(case: Case, (feed, packets): Fed) -> Vec<Fed> {
    if case.kind != Kind::Known {
        Vec::new()
    } else if is_in_stretches(case) {
        vec![(feed, packets), (Feed { random: !feed.random, ..feed }, packets)]
    } else {
        vec![(Feed { random_mask: 0, ..feed }, case.flows)]
    }
}

/// The mean of what the stretches of a round give.
fn mean(feeds: &[Fed], mut run: impl FnMut(Fed) -> Result<f64>) -> Result<f64> {
    let values: Vec<_> = feeds.iter().map(|fed| run(*fed)).collect::<Result<_>>()?;
    let n = u32::try_from(values.len())?;
    Ok(values.iter().sum::<f64>() / f64::from(n))
}

fn wait_for_tick() -> Result<()> {
    let before = tick();
    wait_until("the next tick", Duration::from_secs(10), || Ok(tick() != before))
}
