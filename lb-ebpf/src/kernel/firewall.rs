//! The firewall's maps. The agent sets the number of entries of those that have one here.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray};
use lb_common::layout::firewall::{
    ASKED_WORDS, BIT_PLANES, BIT_WORDS, Firewall, Front, KINDS, LinkKey, LongBucket, MAX_LINKS,
    MAX_NODES, MAX_ROWS, MAX_RULE_COUNTS, MAX_RULES, Node, OUTCOME_PAGES, PAGE, PORT_PAGES,
    ROOT_PAGES, Row, SERVICE_PAGES,
};
use lb_common::layout::limit::{Limit, MAX_LIMITS, RULE_BUCKETS, SOURCE_BUCKETS, SOURCE_MASKS};
use lb_common::layout::{Bucket, Count};
use lb_ebpf::family::Family;
use lb_ebpf::firewall::Maps;
use lb_ebpf::flight::Flight;
use lb_ebpf::tables::{Entry, Tables};
use lb_ebpf::verifier::hand_over;

use super::maps::KernelTables;
use super::parts;
use crate::program::entry;

const MMAPABLE: u32 = aya_ebpf::bindings::BPF_F_MMAPABLE;

#[map]
static FIREWALL: Array<Firewall> = Array::with_max_entries(1, MMAPABLE);
#[map]
static FIREWALL_BITS: Array<u64> = Array::with_max_entries(2 * BIT_PLANES * BIT_WORDS, MMAPABLE);
#[map]
static FIREWALL_ROOTS: Array<[u32; PAGE]> = Array::with_max_entries(2 * 2 * ROOT_PAGES, MMAPABLE);
#[map]
static FIREWALL_FRONTS: Array<Front> = Array::with_max_entries(1, MMAPABLE);
#[map]
static FIREWALL_VALUES: Array<[u16; PAGE]> = Array::with_max_entries(1, MMAPABLE);
#[map]
static FIREWALL_CELLS: Array<[u64; 8]> = Array::with_max_entries(1, MMAPABLE);
#[map]
static FIREWALL_NODES: Array<Node> = Array::with_max_entries(2 * MAX_NODES, MMAPABLE);
#[map]
static FIREWALL_LONG: Array<LongBucket> = Array::with_max_entries(1, MMAPABLE);
#[map]
static FIREWALL_ROWS: Array<Row> = Array::with_max_entries(2 * MAX_ROWS, MMAPABLE);
#[map]
static FIREWALL_PORTS: Array<[u16; PAGE]> = Array::with_max_entries(2 * 2 * PORT_PAGES, MMAPABLE);
#[map]
static FIREWALL_KINDS: Array<[u16; PAGE]> = Array::with_max_entries(2 * KINDS, MMAPABLE);
#[map]
static FIREWALL_SERVICES: Array<[u32; PAGE]> = Array::with_max_entries(2 * SERVICE_PAGES, MMAPABLE);
#[map]
static FIREWALL_LINKS: HashMap<LinkKey, u32> = HashMap::with_max_entries(MAX_LINKS, 0);
#[map]
static FIREWALL_RULES: Array<[u32; MAX_RULES]> = Array::with_max_entries(2, MMAPABLE);
#[map]
static FIREWALL_ASKED: Array<u64> = Array::with_max_entries(2 * ASKED_WORDS, MMAPABLE);
#[map]
static FIREWALL_OUTCOMES: Array<[u32; PAGE]> = Array::with_max_entries(2 * OUTCOME_PAGES, MMAPABLE);
#[map]
static FIREWALL_LIMITS: Array<Limit> = Array::with_max_entries(2 * MAX_LIMITS, MMAPABLE);
#[map]
static FIREWALL_LIMITED: Array<Bucket> =
    Array::with_max_entries(RULE_BUCKETS + SOURCE_BUCKETS, MMAPABLE);
#[map]
static SOURCE_FLOWS: Array<Bucket> = Array::with_max_entries(SOURCE_MASKS + 1, MMAPABLE);
#[map]
static RULE_COUNTS: PerCpuArray<Count> = PerCpuArray::with_max_entries(MAX_RULE_COUNTS, 0);

impl<const QUICK: bool> Maps for KernelTables<QUICK> {
    #[inline(always)]
    fn firewall(&self) -> Option<&Firewall> {
        FIREWALL.get(0)
    }

    #[inline(always)]
    fn bits(&self, word: u32) -> Option<u64> {
        FIREWALL_BITS.get(word).copied()
    }

    #[inline(always)]
    fn roots(&self, page: u32) -> Option<&[u32; PAGE]> {
        FIREWALL_ROOTS.get(page)
    }

