//! `HAProxy` in TCP mode, which ends each connection itself and so cannot hand it over.

use std::net::IpAddr;

use anyhow::Result;
use lb_tests::namespace::Namespace;
use lb_tests::pair::{Pair, VIP_V4};
use lb_tests::process::Process;

use super::classic::write;

pub(super) fn start(pair: &Pair, machine: &Namespace, number: usize) -> Result<Process> {
    // It listens on the VIP before the machine has it.
    machine.sysctl("ipv4/ip_nonlocal_bind", "1")?;
    let servers = pair.backends.iter();
    let server = |(name, v4): (&String, IpAddr)| format!(" server {name} {v4}:80 check inter 2s\n");
    let servers = servers.map(|host| server((&host.name, host.v4.into()))).collect::<Vec<_>>();
    let config = format!(
        "global\n maxconn 4000\n nbthread 2\ndefaults\n mode tcp\n timeout connect 5s\n \
         timeout client 30s\n timeout server 30s\nlisten shop\n bind {VIP_V4}:80\n \
         balance roundrobin\n{}",
        servers.concat()
    );
    let file = write(pair, &format!("haproxy{number}.cfg"), &config)?;
    let mut command = machine.command("haproxy");
    Process::start(
        &format!("haproxy{number}"),
        command.arg("-db").arg("-f").arg(file),
        pair.folder(),
    )
}
