//! What was compiled, as the tables of the host hold it.

use std::cell::Cell as Memory;

use lb_agent::model::firewall::compile::{Compiled, Size};
use lb_common::layout::Bucket;
use lb_common::layout::firewall::{Firewall, LinkKey, MAX_RULE_COUNTS, MAX_RULES};
use lb_common::layout::limit::{RULE_BUCKETS, SOURCE_BUCKETS, SOURCE_MASKS};
use lb_ebpf::host::HostFirewall;

/// The firewall's maps in plain memory, with the first half in use; `lo` is the interface with this index.
pub fn on_the_host(compiled: &Compiled, lo: u32) -> HostFirewall {
    if !compiled.is_on() {
        return HostFirewall::default();
    }
    let Size { chunks, cell_buckets, long_buckets } = compiled.size;
    let Compiled { word, bits, roots, fronts, values, cells, nodes, long, rows, .. } =
        compiled.clone();
    let mut rules = [0; MAX_RULES];
    rules.iter_mut().zip(&compiled.rules).for_each(|(place, rule)| *place = *rule);
    let counters = usize::try_from(MAX_RULE_COUNTS).unwrap();
    let limited = usize::try_from(RULE_BUCKETS + SOURCE_BUCKETS).unwrap();
    let index = |name: &Option<String>| match name.as_deref() {
        None => Some(0),
        Some("lo") => Some(lo),
        Some(_) => None,
    };
    let links = compiled.links.iter();
    let links =
        links.filter_map(|(name, row)| Some((LinkKey { half: 0, interface: index(name)? }, *row)));
    HostFirewall {
        firewall: Firewall {
            word,
            cell_mask: cell_buckets - 1,
            long_mask: long_buckets - 1,
            chunks,
            reserved: 0,
        },
        bits,
        roots,
        fronts,
        values,
        cells,
        nodes,
        long,
        rows,
        ports: compiled.ports.clone(),
        kinds: compiled.kinds.clone(),
        services: compiled.services.clone(),
        links: links.collect(),
        rules: vec![rules],
        asked: compiled.asked.clone(),
        outcomes: compiled.outcomes.clone(),
        limits: compiled.limits.clone(),
        limited: vec![Memory::default(); limited],
        source_flows: source_flows(compiled),
        counts: vec![Memory::default(); counters],
    }
}

/// No flows yet, and how sources are told apart.
fn source_flows(compiled: &Compiled) -> Vec<Memory<Bucket>> {
    let [v4, v6_first, v6_last] = compiled.source_masks;
    let mut buckets = vec![Memory::default(); usize::try_from(SOURCE_MASKS).unwrap()];
    buckets.push(Memory::new([v4, v6_first, v6_last, 0, 0, 0, 0, 0]));
    buckets
}
