//! Limits of rules as the packet path counts them.

use lb_common::layout::firewall::{RULE_DROPS, RULE_LIMIT_SHIFT};
use lb_common::layout::limit::{
    COUNTS_NEW_FLOWS, COUNTS_NOTHING, COUNTS_OPEN_FLOWS, COUNTS_PACKETS, Limit, MAX_LIMITS,
    TIME_SHIFT,
};

use super::row::Rules;
use super::{Action, CompileError, Names, Rule, counter};
use crate::model::firewall::{Counted, Over, OverRate, Per};

/// The rule that stands before one which counts packets with certain TCP flags, if `rule` is such a one: a flow begins
/// with other flags than its later packets have.
pub(super) fn watch(rule: &Rule) -> Option<Rule> {
    rule.tcp_flags?;
    let counts_packets = rule.over.as_ref().is_some_and(Over::counts_packets);
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
    match over {
        Over::Rate(over) => limit_of_rate(over, counter),
        Over::Flows { most, per } => Limit {
            cost: 0,
            room: most.into(),
            counter,
            counts: COUNTS_OPEN_FLOWS,
            per_source: 1,
            prefix_v4: per.prefix_v4,
            prefix_v6: per.prefix_v6,
        },
    }
}

/// The bits by which sources are told apart whose open flows are counted: see `lb_common::layout::limit::SOURCE_MASKS`.
pub(super) fn source_masks(rules: &Rules) -> Result<[u64; 3], CompileError> {
    let mut pers = rules.user().filter_map(|rule| match rule.over? {
        Over::Flows { per, .. } => Some(per),
        Over::Rate(_) => None,
    });
    let Some(first) = pers.next() else { return Ok([0; 3]) };
    if pers.any(|per| per != first) {
        return Err(CompileError::Sources);
    }
    Ok(masks(first))
}

fn masks(Per { prefix_v4, prefix_v6 }: Per) -> [u64; 3] {
    let v4 = u32::MAX << (32 - u32::from(prefix_v4.clamp(1, 32)));
    let v6 = (u128::MAX << (128 - u32::from(prefix_v6.clamp(1, 128)))).to_be_bytes();
    let ([first, last], _) = v6.as_chunks::<8>() else { return [0; 3] };
    [
        u32::from_ne_bytes(v4.to_be_bytes()).into(),
        u64::from_ne_bytes(*first),
        u64::from_ne_bytes(*last),
    ]
}

fn limit_of_rate(over: OverRate, counter: u32) -> Limit {
    let OverRate { rate, burst, count, per } = over;
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
