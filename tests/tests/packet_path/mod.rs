//! The shipped object in the kernel, run on single frames (`BPF_PROG_TEST_RUN`), attached to nothing.

pub mod firewall;
pub mod frames;
pub mod shop;

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, ProgramArray};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use lb_agent::io::datapath::{FirewallMaps, OBJECT, firewall_entries, set_stages};
use lb_agent::model::firewall::compile::Size;
use lb_common::cell::Cell;
use lb_common::layout::guard::Guard;
use lb_common::layout::{
    Backend, Bucket, CELLS_PER_BUCKET, Count, Cursor, Detail, FragmentKey, FragmentWay, Interface,
    Listener, ListenerKeyV4, ListenerKeyV6, Load, Settings, Slot, Traffic, Vip,
};
use lb_common::map;
use lb_ebpf::host::HostTables;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// What lies before every frame: the kernel moves it along when the start moves, and leaves a copy of it in
/// bytes that the frame gained and nobody wrote. It is longer than what any frame gains.
const BEFORE: [u8; 64] = [0xa5; 64];

/// The verifier's limit is a million (`BPF_COMPLEXITY_LIMIT_INSNS` in linux/bpf.h); other kernels verify
/// more or less of the same program than this one, so half of it is left free.
const MOST_VERIFIED: u32 = 500_000;

/// The program and its maps.
pub struct PacketPath {
    loaded: Ebpf,
    /// Held, for else the kernel empties it.
    _stages: ProgramArray<MapData>,
    pub settings: Array<MapData, Settings>,
    pub listeners_v4: HashMap<MapData, ListenerKeyV4, u32>,
    pub listeners_v6: HashMap<MapData, ListenerKeyV6, u32>,
    pub vips_v4: HashMap<MapData, u32, Vip>,
    pub vips_v6: HashMap<MapData, [u32; 4], Vip>,
    pub listeners: Array<MapData, Listener>,
    pub slots: Array<MapData, Slot>,
    pub loads: Array<MapData, Load>,
    pub backends: Array<MapData, Backend>,
    pub cursors: Array<MapData, Cursor>,
    pub guards: Array<MapData, Guard>,
    pub flows: Array<MapData, Bucket>,
    pub details: Array<MapData, Detail>,
    /// The other flow table.
    pub others: Array<MapData, Bucket>,
    pub other_details: Array<MapData, Detail>,
    pub interfaces: Array<MapData, Interface>,
    pub filter: Array<MapData, u64>,
    pub verdicts: PerCpuArray<MapData, Count>,
    pub listener_traffic: PerCpuArray<MapData, Traffic>,
    pub backend_traffic: PerCpuArray<MapData, Traffic>,
    pub fragments: HashMap<MapData, FragmentKey, FragmentWay>,
    pub sources_drawn: PerCpuArray<MapData, u64>,
    /// By number of a rule's counter.
    pub rule_counts: PerCpuArray<MapData, Count>,
    pub firewall: FirewallMaps,
    /// Errors that may still be sent, and when some were last given, in milliseconds of the coarse clock.
    pub reports: PerCpuArray<MapData, [u64; 2]>,
    /// Until when packets are held that only another director may know, in nanoseconds of the coarse clock.
    pub held_until: Array<MapData, u64>,
}

/// What became of a frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Ran {
    /// An XDP action.
    pub action: u32,
    /// The frame as it leaves.
    pub frame: Vec<u8>,
}

impl PacketPath {
    /// Loads the object, with a flow table of this many buckets.
    pub fn load(n_buckets: usize) -> Self {
        Self::load_with(n_buckets, Size::for_prefixes(0))
    }

    /// The same, with a firewall of this size.
    pub fn load_with(n_buckets: usize, size: Size) -> Self {
        Self::load_beside(n_buckets, 1, size)
    }

