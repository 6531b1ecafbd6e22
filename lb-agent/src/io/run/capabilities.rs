//! What the kernel must allow, checked before anything is touched.
//!
//! The kernel's own refusals come late and say `EPERM` or show a page of the verifier's log.

use std::fs;

/// Name and number (linux/capability.h) of what the packet path and netlink need. `CAP_PERFMON` lets the
/// verifier accept arithmetic on packet pointers.
const NEEDED: [(&str, u32); 3] = [("CAP_NET_ADMIN", 12), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];
/// It includes `CAP_BPF` and `CAP_PERFMON` (capabilities(7)).
const SYS_ADMIN: u32 = 21;

/// Names of the capabilities that this process lacks.
pub(super) fn missing() -> Vec<&'static str> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    effective(&status).map_or_else(Vec::new, lacking)
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn lacking(effective: u64) -> Vec<&'static str> {
    let has = |number: u32| effective & (1 << number) != 0;
    let by_admin = |number| number != 12 && has(SYS_ADMIN);
    let lacks = NEEDED.iter().filter(|(_, number)| !has(*number) && !by_admin(*number));
    lacks.map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_lacks_nothing_and_a_user_everything() {
        let status = "Name:\tlb-agent\nCapPrm:\t0000000000000000\nCapEff:\t000001ffffffffff\n";
        assert!(lacking(effective(status).unwrap()).is_empty());
        assert_eq!(lacking(0), ["CAP_NET_ADMIN", "CAP_PERFMON", "CAP_BPF"]);
    }

    #[test]
    fn the_administrator_of_old_kernels_still_needs_the_network() {
        assert_eq!(lacking(1 << SYS_ADMIN), ["CAP_NET_ADMIN"]);
        assert_eq!(lacking(1 << 12 | 1 << 39), ["CAP_PERFMON"]);
    }
}
