//! What the firewall has met.

use std::fmt;

use lb_common::api::RuleCount;

use super::Snapshot;
use super::text::{Families, Sample, count, gauge, whole, yes};

impl Snapshot {
    pub(super) fn encode_firewall(&self, families: &mut Families<'_>) -> fmt::Result {
        let packets = "Packets that a rule decided about; those of known flows are not looked at";
        families.family("lb_firewall_rule_packets", packets, self.rules(|it| it.packets))?;
        let bytes = "Bytes of packets that a rule decided about, Ethernet headers included";
        families.family("lb_firewall_rule_bytes", bytes, self.rules(|it| it.bytes))?;
        let packets = "Packets that rules which name the set decided about";
        families.family("lb_firewall_set_packets", packets, self.sets_met(|it| it.packets))?;
        let bytes = "Bytes of packets that rules which name the set decided about";
        families.family("lb_firewall_set_bytes", bytes, self.sets_met(|it| it.bytes))?;
        let policy =
            self.firewall.iter().map(|firewall| count(Vec::new(), firewall.policy_count.packets));
        let help = "Packets that matched no rule and were dropped by the policy";
        families.family("lb_firewall_policy_dropped_packets", help, policy)?;
        let elements = self.sets.iter().map(|set| {
            let elements = u64::try_from(set.elements).unwrap_or(u64::MAX);
            gauge(vec![("set", set.name.as_str())], whole(elements))
        });
        families.family("lb_firewall_set_elements", "Elements of the set", elements)?;
        let stale = self
            .sets
            .iter()
            .map(|set| gauge(vec![("set", set.name.as_str())], yes(set.problem.is_some())));
        let help = "Whether the file of the set, as it is now, was refused";
        families.family("lb_firewall_set_stale", help, stale)
    }

    fn sets_met(&self, value: fn(RuleCount) -> u64) -> impl Iterator<Item = Sample<'_>> {
        let sets = self.firewall.iter().flat_map(|firewall| &firewall.sets);
        sets.map(move |set| count(vec![("set", set.name.as_str())], value(set.count)))
    }

    fn rules(&self, value: fn(RuleCount) -> u64) -> impl Iterator<Item = Sample<'_>> {
        let rules = self.firewall.iter().flat_map(|firewall| &firewall.rules);
        rules.map(move |rule| {
            let labels =
                vec![("rule", rule.rule.name.as_str()), ("action", rule.rule.action.as_str())];
            count(labels, value(rule.count))
        })
    }
}
