//! The loaded programs of the bench: they feed packets, or are what is compared with.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, MapData, PerCpuArray, ProgramArray};
use aya::programs::xdp::XdpMode;
use aya::programs::{ProgramFd, TestRun, TestRunAttrs, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use ipnet::IpNet;
use lb_common::bench::Feed;
use lb_tests::link::End;

use super::feed::Family;

/// The programs as the repository keeps them built.
const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../lb-ebpf/object/bench.bpf.o"
));

/// Harness and floors.
pub(crate) struct Harness {
    loaded: Ebpf,
    feed: Array<MapData, Feed>,
    target: ProgramArray<MapData>,
    arrived: PerCpuArray<MapData, u64>,
    sources: Array<MapData, [u64; 2]>,
}

/// Frames of one batch, so that no queue of 256 (`VETH_RING_SIZE` in drivers/net/veth.c) overflows.
const BATCH: u32 = 64;

/// How a run went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ran {
    /// Nanoseconds for each packet, the harness included.
    pub(crate) nanoseconds: f64,
    /// See [`Feed::missed`].
    pub(crate) missed: u64,
}

impl Harness {
    /// Loads the programs, with floors that remember this many flows of each family.
    pub(crate) fn load(flows: &[(Family, u32)]) -> Result<Self> {
        Self::load_with(flows.iter().map(|(family, flows)| (family.map("LRU"), *flows)))
    }

    /// Loads the programs, with a trie that has room for so many prefixes, and so many sources to come from.
    pub(crate) fn load_to_spread(family: Family, prefixes: u32, sources: u32) -> Result<Self> {
        Self::load_with([(family.map("LPM"), prefixes.max(1)), ("SOURCES".to_owned(), sources)])
    }

    fn load_with(entries: impl IntoIterator<Item = (String, u32)>) -> Result<Self> {
        let mut preparation = EbpfLoader::new();
        let entries: Vec<_> = entries.into_iter().collect();
        for (name, count) in &entries {
            preparation.map_max_entries(name, *count);
        }
        let mut loaded = preparation.load(OBJECT).context("load the programs of the bench")?;
        let feed = loaded.take_map("FEED").context("find the feed")?.try_into()?;
        let target = loaded.take_map("TARGET").context("find the target")?.try_into()?;
        let arrived = loaded.take_map("ARRIVED").context("find the sink's counter")?.try_into()?;
        let sources = loaded.take_map("SOURCES").context("find the sources")?.try_into()?;
        for (name, program) in loaded.programs_mut() {
            let program: &mut Xdp = program.try_into()?;
            program.load().with_context(|| format!("load {name}"))?;
        }
        Ok(Self { loaded, feed, target, arrived, sources })
    }

    /// Has packets of the feeder `spread` come from these addresses.
    pub(crate) fn come_from(&mut self, sources: &[[u64; 2]]) -> Result<()> {
        for (index, source) in (0..).zip(sources) {
            self.sources.set(index, source, 0).context("list a source")?;
        }
        Ok(())
    }

    /// Puts prefixes into the trie of their family.
    pub(crate) fn learn(&mut self, family: Family, prefixes: &[IpNet]) -> Result<()> {
        let map = self.loaded.map_mut(&family.map("LPM")).context("find the trie")?;
        match family {
            Family::V4 => {
                let mut trie: LpmTrie<_, u32, u32> = map.try_into()?;
                for prefix in prefixes {
                    if let IpNet::V4(net) = prefix {
                        let bits = net.network().to_bits().to_be();
                        trie.insert(&Key::new(net.prefix_len().into(), bits), 1, 0)?;
                    }
                }
            }
            Family::V6 => {
                let mut trie: LpmTrie<_, [u8; 16], u32> = map.try_into()?;
                for prefix in prefixes {
                    if let IpNet::V6(net) = prefix {
                        let bytes = net.network().octets();
                        trie.insert(&Key::new(net.prefix_len().into(), bytes), 1, 0)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A program to be put to the test, by its name.
    pub(crate) fn program_fd(&self, name: &str) -> Result<ProgramFd> {
        Ok(self.program(name)?.fd()?.try_clone()?)
    }

    fn program(&self, name: &str) -> Result<&Xdp> {
        let program = self.loaded.program(name).with_context(|| format!("find {name}"))?;
        Ok(program.try_into()?)
    }

    /// Feeds `packets` packets that come in by an interface to a program.
    pub(crate) fn run(
        &mut self,
        (feeder, family): (&'static str, Family),
        target: &ProgramFd,
        feed: Feed,
        (packets, interface): (u32, u32),
    ) -> Result<Ran> {
        self.target.set(0, target, 0).context("set the program under test")?;
        self.feed.set(0, feed, 0).context("set the feed")?;
        let run = Run { program: (feeder, family), packets, interface };
        let duration = self.test_run(run, TestRunAttrs::new())?;
        let missed = self.feed.get(&0, 0).context("read the feed")?.missed;
        ensure!(missed < u64::from(packets).max(2), "the program under test was never called");
        let nanoseconds = f64::from(u32::try_from(duration.as_nanos())?);
        Ok(Ran { nanoseconds, missed })
    }

    /// Sends live frames out of an interface of this namespace.
    ///
    /// The kernel sends what returns `XDP_TX`, and uses its pages again: the feed writes every byte anew.
    pub(crate) fn send(
        &mut self,
        (feeder, family): (&'static str, Family),
        feed: Feed,
        (packets, interface): (u32, u32),
    ) -> Result<()> {
        let transmit = self.program_fd("floor_nothing")?;
        self.target.set(0, &transmit, 0).context("set the program that sends")?;
        self.feed.set(0, feed, 0).context("set the feed")?;
        let run = Run { program: (feeder, family), packets, interface };
        self.test_run(run, TestRunAttrs::new().xdp_live_frames(BATCH)).map(drop)
    }

    fn test_run(&self, run: Run, attrs: TestRunAttrs) -> Result<Duration> {
        let Run { program: (feeder, family), packets, interface } = run;
        let frame = vec![0; family.length()];
        let end = u32::try_from(frame.len())?;
        // `struct xdp_md` of linux/bpf.h.
        let context: Vec<u8> =
            [0, end, 0, interface, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
        let program = self.program(&format!("{feeder}_{}", family.suffix()))?;
        let result = program.test_run(TestRunOptions {
            data_in: Some(&frame),
            ctx_in: Some(&context),
            repeat: packets,
            attrs,
            ..TestRunOptions::default()
        });
        Ok(result.with_context(|| format!("run {feeder} {packets} times"))?.duration)
    }

    /// Attaches `sink` or a floor for both families to an interface, as long as this value lives.
    pub(crate) fn attach(&mut self, name: &str, end: End<'_>) -> Result<()> {
        let program = self.loaded.program_mut(name).with_context(|| format!("find {name}"))?;
        let program: &mut Xdp = program.try_into()?;
        end.namespace
            .enter(|| program.attach(end.interface, XdpMode::Driver))?
            .with_context(|| format!("attach {name} to {}", end.interface))?;
        Ok(())
    }

    /// Packets that have met `sink`.
    pub(crate) fn arrived(&self) -> Result<u64> {
        Ok(self.arrived.get(&0, 0).context("read what arrived")?.iter().sum())
    }
}

/// A feeder, how often it runs, and the interface that it runs at.
#[derive(Clone, Copy)]
struct Run {
    program: (&'static str, Family),
    packets: u32,
    interface: u32,
}
