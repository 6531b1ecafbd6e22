//! What would become of a packet: the program is loaded once more, with the maps of the one that runs, and changes
//! nothing of them.

use aya::maps::PerCpuArray;
use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use lb_common::layout::Sample;
use lb_common::map;
use lb_common::verdict::Verdict;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use zerocopy::FromZeros;

use super::error::{DatapathError, OnMap, Result};
use super::maps::data;
use super::pins::Pins;
use super::program::{self, PROGRAM, verify_named};
use super::shape::Geometry;
use super::stages::set_stages;
use super::{Datapath, OBJECT};

/// What has to be done to explain packets, beside everything else: the kernel takes a second to verify a program.
#[derive(Debug)]
pub struct Explainer {
    pins: Pins,
    geometry: Geometry,
}

impl Datapath {
    /// Whatever is explained is so by the maps as they are then.
    #[must_use]
    pub fn explainer(&self) -> Explainer {
        let pins = if self.is_moving() { self.pins.next() } else { self.pins.clone() };
        Explainer { pins, geometry: self.geometry }
    }
}

impl Explainer {
    /// What would become of a frame that comes in by the interface with this index. Of a packet that would be sent on
    /// while flows move to another table, the one in use alone is known.
    pub fn explain(&self, frame: &[u8], interface: u32) -> Result<Sample> {
        let mut loaded = self.load()?;
        let _stages = set_stages(&mut loaded)?;
        verify_named(&mut loaded, PROGRAM)?;
        let explained = loaded.take_map(map::EXPLAINED).ok_or("there is none");
        let explained = PerCpuArray::try_from(explained.on("find", map::EXPLAINED)?);
        let explained: PerCpuArray<_, Sample> = explained.on("open", map::EXPLAINED)?;
        let program: &Xdp = program::program(&mut loaded, PROGRAM)?;
        on_one_cpu(|| run(program, frame, interface))??;
        let told = explained.get(&0, 0).on("read", map::EXPLAINED)?;
        // The others have explained nothing.
        let is_told = |sample: &&Sample| Verdict::from_number(sample.verdict).is_some();
        Ok(told.iter().find(is_told).copied().unwrap_or_else(Sample::new_zeroed))
    }

    fn load(&self) -> Result<Ebpf> {
        // Each load has an array of its own for what is pinned beside the maps of the one that runs.
        data(&self.pins, map::SETTINGS)?;
        let mut loader = EbpfLoader::new();
        program::prepare(&mut loader, &self.pins, None, self.geometry);
        loader.override_global(map::EXPLAINS, &1_u8, true);
        loader.load(OBJECT).map_err(|error| DatapathError::Load(error.into()))
    }
}

/// Keeps this thread on the CPU that it is on: what is told of the packet lies in the memory of one.
fn on_one_cpu<T>(act: impl FnOnce() -> T) -> Result<T> {
    let this_thread = Pid::from_raw(0);
    let before = sched_getaffinity(this_thread).on("choose a CPU for", map::EXPLAINED)?;
    let mut one = CpuSet::new();
    let first = (0..CpuSet::count()).find(|cpu| before.is_set(*cpu).unwrap_or(false));
    one.set(first.unwrap_or(0)).on("choose a CPU for", map::EXPLAINED)?;
    sched_setaffinity(this_thread, &one).on("choose a CPU for", map::EXPLAINED)?;
    let result = act();
    sched_setaffinity(this_thread, &before).on("give back the CPUs of", map::EXPLAINED)?;
    Ok(result)
}

/// Runs the program on a frame that comes in by an interface.
fn run(program: &Xdp, frame: &[u8], interface: u32) -> Result<()> {
    // `struct xdp_md` of linux/bpf.h: metadata, frame, end, interface, queue, interface of other kinds of programs.
    let end = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    let context: Vec<u8> =
        [0, end, 0, interface, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
    let options = TestRunOptions {
        data_in: Some(frame),
        ctx_in: Some(&context),
        ..TestRunOptions::default()
    };
    let ran = program.test_run(options);
    ran.map(drop).map_err(|error| DatapathError::Load(error.into()))
}
