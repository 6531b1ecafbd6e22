//! The packet path twice, in the kernel and on the host, with the same tables.

use std::collections::HashMap;

use aya::maps::PerCpuValues;
use std::sync::Arc;

use lb_agent::model::firewall::compile::{Compiled, Size};
use lb_common::cell::{Cell, MAX_TIMEOUT_TICKS, State, TICK_SHIFT};
use lb_common::layout::{CELLS_PER_BUCKET, Count, FragmentKey, FragmentWay};
use lb_common::verdict::Verdict;
use lb_ebpf::host::{HostFrame, HostTables};
use lb_ebpf::{Exit, Outcome};
use nix::time::{ClockId, clock_gettime};

use crate::packet_path::firewall::on_the_host;
use crate::packet_path::{PacketPath, Ran, cells, cells_of, traffic};
use crate::random::Random;

/// `XDP_DROP`, `XDP_PASS`, `XDP_TX` and `XDP_REDIRECT` of linux/bpf.h.
const DROP: u32 = 1;
const PASS: u32 = 2;
const TRANSMIT: u32 = 3;
const REDIRECT: u32 = 4;

/// Both of them.
pub struct Pair {
    host: HostTables,
    kernel: PacketPath,
}

/// A frame that comes in.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Its bytes.
    pub frame: Vec<u8>,
    /// The interface that it comes in by.
    pub interface: u32,
}

/// What both did with a frame.
#[derive(Clone, Debug)]
pub struct Sent {
    /// As it came.
    pub arrival: Arrival,
    /// What happened to it.
    pub outcome: Outcome,
    /// As it left.
    pub frame: Vec<u8>,
}

/// The clock of the packet path, `bpf_ktime_get_coarse_ns`, in ticks.
fn tick() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).unwrap();
    let nanoseconds = now.tv_sec() * 1_000_000_000 + now.tv_nsec();
    u64::try_from(nanoseconds).unwrap() >> TICK_SHIFT
}

fn action(exit: Exit) -> u32 {
    match exit {
        Exit::Pass => PASS,
        Exit::Drop => DROP,
        Exit::Transmit => TRANSMIT,
        Exit::Redirect(_) => REDIRECT,
    }
}

/// The same in milliseconds, by which the packet path limits its errors.
fn milliseconds() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).unwrap();
    u64::try_from(now.tv_sec() * 1_000 + now.tv_nsec() / 1_000_000).unwrap()
}

/// What the host does at a tick, with this rubbish in its memory for the packet.
fn on_host(host: &HostTables, arrival: &Arrival, tick: u64, rubbish: u8) -> (Outcome, Ran) {
    host.set_tick(tick);
    host.litter(rubbish);
    // The kernel has no route to anybody.
    let frame = HostFrame::new(&arrival.frame, arrival.interface).for_host();
    let (outcome, frame) = host.send(frame.amid(rubbish));
    (outcome, Ran { action: action(outcome.exit), frame: frame.bytes() })
}

impl Pair {
    /// Gives the kernel the tables of the host.
    pub fn new(host: HostTables) -> Self {
        let buckets = |tables: &HostTables| tables.cells().len() / CELLS_PER_BUCKET;
        let n_others = host.other.as_deref().map_or(1, buckets);
        let size = Size::for_prefixes(0);
        let mut kernel = PacketPath::load_beside(buckets(&host), n_others, size);
        kernel.install(&host);
        Self { host, kernel }
    }

    /// The same with other tables, to which the flows of this one move as their packets come.
    pub fn followed_by(self, mut tables: HostTables) -> Self {
        tables.settings.other_mask = self.host.settings.bucket_mask;
        tables.other = Some(Box::new(self.host));
        Self::new(tables)
    }

    /// How many flows are still in the table that was followed by this one.
    pub fn left_behind(&self) -> usize {
        let cells = self.host.other.as_ref().map(|other| other.cells()).unwrap_or_default();
        cells.iter().filter(|cell| cell.state().is_some() && !cell.is_moving()).count()
    }

