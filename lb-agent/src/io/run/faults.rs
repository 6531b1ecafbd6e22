//! What does not work at the moment and is tried again; shown in the status, logged when it changes.

use std::collections::BTreeMap;

/// Faults by what was tried.
#[derive(Debug, Default)]
pub(super) struct Faults(BTreeMap<&'static str, String>);

impl Faults {
    /// Takes note of how something went.
    pub(super) fn note(&mut self, act: &'static str, result: Result<(), String>) {
        match result {
            Ok(()) => {
                if self.0.remove(act).is_some() {
                    tracing::info!("{act}: works again");
                }
            }
            Err(reason) => {
                if self.0.get(act) != Some(&reason) {
                    tracing::error!("{act}: {reason}");
                    self.0.insert(act, reason);
                }
            }
        }
    }

    /// Whether it did not work the last time.
    pub(super) fn contains(&self, act: &str) -> bool {
        self.0.contains_key(act)
    }

    /// A sentence each.
    pub(super) fn sentences(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(act, reason)| format!("{act}: {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_stays_until_what_was_tried_works() {
        let mut faults = Faults::default();
        faults.note("write the tables", Err("no space".into()));
        faults.note("save the overlay", Ok(()));
        assert!(faults.contains("write the tables"));
        assert_eq!(faults.sentences().collect::<Vec<_>>(), ["write the tables: no space"]);
        faults.note("write the tables", Ok(()));
        assert!(!faults.contains("write the tables"));
        assert_eq!(faults.sentences().count(), 0);
    }
}
