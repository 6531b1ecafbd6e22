//! Firewalls of one rule.

use core::cell::Cell as Memory;

use lb_common::layout::firewall::{
    Firewall, MAX_RULES, RULE_DROPS, RULE_LIMIT_SHIFT, RULE_WORDS, Row,
};
use lb_common::layout::limit::{COUNTS_OPEN_FLOWS, Limit, SOURCE_MASKS};
use lb_ebpf::firewall::open::flows_of;
use lb_ebpf::host::HostFirewall;

use super::World;

pub const NO_RULE: Row = Row { used: 0, rules: [0; RULE_WORDS] };
pub const FIRST_RULE: Row = Row {
    used: 1,
    rules: {
        let mut rules = [0; RULE_WORDS];
        rules[0] = 1;
        rules
    },
};

/// A firewall with one rule, which matches every packet or none.
pub fn firewall(flags: u64, row: &Row, rule: u32) -> HostFirewall {
    let mut rules = [0; MAX_RULES];
    rules[0] = rule;
    let mut firewall =
        HostFirewall { rows: vec![*row], rules: vec![rules], ..HostFirewall::default() };
    firewall.firewall.word = Firewall::ON | flags;
    firewall
}

/// One whose rule drops every packet.
pub fn dropping() -> HostFirewall {
    firewall(0, &FIRST_RULE, RULE_DROPS)
}

impl World {
    /// Lets each address have so many flows open, and not more.
    pub fn let_open(&mut self, most: u64) {
        let mut rules = firewall(0, &FIRST_RULE, RULE_DROPS | (1 << RULE_LIMIT_SHIFT));
        rules.limits = vec![Limit {
            room: most,
            counts: COUNTS_OPEN_FLOWS,
            per_source: 1,
            ..Limit::default()
        }];
        rules.source_flows = vec![Memory::default(); usize::try_from(SOURCE_MASKS).unwrap()];
        let bits = u64::MAX;
        rules.source_flows.push(Memory::new([bits, bits, bits, 0, 0, 0, 0, 0]));
        self.tables.firewall = rules;
        self.tables.settings.generation = 1;
    }

    /// How many flows all sources have open, as the packet path has counted.
    pub fn n_open(&self) -> u64 {
        let (_masks, buckets) = self.tables.firewall.source_flows.split_last().unwrap();
        buckets.iter().flat_map(Memory::get).map(flows_of).sum()
    }
}
