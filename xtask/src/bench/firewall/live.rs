//! Over a wire: live frames meet Sluice, or a set of nftables as early as the kernel has one (the hook `ingress`).
//! Sender and judge share a core; what is judged ends there, dropped or in a host to which nothing is addressed.

use std::fmt::Write;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_common::bench::Feed;
use lb_common::verdict::Verdict;
use lb_tests::command::{run, run_with_input};
use lb_tests::link::{End, join};
use lb_tests::namespace::Namespace;
use lb_tests::stale;

use super::super::budget::Budget;
use super::super::director::{Director, NIC};
use super::super::feed::spread;
use super::super::harness::Harness;
use super::super::row::Row;
use super::super::wire::cpu::Meter;
use super::super::{cpu, link, mac, stay_on_one_cpu};
use super::cases::{Case, Group, SOURCES};

const PACKETS: u32 = 400_000;
const NFT: &str = "nftables set";

/// A judge, and the way to it.
struct Place {
    namespace: Namespace,
    mac: [u8; 6],
    /// Index of the client's interface.
    interface: u32,
}

/// A client, Sluice, and nftables.
pub(super) struct Wire {
    director: Director,
    ours: Place,
    nft: Place,
    client: Namespace,
    harness: Harness,
    meter: Meter,
}

impl Wire {
    pub(super) fn new(group: &Group) -> Result<Self> {
        let name = stale::unique_name();
        let client = Namespace::create(&format!("{name}-client"))?;
        let [ours, nft] = ["sluice", "nft"].map(|port| place(&name, &client, port));
        let (ours, nft) = (ours?, nft?);
        let start = || {
            let mut director = Director::start(&name, "nat", 1 << 10)?;
            director.judge_by(&group.firewall, &group.sets)?;
            anyhow::Ok(director)
        };
        let director = ours.namespace.enter(start)??;
        run_with_input(nft.namespace.command("nft").args(["-f", "-"]), &rules(group))?;
        let harness = Harness::load_to_spread(group.family, 0, SOURCES)?;
        Ok(Self { director, ours, nft, client, harness, meter: Meter::of_cpu(cpu()?)? })
    }

    pub(super) fn case(&mut self, case: &Case, budget: Budget) -> Result<Row> {
        self.harness.come_from(&case.sources)?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in budget.rounds(15, 5) {
            budget.step()?;
            ours.push(self.rate(case, true)?);
            theirs.push(self.rate(case, false)?);
        }
        let (name, place) = (format!("veth {}", case.name), (case.family.name(), 0));
        Ok(Row::of("firewall", &name, place, "kpps", &ours).beside(NFT, &ours, &theirs))
    }

    /// Thousands of packets a second.
    fn rate(&mut self, case: &Case, is_ours: bool) -> Result<f64> {
        let before = self.judged(case, is_ours)?;
        let busy = self.send(case, is_ours)?;
        let judged = self.judged(case, is_ours)? - before;
        ensure!(judged * 20 > u64::from(PACKETS) * 19, "{judged} of {PACKETS} packets were judged");
        Ok(f64::from(u32::try_from(judged)?) / busy.as_secs_f64() / 1_000.0)
    }

    fn send(&mut self, case: &Case, is_ours: bool) -> Result<Duration> {
        let place = if is_ours { &self.ours } else { &self.nft };
        let ports = ((case.port, 1), SOURCES);
        let feed: Feed = spread(case.family, place.mac, case.family.elsewhere(), ports);
        let (meter, harness, interface) = (&self.meter, &mut self.harness, place.interface);
        self.client.enter(|| {
            stay_on_one_cpu()?;
            let spent = meter.read()?;
            harness.send(("spread", case.family), feed, (PACKETS, interface))?;
            Ok(meter.read()?.saturating_sub(spent))
        })?
    }

    /// Packets that ended as they should.
    fn judged(&self, case: &Case, is_ours: bool) -> Result<u64> {
        if is_ours {
            return self.director.packets(case.verdict);
        }
        let chain =
            run(self.nft.namespace.command("nft").args("list chain netdev bench in".split(' ')))?;
        let counters = chain.split("counter packets ").skip(1);
        let mut counters = counters.filter_map(|rest| rest.split(' ').next()?.parse().ok());
        let place = usize::from(case.verdict != Verdict::FirewallDrop);
        counters.nth(place).context("find the counter of nftables")
    }
}

fn place(name: &str, client: &Namespace, port: &str) -> Result<Place> {
    let namespace = Namespace::create(&format!("{name}-{port}"))?;
    let client_end = End { namespace: client, interface: port };
    join(client_end, End { namespace: &namespace, interface: NIC })?;
    let mac = mac(End { namespace: &namespace, interface: NIC })?;
    let interface = link(client_end)?.index;
    Ok(Place { namespace, mac, interface })
}

/// The same set for nftables; the second counter is that of packets that go on.
fn rules(group: &Group) -> String {
    let mut elements = String::new();
    for prefix in &group.prefixes {
        // Writing to a string cannot fail.
        writeln!(elements, "{prefix},").ok();
    }
    format!(
        "table netdev bench {{\nset listed {{ type ipv4_addr; flags interval; auto-merge;\n\
         elements = {{ {elements} }} }}\nchain in {{ type filter hook ingress device {NIC} priority 0;\n\
         ip saddr @listed counter drop\ncounter\n}}\n}}\n"
    )
}