    /// Gives both other rules, which all flows have to follow.
    pub fn guard(&mut self, rules: &Arc<Compiled>) {
        self.kernel.firewall.write(rules).unwrap();
        self.host.firewall = on_the_host(rules, 0);
        let settings = &mut self.host.settings;
        settings.generation = settings.generation % 3 + 1;
        self.kernel.settings.set(0, *settings, 0).unwrap();
    }

    /// Has both hold packets that only another director may know, from now on or no more.
    pub fn hold(&mut self, holds: bool) {
        self.host.held_until = if holds { u64::MAX } else { 0 };
        self.kernel.held_until.set(0, self.host.held_until, 0).unwrap();
    }

    /// Sends a frame to both and compares what they do: action, bytes and named verdict.
    pub fn send(&mut self, arrival: Arrival, rubbish: u8) -> Sent {
        let earliest = tick();
        let given = self.give_reports(u64::from(rubbish & 1));
        let ran = self.kernel.run(&arrival.frame, arrival.interface);
        self.host.set_may_report(given[0] != 0 || self.reports() != given);
        let tick = self.tick_of(earliest, &arrival, &ran);
        let (outcome, expected) = on_host(&self.host, &arrival, tick, rubbish);
        let verdict = outcome.verdict.number();
        assert!(
            expected == ran
                && self.kernel.verdict(verdict) == self.host.verdicts()[as_index(verdict)],
            "{arrival:02x?}\nhost: {outcome:?}\n{expected:02x?}\nkernel: {:?}\n{ran:02x?}",
            self.other_verdicts(&self.host),
        );
        Sent { arrival, outcome, frame: ran.frame }
    }

    /// Lets the kernel send so many errors in this millisecond.
    fn give_reports(&mut self, left: u64) -> [u64; 2] {
        let given = [left, milliseconds()];
        let n_cpus = self.kernel.reports.get(&0, 0).unwrap().len();
        let values = PerCpuValues::try_from(vec![given; n_cpus]).unwrap();
        self.kernel.reports.set(0, values, 0).unwrap();
        given
    }

    /// What the kernel has left of that; something else where a new millisecond has given it more.
    fn reports(&self) -> [u64; 2] {
        self.kernel.reports.get(&0, 0).unwrap()[0]
    }

    /// The tick that the kernel saw. Where it changed while the kernel worked, it is the one with which the
    /// host does what the kernel has done, to its counters and its flow table too.
    fn tick_of(&self, earliest: u64, arrival: &Arrival, ran: &Ran) -> u64 {
        let latest = tick();
        let is_the_one = |tick: &u64| {
            let trial = self.host.clone();
            on_host(&trial, arrival, *tick, 0).1 == *ran
                && self.other_verdicts(&trial).is_empty()
                && trial.cells() == cells(&self.kernel)
                && trial.fragments() == self.fragments()
        };
        if earliest == latest {
            return latest;
        }
        (earliest..=latest).find(is_the_one).unwrap_or(latest)
    }

    /// What the kernel remembers of first fragments.
    fn fragments(&self) -> HashMap<FragmentKey, FragmentWay> {
        self.kernel.fragments.iter().map(Result::unwrap).collect()
    }

    /// The verdicts of which the kernel has counted another number than the host.
    fn other_verdicts(&self, host: &HostTables) -> Vec<(Verdict, Count, Count)> {
        let host = host.verdicts();
        let counts = Verdict::ALL.iter().map(|verdict| {
            let number = verdict.number();
            (*verdict, self.kernel.verdict(number), host[as_index(number)])
        });
        counts.filter(|(_, kernel, host)| kernel != host).collect()
    }

    /// Lets all flows be idle for some more ticks.
    pub fn age(&mut self, ticks: u64) {
        self.change_buckets(|bucket, now| {
            for cell in bucket {
                if let Some(state) = cell.state() {
                    let idle = (cell.idle_ticks(now) + ticks).min(MAX_TIMEOUT_TICKS.into());
                    *cell = cell.seen(now.wrapping_sub(idle), state);
                }
            }
        });
    }

