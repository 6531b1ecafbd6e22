//! Veth pairs between namespaces, as XDP needs them.

use anyhow::Result;

use crate::command::run;
use crate::namespace::Namespace;

/// One end of a link.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// Where it is.
    pub namespace: &'a Namespace,
    /// Name of the interface.
    pub interface: &'a str,
}

/// Joins two ends by a veth pair and brings both up.
pub fn join(a: End<'_>, b: End<'_>) -> Result<()> {
    a.namespace.ip(&format!(
        "link add {} type veth peer name {} netns {}",
        a.interface,
        b.interface,
        b.namespace.name()
    ))?;
    for end in [a, b] {
        end.namespace.ip(&format!("link set {} up", end.interface))?;
    }
    for end in [a, b] {
        prepare(end)?;
    }
    Ok(())
}

/// A frame that leaves XDP has lost the mark that its checksum is still to be computed, so senders must
/// compute it; a veth takes frames from XDP only if its peer polls, which GRO brings about: but not if it is
/// turned on before both ends are up (Linux 6.18).
fn prepare(end: End<'_>) -> Result<()> {
    let features = ["tx", "off", "tso", "off", "gso", "off", "gro", "on"];
    run(end.namespace.command("ethtool").args(["-K", end.interface]).args(features))?;
    Ok(())
}