    /// The same, with so many buckets of another flow table too, that flows come from.
    pub fn load_beside(n_buckets: usize, n_others: usize, size: Size) -> Self {
        let mut preparation = EbpfLoader::new();
        let entries = |count: usize| u32::try_from(count).unwrap();
        let tables = [
            (map::FLOWS, map::DETAILS, n_buckets),
            (map::OTHER_FLOWS, map::OTHER_DETAILS, n_others),
        ];
        for (flows, details, n_buckets) in tables {
            preparation.map_max_entries(flows, entries(n_buckets));
            preparation.map_max_entries(details, entries(n_buckets * CELLS_PER_BUCKET));
        }
        for (name, count) in firewall_entries(size) {
            preparation.map_max_entries(name, count);
        }
        let mut loaded = preparation.load(OBJECT).expect("these tests need root");
        let stages = set_stages(&mut loaded).unwrap();
        for name in ["sluice", "sluice_handover"] {
            let program: &mut Xdp = loaded.program_mut(name).unwrap().try_into().unwrap();
            program.load().unwrap();
        }
        Self {
            settings: take(&mut loaded, map::SETTINGS),
            listeners_v4: take(&mut loaded, map::LISTENERS_V4),
            listeners_v6: take(&mut loaded, map::LISTENERS_V6),
            vips_v4: take(&mut loaded, map::VIPS_V4),
            vips_v6: take(&mut loaded, map::VIPS_V6),
            listeners: take(&mut loaded, map::LISTENERS),
            slots: take(&mut loaded, map::SLOTS),
            loads: take(&mut loaded, map::LOADS),
            backends: take(&mut loaded, map::BACKENDS),
            cursors: take(&mut loaded, map::CURSORS),
            guards: take(&mut loaded, map::GUARDS),
            flows: take(&mut loaded, map::FLOWS),
            details: take(&mut loaded, map::DETAILS),
            others: take(&mut loaded, map::OTHER_FLOWS),
            other_details: take(&mut loaded, map::OTHER_DETAILS),
            interfaces: take(&mut loaded, map::INTERFACES),
            filter: take(&mut loaded, map::FILTER),
            verdicts: take(&mut loaded, map::VERDICTS),
            listener_traffic: take(&mut loaded, map::LISTENER_TRAFFIC),
            backend_traffic: take(&mut loaded, map::BACKEND_TRAFFIC),
            fragments: take(&mut loaded, map::FRAGMENTS),
            sources_drawn: take(&mut loaded, map::SOURCES_DRAWN),
            reports: take(&mut loaded, map::REPORTS),
            held_until: take(&mut loaded, map::HELD_UNTIL),
            rule_counts: take(&mut loaded, map::RULE_COUNTS),
            firewall: FirewallMaps::of(|name| Ok(take_data(&mut loaded, name)), size).unwrap(),
            loaded,
            _stages: stages,
        }
    }

    /// Fills the maps with what these tables hold, the other flow table too; not their own and the counters.
    pub fn install(&mut self, tables: &HostTables) {
        if let Some(other) = &tables.other {
            let cells = other.cells();
            let (buckets, _) = cells.as_chunks::<CELLS_PER_BUCKET>();
            for (index, bucket) in (0..).zip(buckets) {
                self.others.set(index, bucket.map(|cell| cell.0), 0).unwrap();
            }
            for (index, detail) in (0..).zip(other.details()) {
                self.other_details.set(index, detail, 0).unwrap();
            }
        }
        self.settings.set(0, tables.settings, 0).unwrap();
        for (address, vip) in &tables.vips_v4 {
            self.vips_v4.insert(address, vip, 0).unwrap();
        }
        for (address, vip) in &tables.vips_v6 {
            self.vips_v6.insert(address, vip, 0).unwrap();
        }
        for (key, id) in &tables.listener_ids_v4 {
            self.listeners_v4.insert(key, id, 0).unwrap();
        }
        for (key, id) in &tables.listener_ids_v6 {
            self.listeners_v6.insert(key, id, 0).unwrap();
        }
        for (word, bits) in tables.marks() {
            let others = self.filter.get(&word, 0).unwrap();
            self.filter.set(word, others | bits, 0).unwrap();
        }
        for (index, interface) in &tables.interfaces {
            self.interfaces.set(Interface::place(*index, 0), interface, 0).unwrap();
        }
        for (index, slot) in (0..).zip(&tables.slots) {
            self.slots.set(index, slot, 0).unwrap();
        }
        for (id, listener) in (0..).zip(&tables.listeners) {
            self.listeners.set(id, listener, 0).unwrap();
        }
        for (id, backend) in (0..).zip(&tables.backends) {
            self.backends.set(id, backend, 0).unwrap();
            self.loads.set(id, tables.load_of(id), 0).unwrap();
        }
    }

    /// A map that is not among those above.
    pub fn map<M: TryFrom<Map>>(&mut self, name: &str) -> M {
        take(&mut self.loaded, name)
    }

    /// The program.
    pub fn program(&self) -> &Xdp {
        self.loaded.program("sluice").unwrap().try_into().unwrap()
    }

    /// The program, and the maps of its firewall, which may be written while it runs.
    pub fn with_firewall(&mut self) -> (&Xdp, &mut FirewallMaps) {
        (self.loaded.program("sluice").unwrap().try_into().unwrap(), &mut self.firewall)
    }

    /// Prints how large its programs are, and holds them to the verifier's limit.
    pub fn check_sizes(&self) {
        let stages = ["sluice_cookies", "sluice_firewall", "sluice_handover", "sluice_second"];
        check_sizes(&self.loaded, &[&["sluice"], &stages[..]].concat());
    }

    /// Runs the program on a frame that comes in by an interface of this network namespace.
    pub fn run(&self, frame: &[u8], interface: u32) -> Ran {
        run(self.program(), frame, interface)
    }

