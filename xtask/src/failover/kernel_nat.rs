//! NAT by nftables, with conntrackd, which tells the other machine of the kernel's connections.
//!
//! What it tells goes into the other kernel's table at once (`DisableExternalCache`), so that nothing is left to do when
//! the addresses move. Packets of connections that a kernel does not know are lost, for it would answer them with
//! resets, or send a backend's on without the VIP.

use anyhow::{Context, Result};
use lb_tests::command::run_with_input;
use lb_tests::namespace::Namespace;
use lb_tests::pair::{Pair, VIP_V4};
use lb_tests::process::Process;

use super::classic::write;
use super::directors::{other, own_address};

pub(super) fn start(pair: &Pair, machine: &Namespace, number: usize) -> Result<Process> {
    // Else the kernel would take in connections from their middle, and begin each with another backend.
    machine.sysctl("netfilter/nf_conntrack_tcp_loose", "0")?;
    // conntrackd does not tell how far a connection has come.
    machine.sysctl("netfilter/nf_conntrack_tcp_be_liberal", "1")?;
    run_with_input(machine.command("nft").args(["-f", "-"]), &rules(pair))?;
    let name = format!("conntrackd{number}");
    let file = write(pair, &format!("{name}.conf"), &config(pair, number))?;
    // One that was killed leaves its lock behind.
    let lock = pair.folder().join(format!("{name}.lock"));
    if lock.exists() {
        std::fs::remove_file(&lock).context("forget an earlier conntrackd")?;
    }
    let mut command = machine.command("conntrackd");
    Process::start(&name, command.arg("-C").arg(file), pair.folder())
}

fn rules(pair: &Pair) -> String {
    let backends = (0..).zip(&pair.backends);
    let places = backends.map(|(place, host): (usize, _)| format!("{place} : {}", host.v4));
    let places: Vec<_> = places.collect();
    format!(
        "table ip shop\ndelete table ip shop\ntable ip shop {{\n\
         chain known {{ type filter hook prerouting priority mangle;\n\
         meta l4proto tcp ct state invalid drop\n}}\n\
         chain balance {{ type nat hook prerouting priority dstnat;\n\
         ip daddr {VIP_V4} tcp dport 80 dnat to numgen inc mod {} map {{ {} }}\n}}\n}}\n",
        places.len(),
        places.join(", ")
    )
}

fn config(pair: &Pair, number: usize) -> String {
    let (own, peer) = (own_address(number), own_address(other(number)));
    let place = pair.folder().join(format!("conntrackd{number}"));
    let place = place.display();
    format!(
        "Sync {{\nMode FTFW {{\nDisableExternalCache yes\nStartupResync yes\n}}\n\
         UDP {{\nIPv4_address {own}\nIPv4_Destination_Address {peer}\nPort 3780\nInterface back\n\
         SndSocketBuffer 1249280\nRcvSocketBuffer 1249280\nChecksum on\n}}\n}}\n\
         General {{\nSystemd no\nHashSize 32768\nHashLimit 131072\nLogFile {place}.said\n\
         LockFile {place}.lock\nUNIX {{\nPath {place}.ctl\n}}\n\
         NetlinkBufferSize 2097152\nNetlinkBufferSizeMaxGrowth 8388608\n\
         Filter From Userspace {{\nProtocol Accept {{\nTCP\n}}\n}}\n}}\n"
    )
}
