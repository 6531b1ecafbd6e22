//! Kernel settings that Sluice depends on but does not change.

use std::fs;
use std::io;

/// Whether an interface forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// `net.ipv4.conf.INTERFACE.forwarding`
    pub ipv4: bool,
    /// `net.ipv6.conf.INTERFACE.forwarding`; false where the kernel has no IPv6.
    pub ipv6: bool,
}

/// Reads whether an interface forwards.
///
/// `bpf_fib_lookup` answers only for an interface that does.
pub fn forwarding(interface: &str) -> io::Result<Forwarding> {
    Ok(Forwarding {
        ipv4: read_flag("ipv4", interface)?,
        ipv6: match read_flag("ipv6", interface) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            answer => answer?,
        },
    })
}

fn read_flag(family: &str, interface: &str) -> io::Result<bool> {
    let text = fs::read_to_string(format!("/proc/sys/net/{family}/conf/{interface}/forwarding"))?;
    Ok(text.trim() != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_does_not_exist_is_an_error() {
        assert!(forwarding("lo").is_ok());
        assert_eq!(forwarding("no-such-nic").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