    /// What all CPUs counted of a verdict.
    pub fn verdict(&self, number: u32) -> Count {
        counted(&self.verdicts, number)
    }
}

/// Prints how large the programs of an object are, which are these, and holds them to the verifier's limit.
pub fn check_sizes(loaded: &Ebpf, names: &[&str]) {
    let mut programs: Vec<_> = loaded.programs().collect();
    programs.sort_by_key(|(name, _)| *name);
    assert_eq!(programs.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
    for (name, program) in programs {
        let info = program.info().unwrap();
        let verified = info.verified_instruction_count().unwrap();
        println!(
            "{name}: {} instructions, {verified} verified, {} bytes of machine code",
            info.size_translated().unwrap() / 8,
            info.size_jitted(),
        );
        assert!(verified > 0, "the kernel says nothing of {name}");
        assert!(verified <= MOST_VERIFIED, "{verified} instructions of {name} were verified");
    }
}

/// What all CPUs counted at a number.
pub fn counted(of: &PerCpuArray<MapData, Count>, number: u32) -> Count {
    let mut sum = Count::default();
    for count in of.get(&number, 0).unwrap().iter() {
        sum.packets += count.packets;
        sum.bytes += count.bytes;
    }
    sum
}

/// All cells of the flow table.
pub fn cells(path: &PacketPath) -> Vec<Cell> {
    cells_of(&path.flows)
}

/// All cells of a flow table.
pub fn cells_of(flows: &Array<MapData, Bucket>) -> Vec<Cell> {
    flows.iter().flat_map(|bucket| bucket.unwrap().map(Cell)).collect()
}

/// What all CPUs counted at an id of a listener or a backend.
pub fn traffic(of: &PerCpuArray<MapData, Traffic>, id: u32) -> Traffic {
    let mut sum = Traffic::default();
    for traffic in of.get(&id, 0).unwrap().iter() {
        for (sum, count) in [(&mut sum.forward, traffic.forward), (&mut sum.reply, traffic.reply)] {
            sum.packets += count.packets;
            sum.bytes += count.bytes;
        }
        sum.flows += traffic.flows;
        sum.dropped += traffic.dropped;
    }
    sum
}

/// Keeps this thread on a CPU, whose counters and scratch memory are then the only ones that are used.
pub fn pin_to_cpu(cpu: usize) {
    let mut cpus = CpuSet::new();
    cpus.set(cpu).unwrap();
    sched_setaffinity(Pid::from_raw(0), &cpus).unwrap();
}

/// Takes a map out of an object.
pub fn take<M: TryFrom<Map>>(loaded: &mut Ebpf, name: &str) -> M {
    let map = loaded.take_map(name).unwrap();
    M::try_from(map).ok().unwrap()
}

fn take_data(loaded: &mut Ebpf, name: &str) -> MapData {
    match loaded.take_map(name) {
        Some(Map::Array(data) | Map::HashMap(data)) => data,
        _ => panic!("{name} is no array or hash map"),
    }
}

/// `struct xdp_md` of linux/bpf.h: where metadata ends and the frame begins, where the frame ends, where
/// metadata begins, the interface and its queue, and an interface that XDP programs of another kind have.
fn context(length: usize, interface: u32) -> Vec<u8> {
    let start = u32::try_from(BEFORE.len()).unwrap();
    let end = u32::try_from(length).unwrap();
    [start, end, 0, interface, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect()
}

/// Runs a program on a frame that comes in by an interface of this network namespace.
pub fn run(program: &Xdp, frame: &[u8], interface: u32) -> Ran {
    let input = [&BEFORE, frame].concat();
    let context = context(input.len(), interface);
    let mut output = vec![0; input.len() + 64];
    let result = program
        .test_run(TestRunOptions {
            data_in: Some(&input),
            data_out: Some(&mut output),
            ctx_in: Some(&context),
            ..TestRunOptions::default()
        })
        .unwrap();
    output.truncate(usize::try_from(result.data_size_out).unwrap());
    let frame = output.split_off(BEFORE.len());
    assert_eq!(output, BEFORE, "the kernel moves it along");
    Ran { action: result.return_value, frame }
}

/// The same so many times, without a look at what becomes of the frame, which has to stay as it is.
pub fn run_often(program: &Xdp, frame: &[u8], interface: u32, times: usize) {
    let context: Vec<u8> = [0, u32::try_from(frame.len()).unwrap(), 0, interface, 0, 0]
        .into_iter()
        .flat_map(u32::to_ne_bytes)
        .collect();
    let repeat = u32::try_from(times).unwrap();
    let options = TestRunOptions {
        data_in: Some(frame),
        ctx_in: Some(&context),
        repeat,
        ..TestRunOptions::default()
    };
    program.test_run(options).unwrap();
}
