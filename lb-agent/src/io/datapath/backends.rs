//! Writes the entries of backends, which packets may be reading at that moment.
//!
//! The packet path reads a next hop field by field, and an update copies an entry in no order: a packet
//! could leave for half a MAC address, or for a neighbour by another one's interface. So MAC addresses
//! change only while the interface is 0, and between two steps every packet that may have read the one
//! before is waited for. Where a known next hop changes, packets to it are dropped (`no_next_hop`) for two
//! such waits, which take some 10 ms each; a whole batch waits once.

use std::collections::BTreeMap;
use std::sync::Once;

use lb_common::layout::Backend;
use lb_common::map;
use nix::libc;

use super::counters::zero;
use super::error::{OnMap, Result};
use super::maps::Maps;

impl Maps {
    /// Writes entries by id; the counters of an id that was free are set to zero first.
    pub(super) fn write_backends(&mut self, entries: &BTreeMap<u32, Backend>) -> Result<()> {
        let mut plans = Vec::new();
        for (id, value) in entries {
            let before = self.backends.get(id, 0).on("read", map::BACKENDS)?;
            if before.state == 0 {
                zero(&mut self.backend_traffic, map::BACKEND_TRAFFIC, *id)?;
            }
            plans.push((*id, Steps::between(&before, value)));
        }
        for step in [|steps: &Steps| steps.close, |steps: &Steps| steps.prepare] {
            if self.write_step(&plans, step)? {
                wait_for_packets();
            }
        }
        self.write_step(&plans, |steps| Some(steps.open)).map(drop)
    }

    /// Whether there was anything to write.
    fn write_step(
        &mut self,
        plans: &[(u32, Steps)],
        step: fn(&Steps) -> Option<Backend>,
    ) -> Result<bool> {
        let mut any = false;
        for (id, steps) in plans {
            if let Some(value) = step(steps) {
                self.backends.set(*id, value, 0).on("write", map::BACKENDS)?;
                any = true;
            }
        }
        Ok(any)
    }
}

/// The entries that one backend passes through.
#[derive(Debug)]
struct Steps {
    /// The old next hop without its interface.
    close: Option<Backend>,
    /// The new next hop without its interface.
    prepare: Option<Backend>,
    /// All of the new entry.
    open: Backend,
}

impl Steps {
    fn between(before: &Backend, after: &Backend) -> Self {
        let in_use = before.state != 0;
        let changes = (before.interface, before.macs) != (after.interface, after.macs);
        let without = |entry: &Backend| {
            let needed = in_use && changes && entry.interface != 0;
            needed.then_some(Backend { interface: 0, ..*entry })
        };
        Self { close: without(before), prepare: without(after), open: *after }
    }
}

/// Returns when every packet that was worked on at the call has left.
///
/// XDP programs run as readers of RCU, and this command waits for all of those (`membarrier_cmd` in
/// kernel/sched/membarrier.c). The kernel refuses it with `nohz_full`; then the order of the steps is all
/// there is, and only a packet that a system call overtakes could see two of them. That is told once.
pub(super) fn wait_for_packets() {
    static TOLD: Once = Once::new();
    let (no_flags, no_cpu) = (0, 0);
    // SAFETY: the call takes three numbers and touches no memory of this process.
    let result = unsafe {
        libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, no_flags, no_cpu)
    };
    if result != 0 {
        TOLD.call_once(|| {
            tracing::warn!(
                "the kernel does not wait for packets under way, as with nohz_full: one that a change overtakes may \
                 be judged or sent by parts of both states"
            );
        });
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    fn entry(state: u8, interface: u32, mac: u8) -> Backend {
        let mut entry = Backend::new_zeroed();
        (entry.state, entry.interface, entry.macs) = (state, interface, [mac; 12]);
        entry
    }

    /// What packets may find, one after the other.
    fn history(before: Backend, after: Backend) -> Vec<(u32, u8)> {
        let steps = Steps::between(&before, &after);
        let entries = [Some(before), steps.close, steps.prepare, Some(steps.open)];
        entries.into_iter().flatten().map(|entry| (entry.interface, entry.macs[0])).collect()
    }

    #[test]
    fn a_mac_changes_only_while_the_interface_is_zero() {
        assert_eq!(history(entry(1, 3, 7), entry(1, 3, 8)), [(3, 7), (0, 7), (0, 8), (3, 8)]);
        assert_eq!(history(entry(1, 0, 0), entry(1, 3, 8)), [(0, 0), (0, 8), (3, 8)]);
        assert_eq!(history(entry(1, 3, 7), entry(1, 0, 0)), [(3, 7), (0, 7), (0, 0)]);
        assert_eq!(history(entry(1, 3, 7), entry(1, 4, 7)), [(3, 7), (0, 7), (0, 7), (4, 7)]);
    }

    #[test]
    fn a_state_changes_and_a_free_id_is_taken_in_one_step() {
        assert_eq!(history(entry(1, 3, 7), entry(2, 3, 7)), [(3, 7), (3, 7)]);
        assert_eq!(history(entry(0, 0, 0), entry(1, 3, 7)), [(0, 0), (3, 7)]);
    }
}
