//! What kernels have counted of packets that were lost on their way.

use anyhow::Result;

use crate::command::run;
use crate::world::Host;

/// Resets for packets of no connection, timeouts, and losses that a probe has found: what the kernels of these hosts
/// say, a line each.
pub fn losses<'h>(hosts: impl IntoIterator<Item = &'h Host>) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for host in hosts {
        let names = ["TcpOutRsts", "TcpExtTCPTimeouts", "TcpExtTCPLossProbeRecovery"];
        let shown = run(host.namespace.command("nstat").arg("-as").args(names))?;
        let counts = shown.lines().filter(|line| names.iter().any(|name| line.starts_with(name)));
        lines.extend(counts.map(|line| format!("{}: {line}", host.name)));
    }
    Ok(lines)
}
