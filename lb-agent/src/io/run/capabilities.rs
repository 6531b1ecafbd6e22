//! What the kernel must allow, checked before anything is touched.
//!
//! The kernel's own refusals come late and say `EPERM` or show a page of the verifier's log.

use std::fs;

use caps::errors::CapsError;
use caps::{CapSet, clear};

/// Name and number (linux/capability.h) of what the packet path and netlink need. `CAP_PERFMON` lets the
/// verifier accept arithmetic on packet pointers.
const NEEDED: [(&str, u32); 3] = [("CAP_NET_ADMIN", 12), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];
/// What virtual routers need besides: raw sockets.
const NEEDED_BY_ROUTERS: (&str, u32) = ("CAP_NET_RAW", 13);
/// It includes `CAP_BPF` and `CAP_PERFMON` (capabilities(7)).
const SYS_ADMIN: u32 = 21;

/// Sees to it that what this process runs, as the scripts of virtual routers, gets none of the capabilities that a
/// unit gives it (`AmbientCapabilities`). To be called while there is one thread: others have sets of their own.
pub fn keep_from_children() -> Result<(), CapsError> {
    clear(None, CapSet::Ambient)?;
    clear(None, CapSet::Inheritable)
}

/// Names of the capabilities that this process lacks.
pub(super) fn missing(has_routers: bool) -> Vec<&'static str> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    effective(&status).map_or_else(Vec::new, |effective| lacking(effective, has_routers))
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn lacking(effective: u64, has_routers: bool) -> Vec<&'static str> {
    let has = |number: u32| effective & (1 << number) != 0;
    let by_admin = |number| matches!(number, 38 | 39) && has(SYS_ADMIN);
    let more = [NEEDED_BY_ROUTERS].into_iter().filter(|_| has_routers);
    let lacks =
        NEEDED.into_iter().chain(more).filter(|(_, number)| !has(*number) && !by_admin(*number));
    lacks.map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_lacks_nothing_and_a_user_everything() {
        let status = "Name:\tlb-agent\nCapPrm:\t0000000000000000\nCapEff:\t000001ffffffffff\n";
        assert!(lacking(effective(status).unwrap(), true).is_empty());
        assert_eq!(lacking(0, false), ["CAP_NET_ADMIN", "CAP_PERFMON", "CAP_BPF"]);
    }

    #[test]
    fn the_administrator_of_old_kernels_still_needs_the_network() {
        assert_eq!(lacking(1 << SYS_ADMIN, false), ["CAP_NET_ADMIN"]);
        assert_eq!(lacking(1 << 12 | 1 << 39, false), ["CAP_PERFMON"]);
    }

    #[test]
    fn virtual_routers_need_raw_sockets() {
        let others = 1 << 12 | 1 << 38 | 1 << 39;
        assert_eq!(lacking(others, true), ["CAP_NET_RAW"]);
        assert!(lacking(others, false).is_empty() && lacking(others | 1 << 13, true).is_empty());
        assert_eq!(lacking(1 << SYS_ADMIN | 1 << 12, true), ["CAP_NET_RAW"]);
    }
}
