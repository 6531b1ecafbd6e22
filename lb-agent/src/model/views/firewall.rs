//! What the API shows of the firewall.

use std::collections::{BTreeMap, HashSet};

use lb_common::api::{self, RuleCount, RuleStatus, SetCount};
use lb_common::layout::Count;

use crate::model::agent::{Agent, Refusal};
use crate::model::config::{Word, rule_to_text};
use crate::model::firewall::{Elements, Match, POLICY, Rule, Source};
use crate::model::overlay::sets::existing;

impl Agent {
    /// The rules and the policy; `counts` are by the number of the counter.
    pub fn firewall(&self, counts: &BTreeMap<u32, Count>) -> api::Firewall {
        let firewall = &self.config().firewall;
        let in_file: HashSet<&str> =
            self.file().firewall.rules.iter().map(|rule| rule.name.as_str()).collect();
        let count = |number: Option<u32>| {
            let Count { packets, bytes } =
                number.and_then(|number| counts.get(&number)).copied().unwrap_or_default();
            RuleCount { packets, bytes }
        };
        let rules = firewall.rules.iter().map(|rule| RuleStatus {
            rule: rule_to_text(rule),
            overlay: !in_file.contains(rule.name.as_str()),
            count: count(self.rule_numbers().get(&rule.name)),
        });
        let sets = firewall.sets.keys().map(|set| {
            let naming = firewall.rules.iter().filter(|rule| names(rule, set));
            let mut sum = RuleCount::default();
            for rule in naming {
                let RuleCount { packets, bytes } = count(self.rule_numbers().get(&rule.name));
                sum.packets += packets;
                sum.bytes += bytes;
            }
            SetCount { name: set.clone(), count: sum }
        });
        api::Firewall {
            policy: firewall.policy.word().to_owned(),
            policy_count: count(Some(POLICY)),
            rules: rules.collect(),
            sets: sets.collect(),
        }
    }

    /// The sets; `problem` says why the file of one was refused.
    pub fn set_list(&self, problem: impl Fn(&str) -> Option<String>) -> Vec<api::Set> {
        let overlay = &self.overlay().firewall;
        let sets = self.config().firewall.sets.iter().map(|(name, source)| {
            let changes = overlay.sets.get(name);
            api::Set {
                name: name.clone(),
                file: match source {
                    Source::Listed(_) => None,
                    Source::File(file) => Some(file.display().to_string()),
                },
                loaded: overlay.is_loaded(name),
                elements: self.sets().get(name).map_or(0, Elements::len),
                added: changes.map_or(0, |changes| changes.added.len()),
                deleted: changes.map_or(0, |changes| changes.deleted.len()),
                problem: problem(name),
            }
        });
        sets.collect()
    }

    /// Some elements of a set.
    pub fn set_elements(&self, set: &str, limit: usize) -> Result<api::SetElements, Refusal> {
        let elements = existing(self.sets(), set)?;
        let listed = elements.iter().take(limit).map(|prefix| prefix.to_string());
        Ok(api::SetElements { total: elements.len(), elements: listed.collect() })
    }
}

fn names(rule: &Rule, set: &str) -> bool {
    let addresses = rule.sources.iter().chain(&rule.destinations);
    addresses.into_iter().any(|address| matches!(address, Match::Set(name) if name == set))
}
