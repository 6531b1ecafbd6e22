//! What the packet path counted, summed over the CPUs.

use std::collections::BTreeMap;

use aya::Pod;
use aya::maps::{MapData, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;
use lb_common::layout::{Count, Traffic};
use lb_common::map;
use lb_common::verdict::Verdict;

use super::Datapath;
use super::error::{OnMap, Result, Source};
use super::maps::Maps;

/// Counters since the maps were made, or since the id was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Every verdict.
    pub verdicts: BTreeMap<Verdict, Count>,
    /// By listener id.
    pub listeners: BTreeMap<u32, Traffic>,
    /// By backend id.
    pub backends: BTreeMap<u32, Traffic>,
}

impl Maps {
    pub(super) fn counters(
        &self,
        listeners: impl IntoIterator<Item = u32>,
        backends: impl IntoIterator<Item = u32>,
    ) -> Result<Counters> {
        let mut counters = Counters::default();
        for verdict in Verdict::ALL {
            let values = &self.verdicts;
            let sum = sum(values, map::VERDICTS, verdict.number(), add_count)?;
            counters.verdicts.insert(*verdict, sum);
        }
        for id in listeners {
            let sum = sum(&self.listener_traffic, map::LISTENER_TRAFFIC, id, add_traffic)?;
            counters.listeners.insert(id, sum);
        }
        for id in backends {
            let sum = sum(&self.backend_traffic, map::BACKEND_TRAFFIC, id, add_traffic)?;
            counters.backends.insert(id, sum);
        }
        Ok(counters)
    }
}

impl Datapath {
    /// What rules counted, by the numbers of their counters.
    pub fn rule_counts(
        &self,
        numbers: impl IntoIterator<Item = u32>,
    ) -> Result<BTreeMap<u32, Count>> {
        let of = |number| sum(&self.maps.rule_counts, map::RULE_COUNTS, number, add_count);
        numbers.into_iter().map(|number| Ok((number, of(number)?))).collect()
    }

    /// Sets counters of rules to zero: they are about to be another rule's.
    pub fn clear_rule_counts(&mut self, numbers: &[u32]) -> Result<()> {
        let counts = &mut self.maps.rule_counts;
        numbers.iter().try_for_each(|number| zero(counts, map::RULE_COUNTS, *number))
    }
}

/// Sets a counter to zero on all CPUs.
pub(super) fn zero<V: Pod + Default>(
    of: &mut PerCpuArray<MapData, V>,
    name: &'static str,
    id: u32,
) -> Result<()> {
    let mut zero = || -> Result<(), Source> {
        let cpus = nr_cpus().map_err(|(_, error)| error)?;
        let values = PerCpuValues::try_from(vec![V::default(); cpus])?;
        of.set(id, values, 0).map_err(Source::from)
    };
    zero().on("zero counters in", name)
}

pub(super) fn sum<V: Pod + Default>(
    of: &PerCpuArray<MapData, V>,
    name: &'static str,
    id: u32,
    add: fn(V, V) -> V,
) -> Result<V> {
    let per_cpu = of.get(&id, 0).on("read", name)?;
    Ok(per_cpu.iter().copied().fold(V::default(), add))
}

pub(super) fn add_count(a: Count, b: Count) -> Count {
    Count { packets: a.packets.wrapping_add(b.packets), bytes: a.bytes.wrapping_add(b.bytes) }
}

fn add_traffic(a: Traffic, b: Traffic) -> Traffic {
    Traffic {
        forward: add_count(a.forward, b.forward),
        reply: add_count(a.reply, b.reply),
        flows: a.flows.wrapping_add(b.flows),
        dropped: a.dropped.wrapping_add(b.dropped),
    }
}