    #[inline(always)]
    fn front(&self, chunk: u32) -> Option<&Front> {
        FIREWALL_FRONTS.get(chunk)
    }

    #[inline(always)]
    fn values(&self, chunk: u32) -> Option<&[u16; PAGE]> {
        FIREWALL_VALUES.get(chunk)
    }

    #[inline(always)]
    fn cells(&self, bucket: u32) -> Option<&[u64; 8]> {
        FIREWALL_CELLS.get(bucket)
    }

    #[inline(always)]
    fn node(&self, index: u32) -> Option<&Node> {
        FIREWALL_NODES.get(index)
    }

    #[inline(always)]
    fn long(&self, bucket: u32) -> Option<&LongBucket> {
        FIREWALL_LONG.get(bucket)
    }

    #[inline(always)]
    fn row(&self, index: u32) -> Option<&Row> {
        FIREWALL_ROWS.get(index)
    }

    #[inline(always)]
    fn port_rows(&self, page: u32) -> Option<&[u16; PAGE]> {
        FIREWALL_PORTS.get(page)
    }

    #[inline(always)]
    fn kind_rows(&self, page: u32) -> Option<&[u16; PAGE]> {
        FIREWALL_KINDS.get(page)
    }

    #[inline(always)]
    fn services(&self, page: u32) -> Option<&[u32; PAGE]> {
        FIREWALL_SERVICES.get(page)
    }

    #[inline(always)]
    fn link_row(&self, key: &LinkKey) -> Option<u32> {
        // SAFETY: the value is copied at once; a racing update replaces it whole.
        unsafe { FIREWALL_LINKS.get(key).copied() }
    }

    #[inline(always)]
    fn rules(&self, half: u32) -> Option<&[u32; MAX_RULES]> {
        FIREWALL_RULES.get(half)
    }

    #[inline(always)]
    fn asked(&self, word: u32) -> Option<u64> {
        FIREWALL_ASKED.get(word).copied()
    }

    #[inline(always)]
    fn outcomes(&self, page: u32) -> Option<&[u32; PAGE]> {
        FIREWALL_OUTCOMES.get(page)
    }

    #[inline(always)]
    fn limit(&self, place: u32) -> Option<&Limit> {
        FIREWALL_LIMITS.get(place)
    }

    #[inline(always)]
    fn limited(&self, bucket: u32) -> Option<Entry<Bucket>> {
        entry!(FIREWALL_LIMITED, bucket)
    }

    #[inline(always)]
    fn source_flows(&self, bucket: u32) -> Option<Entry<Bucket>> {
        entry!(SOURCE_FLOWS, bucket)
    }

    #[inline(always)]
    fn source_place(&self, bucket: u32, tag: u64, now: u64) -> usize {
        parts::firewall_source_place(u64::from(bucket), tag, now) as usize
    }

    #[inline(always)]
    fn open_place(&self, bucket: u32, tag: u64) -> usize {
        parts::firewall_open_place(u64::from(bucket), tag) as usize
    }

    #[inline(always)]
    fn deciding<A: Family>(&self, flight: &mut Flight<A>, half: u32, rows: (u64, u64)) -> u32 {
        hand_over(flight);
        let word = parts::firewall_deciding(u64::from(half), A::NUMBER.into(), rows.0, rows.1);
        hand_over(flight);
        word as u32
    }

    #[inline(always)]
    fn rule_count(&self, number: u32) -> Option<Entry<Count>> {
        if self.explains() {
            return None;
        }
        entry!(RULE_COUNTS, number)
    }

    #[inline(always)]
    fn short_value(&self, half: u32, plane: u32, address: u32) -> u32 {
        parts::firewall_short_value(u64::from(half), u64::from(plane), u64::from(address)) as u32
    }

    #[inline(always)]
    fn cell(&self, half: u32, key: u64) -> u32 {
        parts::firewall_cell(u64::from(half), key) as u32
    }

    #[inline(always)]
    fn first_rule(&self, half: u32, addresses_and_ports: u64, others: u64) -> u32 {
        parts::firewall_first_rule(u64::from(half), addresses_and_ports, others) as u32
    }

    #[inline(always)]
    fn alone_class(&self, half: u32, high: u64, low: u64) -> u32 {
        parts::firewall_alone_class(u64::from(half), high, low) as u32
    }

    #[inline(always)]
    fn long_class(&self, half: u32, node: u32, high: u64, low: u64) -> u32 {
        parts::firewall_long_class(u64::from(half), u64::from(node), high, low) as u32
    }
}
