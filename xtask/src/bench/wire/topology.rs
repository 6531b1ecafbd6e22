//! A client, and a director for each contender at a wire of its own, so that they can take turns at once.

use std::fmt::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use lb_common::bench::Feed;
use lb_tests::bpf_fs::ensure_mounted;
use lb_tests::command::run_with_input;
use lb_tests::link::{End, join};
use lb_tests::namespace::Namespace;

use super::super::director::{Director, NEIGHBOUR, NIC, backends};
use super::super::feed::{FIRST_SERVICE, Family, SERVICES};
use super::super::harness::Harness;
use super::super::{cpu, link, mac, stay_on_one_cpu};
use super::cpu::Meter;

/// What turns the packets round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    /// The shipped packet path.
    Sluice,
    /// A program that sends each frame back.
    Transmit,
    /// A program that counts and drops; what it counts has arrived.
    Drop,
    /// The kernel's DNAT.
    Nftables,
}

impl Contender {
    /// All; ours first.
    pub(crate) const ALL: [Self; 4] = [Self::Sluice, Self::Transmit, Self::Drop, Self::Nftables];

    /// As results name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sluice => "Sluice",
            Self::Transmit => "XDP_TX",
            Self::Drop => "XDP_DROP",
            Self::Nftables => "nftables DNAT",
        }
    }

    /// As interfaces and namespaces name it.
    fn short(self) -> &'static str {
        match self {
            Self::Sluice => "sluice",
            Self::Transmit => "transmit",
            Self::Drop => "drop",
            Self::Nftables => "nftables",
        }
    }
}

/// A contender's place.
struct Place {
    contender: Contender,
    namespace: Namespace,
    /// MAC address of the director's interface.
    mac: [u8; 6],
    /// Index of the client's interface.
    client_interface: u32,
}

/// Namespaces, wires and programs.
pub(crate) struct Topology {
    harness: Harness,
    sluice: Director,
    places: Vec<Place>,
    client: Namespace,
    meter: Meter,
}

/// How a run went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// Packets that came back.
    pub(crate) arrived: u64,
    /// Time that the core spent.
    pub(crate) busy: Duration,
}

impl Topology {
    /// Lays it out.
    pub(crate) fn new(name: &str, mut harness: Harness) -> Result<Self> {
        ensure_mounted()?;
        let client = Namespace::create(&format!("{name}-client"))?;
        let places: Vec<Place> = Contender::ALL
            .into_iter()
            .map(|contender| wire(name, &client, contender, &mut harness))
            .collect::<Result<_>>()?;
        let start = || Director::start(name, "nat", 1 << 20);
        let sluice = place(&places, Contender::Sluice)?.namespace.enter(start)??;
        Ok(Self { harness, sluice, places, client, meter: Meter::of_cpu(cpu()?)? })
    }

    /// Opens connections through Sluice.
    pub(crate) fn open_connections(&mut self, family: Family, flows: u32) -> Result<()> {
        let (sluice, harness) = (&self.sluice, &mut self.harness);
        let place = place(&self.places, Contender::Sluice)?;
        place.namespace.enter(|| sluice.open_connections(harness, family, (flows, true)))?
    }

    /// MAC address of a contender.
    pub(crate) fn mac(&self, contender: Contender) -> [u8; 6] {
        place(&self.places, contender).map(|place| place.mac).unwrap_or_default()
    }

    /// Sends live frames to a contender.
    pub(crate) fn send(
        &mut self,
        contender: Contender,
        family: Family,
        feed: Feed,
        packets: u32,
    ) -> Result<Sent> {
        let interface = place(&self.places, contender)?.client_interface;
        let (meter, harness) = (&self.meter, &mut self.harness);
        self.client.enter(|| {
            stay_on_one_cpu()?;
            let (before, spent) = (harness.arrived()?, meter.read()?);
            harness.send(("feed", family), feed, (packets, interface))?;
            let busy = meter.read()?.saturating_sub(spent);
            Ok(Sent { arrived: harness.arrived()? - before, busy })
        })?
    }
}

fn place(places: &[Place], contender: Contender) -> Result<&Place> {
    places.iter().find(|place| place.contender == contender).context("find a contender")
}

/// Joins a contender to the client, and starts it; Sluice starts later.
fn wire(
    name: &str,
    client: &Namespace,
    contender: Contender,
    harness: &mut Harness,
) -> Result<Place> {
    let namespace = Namespace::create(&format!("{name}-{}", contender.short()))?;
    let port = contender.short();
    let client_end = End { namespace: client, interface: port };
    join(client_end, End { namespace: &namespace, interface: NIC })?;
    harness.attach("sink", client_end)?;
    let nic = End { namespace: &namespace, interface: NIC };
    match contender {
        Contender::Sluice => {}
        Contender::Transmit => harness.attach("transmit_all", nic)?,
        Contender::Drop => harness.attach("sink", nic)?,
        Contender::Nftables => translate(&namespace)?,
    }
    let (mac, client_interface) = (mac(nic)?, link(client_end)?.index);
    Ok(Place { contender, namespace, mac, client_interface })
}

/// Makes a namespace a router with DNAT for the same services to the same backends.
fn translate(namespace: &Namespace) -> Result<()> {
    let neighbour = NEIGHBOUR.map(|byte| format!("{byte:02x}")).join(":");
    namespace.ip(&format!(
        "address add 172.16.0.2/24 dev {NIC}\naddress add 2001:db8:ffff::2/64 dev {NIC} nodad\n\
         neighbour add 172.16.0.1 lladdr {neighbour} dev {NIC} nud permanent\n\
         neighbour add 2001:db8:ffff::1 lladdr {neighbour} dev {NIC} nud permanent\n\
         route add default via 172.16.0.1\nroute add default via 2001:db8:ffff::1"
    ))?;
    for (key, value) in [
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/all/forwarding", "1"),
        ("ipv4/conf/all/send_redirects", "0"),
        ("ipv4/conf/nic/send_redirects", "0"),
    ] {
        namespace.sysctl(key, value)?;
    }
    run_with_input(namespace.command("nft").args(["-f", "-"]), &rules())?;
    Ok(())
}

/// The rules: only the first packet of a connection meets them.
fn rules() -> String {
    let mut chains = String::new();
    let mut jumps = [String::new(), String::new()];
    for (number, port) in (0..SERVICES).zip(FIRST_SERVICE..) {
        for ((jumps, family), protocol) in jumps.iter_mut().zip(Family::ALL).zip(["ip", "ip6"]) {
            let chain = format!("{}-{number}", family.suffix());
            let backends = backends(number, family);
            let map: Vec<_> = (0..).zip(&backends).map(|(n, at)| format!("{n} : {at}")).collect();
            let (n, map) = (backends.len(), map.join(", "));
            let rule = format!(
                "meta l4proto tcp dnat {protocol} to numgen inc mod {n} map {{ {map} }} : 8080"
            );
            // Writing to a string cannot fail.
            writeln!(chains, "chain {chain} {{\n{rule}\n}}").ok();
            write!(jumps, "{port} : goto {chain}, ").ok();
        }
    }
    let [v4, v6] = jumps;
    let [vip4, vip6] = Family::ALL.map(Family::vip);
    format!(
        "table inet bench {{\n{chains}chain prerouting {{ type nat hook prerouting priority dstnat;\n\
         ip daddr {vip4} tcp dport vmap {{ {v4} }}\nip6 daddr {vip6} tcp dport vmap {{ {v6} }}\n}}\n}}\n"
    )
}
