//! Rounds in which a judging packet path, one without rules and the kernel's trie take turns.

use anyhow::{Result, ensure};
use aya::programs::ProgramFd;
use lb_common::bench::Feed;
use lb_tests::namespace::Namespace;
use lb_tests::stale;

use super::super::budget::Budget;
use super::super::director::{Director, NIC};
use super::super::feed::spread;
use super::super::harness::Harness;
use super::super::row::Row;
use super::super::stay_on_one_cpu;
use super::cases::{Case, Group, SOURCES};

/// Packets of a run.
const PACKETS: u32 = 1 << 19;
const QUICK_PACKETS: u32 = 1 << 18;
/// Packets of the kernel's own that may meet the program too.
pub(super) const STRAYS: u64 = 100;
const MAX_FLOWS: u32 = 1 << 10;

/// A packet path in a namespace of its own.
pub(super) struct Place {
    pub(super) director: Director,
    pub(super) namespace: Namespace,
}

impl Place {
    pub(super) fn new(what: &str) -> Result<Self> {
        let namespace = Namespace::create(&format!("{}-{what}", stale::unique_name()))?;
        namespace.ip(&format!(
            "link add {NIC} type veth peer name peer\nlink set {NIC} up\nlink set peer up"
        ))?;
        let name = namespace.name().to_owned();
        let director = namespace.enter(|| Director::start(&name, "nat", MAX_FLOWS))??;
        Ok(Self { director, namespace })
    }
}

/// What takes turns.
pub(super) struct Bench {
    ours: Place,
    empty: Place,
    harness: Harness,
    packets: u32,
    next: u32,
}

/// Nanoseconds of all rounds.
#[derive(Default)]
struct Turns {
    ours: Vec<f64>,
    empty: Vec<f64>,
    trie: Vec<f64>,
}

impl Bench {
    /// Prepares all for a group.
    pub(super) fn new(group: &Group, quick: bool) -> Result<Self> {
        let (mut ours, empty) = (Place::new("ours")?, Place::new("empty")?);
        let Place { director, namespace } = &mut ours;
        namespace.enter(|| director.judge_by(&group.firewall, &group.sets))??;
        let n_prefixes = u32::try_from(group.prefixes.len())?;
        let mut harness = Harness::load_to_spread(group.family, n_prefixes, SOURCES)?;
        harness.learn(group.family, &group.prefixes)?;
        let packets = if quick { QUICK_PACKETS } else { PACKETS };
        Ok(Self { ours, empty, harness, packets, next: 0 })
    }

    /// What a case comes to, over a packet path without rules.
    pub(super) fn case(&mut self, case: &Case, has_trie: bool, budget: Budget) -> Result<Row> {
        self.harness.come_from(&case.sources)?;
        let mut turns = Turns::default();
        // This one only warms the caches.
        self.turn(case, has_trie)?;
        for _ in budget.rounds(15, 5) {
            budget.step()?;
            let mut turn = self.turn(case, has_trie)?;
            turns.ours.append(&mut turn.ours);
            turns.empty.append(&mut turn.empty);
            turns.trie.append(&mut turn.trie);
        }
        let over = over(&turns.ours, &turns.empty);
        let place = (case.family.name(), 0);
        let row = Row::of("firewall", &case.name, place, "ns", &over);
        Ok(if has_trie { row.beside("LPM trie", &over, &turns.trie) } else { row })
    }

    fn turn(&mut self, case: &Case, has_trie: bool) -> Result<Turns> {
        let mut turn = Turns::default();
        let floor = |harness: &Harness, name: &str| {
            harness.program_fd(&format!("{name}_{}", case.family.suffix()))
        };
        let ours = self.ours.director.program()?;
        let before = self.ours.director.packets(case.verdict)?;
        turn.ours.push(self.run(case, &ours, true)?);
        let met = self.ours.director.packets(case.verdict)? - before;
        let all = u64::from(self.packets);
        ensure!(
            (all..=all + STRAYS).contains(&met),
            "{met} of {all} packets ended as {}",
            case.verdict.name()
        );
        let empty = self.empty.director.program()?;
        turn.empty.push(self.run(case, &empty, false)?);
        if has_trie {
            let (trie, parse) =
                (floor(&self.harness, "floor_lpm")?, floor(&self.harness, "floor_transmit")?);
            let with = self.run(case, &trie, false)?;
            turn.trie.push(with - self.run(case, &parse, false)?);
        }
        self.next = (self.next + self.packets) % SOURCES;
        Ok(turn)
    }

    fn run(&mut self, case: &Case, target: &ProgramFd, is_ours: bool) -> Result<f64> {
        let Place { director, namespace } = if is_ours { &self.ours } else { &self.empty };
        let ports = ((case.port, 1), SOURCES);
        let feed = spread(case.family, director.mac, case.family.elsewhere(), ports);
        let feed = Feed { next: self.next, ..feed };
        let (harness, packets, interface) = (&mut self.harness, self.packets, director.interface);
        let ran = namespace.enter(|| {
            stay_on_one_cpu()?;
            harness.run(("spread", case.family), target, feed, (packets, interface))
        })??;
        Ok(ran.nanoseconds)
    }
}

fn over(ours: &[f64], empty: &[f64]) -> Vec<f64> {
    ours.iter().zip(empty).map(|(ours, empty)| ours - empty).collect()
}