    /// Has a flow accepted by rules of another generation, or its sequence numbers rewritten.
    pub fn mark(&mut self, random: &mut Random) {
        self.change_buckets(|bucket, _| {
            let cell = &mut bucket[random.below(CELLS_PER_BUCKET)];
            if cell.state().is_some() && random.chance(10) {
                let translated = u64::from(random.chance(50)) << 36;
                *cell = Cell(cell.under(u16::from(random.chance(50))).0 | translated);
            }
        });
    }

    /// Fills most empty cells with open connections that no frame belongs to.
    pub fn crowd(&mut self, random: &mut Random) {
        self.change_buckets(|bucket, now| {
            for cell in bucket.iter_mut().filter(|cell| cell.is_empty()) {
                if random.chance(95) {
                    *cell = Cell::new(random.number(), 0, now, State::Established, false);
                }
            }
        });
    }

    /// Gives the tags of some flows to flows of other backends, as chance does once in 2^25 cases.
    pub fn collide(&mut self, random: &mut Random) {
        let n_backends = self.n_backends();
        self.change_buckets(|bucket, now| {
            let (of, at) = (random.below(bucket.len()), random.below(bucket.len()));
            if let (Some(state), true) = (bucket[of].state(), bucket[at].is_empty()) {
                let backend = u32::try_from(random.below(n_backends)).unwrap();
                bucket[at] = Cell::new(bucket[of].tag(), backend, now, state, random.chance(50));
            }
        });
    }

    fn change_buckets(&mut self, mut change: impl FnMut(&mut [Cell; CELLS_PER_BUCKET], u64)) {
        let now = tick();
        let mut cells = self.host.cells();
        let (buckets, _) = cells.as_chunks_mut::<CELLS_PER_BUCKET>();
        for (index, bucket) in (0..).zip(buckets) {
            change(bucket, now);
            self.kernel.flows.set(index, bucket.map(|cell| cell.0), 0).unwrap();
        }
        for (index, cell) in cells.into_iter().enumerate() {
            self.host.set_cell(index, cell);
        }
    }

    /// Number of backend ids.
    pub fn n_backends(&self) -> usize {
        self.host.backends.len()
    }

    /// Writes the state of a backend, as the agent does.
    pub fn set_state(&mut self, id: usize, state: u8) {
        self.host.backends[id].state = state;
        let index = u32::try_from(id).unwrap();
        self.kernel.backends.set(index, self.host.backends[id], 0).unwrap();
    }

    /// Compares what both have kept and counted.
    pub fn compare(&self) {
        let cells: Vec<Cell> = cells(&self.kernel);
        assert_eq!(cells, self.host.cells(), "cells");
        let details: Vec<_> = self.kernel.details.iter().map(Result::unwrap).collect();
        assert!(details == self.host.details(), "details");
        if let Some(other) = &self.host.other {
            assert_eq!(cells_of(&self.kernel.others), other.cells(), "cells of the other table");
        }
        assert_eq!(self.other_verdicts(&self.host), [], "verdicts");
        assert_eq!(self.fragments(), self.host.fragments(), "fragments");
        let drawn = self.kernel.sources_drawn.get(&0, 0).unwrap()[0];
        assert_eq!(drawn, self.host.sources_drawn(), "sources of full NAT");
        for id in 0..u32::try_from(self.host.listeners.len()).unwrap() {
            let drawn = self.kernel.cursors.get(&id, 0).unwrap().drawn;
            assert_eq!(drawn, self.host.drawn(id), "cursor {id}");
            let counted = traffic(&self.kernel.listener_traffic, id);
            assert_eq!(counted, self.host.traffic_of_listener(id), "listener {id}");
        }
        for id in 0..u32::try_from(self.n_backends()).unwrap() {
            let counted = traffic(&self.kernel.backend_traffic, id);
            assert_eq!(counted, self.host.traffic_of_backend(id), "backend {id}");
            assert_eq!(self.kernel.loads.get(&id, 0).unwrap(), self.host.load_of(id), "load {id}");
        }
    }
}

fn as_index(number: u32) -> usize {
    usize::try_from(number).unwrap()
}
