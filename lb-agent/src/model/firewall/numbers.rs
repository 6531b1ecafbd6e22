//! Which counter is whose: a rule keeps its number for as long as it has its name.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Firewall;

/// The number of the counter for packets that match no rule.
pub const POLICY: u32 = 0;

/// Numbers of counters by the rule's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleNumbers(BTreeMap<String, u32>);

impl RuleNumbers {
    /// Forgets rules that are gone and gives numbers to those that are new.
    pub fn follow(&mut self, firewall: &Firewall) {
        let names: BTreeSet<&str> = firewall.rules.iter().map(|rule| rule.name.as_str()).collect();
        self.0.retain(|name, _| names.contains(name.as_str()));
        let used: BTreeSet<u32> = self.0.values().copied().collect();
        let mut free = (POLICY + 1..).filter(|number| !used.contains(number));
        for rule in &firewall.rules {
            if !self.0.contains_key(&rule.name) {
                self.0.extend(free.next().map(|number| (rule.name.clone(), number)));
            }
        }
    }

    /// The number of a rule.
    pub fn get(&self, rule: &str) -> Option<u32> {
        self.0.get(rule).copied()
    }

    /// Numbers that are given to other rules than before.
    pub fn given_since(&self, before: &Self) -> Vec<u32> {
        let new = self.0.iter().filter(|(name, number)| before.0.get(*name) != Some(*number));
        new.map(|(_, number)| *number).collect()
    }

    /// All of them.
    pub fn by_name(&self) -> &BTreeMap<String, u32> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::firewall::{Action, Rule};

    fn firewall(names: &[&str]) -> Firewall {
        let rule = |name: &&str| Rule { name: (*name).to_owned(), ..Rule::any(Action::Drop) };
        Firewall { rules: names.iter().map(rule).collect(), ..Firewall::default() }
    }

    #[test]
    fn a_rule_keeps_its_number_while_others_come_and_go() {
        let mut numbers = RuleNumbers::default();
        numbers.follow(&firewall(&["a", "b", "c"]));
        assert_eq!(
            (numbers.get("a"), numbers.get("b"), numbers.get("c")),
            (Some(1), Some(2), Some(3))
        );
        let before = numbers.clone();
        numbers.follow(&firewall(&["new", "c", "a"]));
        assert_eq!(
            (numbers.get("a"), numbers.get("c"), numbers.get("new")),
            (Some(1), Some(3), Some(2))
        );
        assert_eq!(numbers.get("b"), None);
        assert_eq!(numbers.given_since(&before), [2]);
        assert_eq!(numbers.by_name().len(), 3);
    }
}
