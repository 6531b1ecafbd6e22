//! Limits of rules as the packet path counts them.

use lb_common::layout::firewall::{RULE_DROPS, RULE_LIMIT_SHIFT};
use lb_common::layout::limit::{
    COUNTS_NEW_FLOWS, COUNTS_NOTHING, COUNTS_PACKETS, Limit, MAX_LIMITS, TIME_SHIFT,
};

use super::row::Rules;
use super::{Action, CompileError, Names, Rule, counter};
use crate::model::firewall::{Counted, Over};

/// The rule that stands before one which counts packets with certain TCP flags, if `rule` is such a one: a flow begins
/// with other flags than its later packets have.
pub(super) fn watch(rule: &Rule) -> Option<Rule> {
    rule.tcp_flags?;
    let counts_packets = rule.over.is_some_and(|over| over.count == Counted::Packets);
    counts_packets.then(|| Rule { tcp_flags: None, ..rule.clone() })
}

/// The words of all rules, and their limits.
pub(super) fn words(rules: &Rules, names: &Names) -> Result<(Vec<u32>, Vec<Limit>), CompileError> {
    let mut limits = Vec::new();
    let mut words = Vec::new();
    for (rule, only_watches) in rules.watching() {
        let counter = counter(rule, names);
        let drops = if rule.action == Action::Drop { RULE_DROPS } else { 0 };
        let mut number = 0;
        if let Some(over) = rule.over {
            let limit = limit(over, counter);
            limits.push(if only_watches {
                Limit { counts: COUNTS_NOTHING, ..limit }
            } else {
                limit
            });
            number = u32::try_from(limits.len()).unwrap_or(u32::MAX);
            if number > MAX_LIMITS {
                return Err(CompileError::Limits);
            }
        }
        words.push(drops | (number << RULE_LIMIT_SHIFT) | counter);
    }
    Ok((words, limits))
}

fn limit(over: Over, counter: u32) -> Limit {
    let Over { rate, burst, count, per } = over;
    // Both are within a few hours.
    let nanoseconds = u64::try_from(rate.unit.duration().as_nanos()).unwrap_or(u64::MAX);
    let amount = u64::from(rate.amount.max(1)) << if per.is_some() { TIME_SHIFT } else { 0 };
    let cost = ((nanoseconds + amount / 2) / amount).max(1);
    Limit {
        cost,
        room: cost.saturating_mul(u64::from(burst)),
        counter,
        counts: match count {
            Counted::Packets => COUNTS_PACKETS,
            Counted::NewFlows => COUNTS_NEW_FLOWS,
        },
        per_source: u8::from(per.is_some()),
        prefix_v4: per.map_or(0, |per| per.prefix_v4),
        prefix_v6: per.map_or(0, |per| per.prefix_v6),
    }
}
