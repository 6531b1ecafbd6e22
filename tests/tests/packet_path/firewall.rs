//! What was compiled, as the tables of the host hold it.

use std::cell::Cell as Memory;

use lb_agent::model::firewall::compile::{Compiled, Head, Size};
use lb_common::layout::Bucket;
use lb_common::layout::firewall::{Firewall, LinkKey, MAX_RULE_COUNTS, MAX_RULES};
use lb_common::layout::limit::{RULE_BUCKETS, SOURCE_BUCKETS, SOURCE_MASKS};
use lb_ebpf::host::HostFirewall;

/// The firewall's maps in plain memory, with the first half in use; `lo` is the interface with this index.
pub fn on_the_host(compiled: &Compiled, lo: u32) -> HostFirewall {
    if !compiled.is_on() {
        return HostFirewall::default();
    }
    let Head { size, word, links, .. } = compiled.head.clone();
    let Size { chunks, cell_buckets, long_buckets } = size;
    let half = compiled.half().unwrap();
    let mut rules = [0; MAX_RULES];
    rules.iter_mut().zip(&half.rules).for_each(|(place, rule)| *place = *rule);
    let counters = usize::try_from(MAX_RULE_COUNTS).unwrap();
    let limited = usize::try_from(RULE_BUCKETS + SOURCE_BUCKETS).unwrap();
    let index = |name: &Option<String>| match name.as_deref() {
        None => Some(0),
        Some("lo") => Some(lo),
        Some(_) => None,
    };
    let links = links
        .iter()
        .filter_map(|(name, row)| Some((LinkKey { half: 0, interface: index(name)? }, *row)));
    HostFirewall {
        firewall: Firewall {
            word,
            cell_masks: [u32::try_from(half.cells.len()).unwrap() - 1; 2],
            long_mask: long_buckets - 1,
            chunks,
            cell_buckets,
            reserved: 0,
        },
        bits: half.bits,
        roots: half.roots,
        fronts: half.fronts,
        values: half.values,
        cells: half.cells,
        nodes: half.nodes,
        long: half.long,
        rows: half.rows,
        ports: half.ports,
        kinds: half.kinds,
        services: half.services,
        links: links.collect(),
        rules: vec![rules],
        asked: half.asked,
        outcomes: half.outcomes,
        limits: half.limits,
        limited: vec![Memory::default(); limited],
        source_flows: source_flows(compiled),
        counts: vec![Memory::default(); counters],
    }
}

/// No flows yet, and how sources are told apart.
fn source_flows(compiled: &Compiled) -> Vec<Memory<Bucket>> {
    let [v4, v6_first, v6_last] = compiled.head.source_masks;
    let mut buckets = vec![Memory::default(); usize::try_from(SOURCE_MASKS).unwrap()];
    buckets.push(Memory::new([v4, v6_first, v6_last, 0, 0, 0, 0, 0]));
    buckets
}
