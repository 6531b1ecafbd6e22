//! What does not work at the moment and is tried again; shown in the status, logged when it changes.

use std::collections::BTreeMap;

/// Something that is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Act {
    name: &'static str,
    is_needed: bool,
}

impl Act {
    /// Without it, what should be is not what is: the agent is not ready.
    pub(super) const fn needed(name: &'static str) -> Self {
        Self { name, is_needed: true }
    }

    /// Traffic is balanced as before without it.
    pub(super) const fn dispensable(name: &'static str) -> Self {
        Self { name, is_needed: false }
    }
}

/// Faults by what was tried.
#[derive(Debug, Default)]
pub(super) struct Faults(BTreeMap<Act, String>);

impl Faults {
    /// Takes note of how something went.
    pub(super) fn note(&mut self, act: Act, result: Result<(), String>) {
        let name = act.name;
        match result {
            Ok(()) => {
                if self.0.remove(&act).is_some() {
                    tracing::info!("{name}: works again");
                }
            }
            Err(reason) => {
                if self.0.get(&act) != Some(&reason) {
                    if act.is_needed {
                        tracing::error!("{name}: {reason}");
                    } else {
                        tracing::warn!("{name}: {reason}");
                    }
                    self.0.insert(act, reason);
                }
            }
        }
    }

    /// Whether it did not work the last time.
    pub(super) fn contains(&self, act: Act) -> bool {
        self.0.contains_key(&act)
    }

    /// A sentence each.
    pub(super) fn sentences(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(sentence)
    }

    /// Why the agent is not ready, if anything that it needs does not work.
    pub(super) fn first_needed(&self) -> Option<String> {
        self.0.iter().find(|(act, _)| act.is_needed).map(sentence)
    }
}

fn sentence((act, reason): (&Act, &String)) -> String {
    format!("{}: {reason}", act.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_stays_until_what_was_tried_works() {
        let (write, save) = (Act::needed("write the tables"), Act::needed("save the overlay"));
        let mut faults = Faults::default();
        faults.note(write, Err("no space".into()));
        faults.note(save, Ok(()));
        assert!(faults.contains(write));
        assert_eq!(faults.sentences().collect::<Vec<_>>(), ["write the tables: no space"]);
        faults.note(write, Ok(()));
        assert!(!faults.contains(write));
        assert_eq!(faults.sentences().count(), 0);
    }

    #[test]
    fn what_is_dispensable_is_shown_and_keeps_nobody_from_being_ready() {
        let mut faults = Faults::default();
        faults.note(Act::dispensable("a probe"), Err("no descriptors".into()));
        assert_eq!(faults.sentences().collect::<Vec<_>>(), ["a probe: no descriptors"]);
        assert_eq!(faults.first_needed(), None);
        faults.note(Act::needed("write the tables"), Err("no space".into()));
        assert_eq!(faults.first_needed().unwrap(), "write the tables: no space");
    }
}
