//! The measured object: the shipped packet path on an interface of a namespace of its own, with 128 services
//! and 1,024 backends, written to its tables by the agent's own plan.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use aya::programs::{ProgramFd, ProgramInfo};
use lb_agent::io::clock::{now, tick};
use lb_agent::io::datapath::{Datapath, OBJECT, detach};
use lb_agent::io::netlink::links;
use lb_agent::model::config::{Config, parse};
use lb_agent::model::desired::{Turns, desired};
use lb_agent::model::firewall::compile::{Compiled, Names, compile};
use lb_agent::model::firewall::{Firewall, Sets};
use lb_agent::model::health::{Checks, Health};
use lb_agent::model::paces::Paces;
use lb_agent::model::plan::plan;
use lb_agent::model::tables::{NextHop, Write as Change};
use lb_common::cell::State;
use lb_common::verdict::Verdict;
use lb_tests::bpf_fs::BPF_FS;

use super::feed::{FIRST_SERVICE, Family, Flags, SERVICES, feed};
use super::harness::Harness;

/// Backends of a service.
const BACKENDS: u8 = 8;
/// MAC address of them all.
pub(crate) const NEIGHBOUR: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Flows of which more is looked at than that they are there.
const LOOKED_AT: usize = 100_000;
/// Sources of full NAT: with eight backends behind each VIP there are enough ports for four million flows.
const FULL_NAT_SOURCES: &str = "\"192.0.2.1\", \"192.0.2.2\", \"192.0.2.3\", \"192.0.2.4\", \"2001:db8:9::1\", \"2001:db8:9::2\", \"2001:db8:9::3\", \"2001:db8:9::4\"";
/// Sources of tunnels, with bits that vary.
const TUNNEL_SOURCES: &str = "\"172.16.0.0/16\", \"2001:db8:9::/96\"";
/// So many SYNs a second may be followed by nothing at each listen address: new flows are no flood.
const SYNS: u32 = 10_000_000;
/// The director's interface.
pub(crate) const NIC: &str = "nic";

/// A running packet path; must be used in the namespace that it was started in.
pub(crate) struct Director {
    datapath: Datapath,
    program: ProgramFd,
    pins: PathBuf,
    /// Index of its interface.
    pub(crate) interface: u32,
    /// MAC address of its interface.
    pub(crate) mac: [u8; 6],
}

impl Director {
    /// Starts the packet path on [`NIC`] with services of this `forward` mode.
    pub(crate) fn start(name: &str, forward: &str, max_flows: u32) -> Result<Self> {
        let pins = Path::new(BPF_FS).join(name);
        let text = configuration(&pins, forward, max_flows);
        let config = parse("bench.toml", &text, name).map_err(|wrong| anyhow!("{wrong}"))?.config;
        let nic = links().context("list the interfaces")?.into_iter().find(|link| link.name == NIC);
        let nic = nic.context("find the interface")?;
        let mac = nic.mac.context("find its MAC address")?;
        let mut datapath = Datapath::open(&config.datapath, OBJECT)?;
        datapath.load_cookies()?;
        let hop = NextHop { interface: nic.index, neighbour: NEIGHBOUR, source: mac, mtu: 1_500 };
        install(&mut datapath, &config, hop)?;
        let program = ProgramInfo::from_pin(pins.join("program"))?.fd()?;
        Ok(Self { datapath, program, pins, interface: nic.index, mac })
    }

    /// The program.
    pub(crate) fn program(&self) -> Result<ProgramFd> {
        Ok(self.program.try_clone()?)
    }

    /// Has packets judged by these rules.
    pub(crate) fn judge_by(&mut self, firewall: &Firewall, sets: &Sets) -> Result<()> {
        self.put_in_force(&compile(firewall, sets, &Names::default())?)
    }

    /// The same by rules that are made already.
    pub(crate) fn put_in_force(&mut self, compiled: &Arc<Compiled>) -> Result<()> {
        self.datapath.apply(&[Change::Firewall(Arc::clone(compiled))])?;
        // Rules that need more room make another program.
        self.program = ProgramInfo::from_pin(self.pins.join("program"))?.fd()?;
        Ok(())
    }

    /// Opens connections through the program, by the harness; with the backends' answers where they pass here.
    pub(crate) fn open_connections(
        &self,
        harness: &mut Harness,
        family: Family,
        (flows, replies): (u32, bool),
    ) -> Result<()> {
        let mut feed = feed(family, self.mac, family.vip(), Flags::Ack);
        feed.end = u32::MAX;
        feed.one_way = u32::from(!replies);
        let steps = if replies { 3 } else { 2 };
        harness.run(("open", family), &self.program, feed, (steps * flows, self.interface))?;
        Ok(())
    }

    /// Fails unless the flow table holds this many flows, all different and established.
    pub(crate) fn expect_flows(&self, expected: u32) -> Result<()> {
        let (found, listed) =
            self.datapath.flows().list(tick(), LOOKED_AT, |_| true, |_, _, _| true)?;
        let established = listed.iter().filter(|flow| flow.state == State::Established);
        let ends = established.map(|flow| (flow.detail.client, flow.detail.client_port));
        let different: BTreeSet<_> = ends.collect();
        ensure!(
            found == u64::from(expected) && different.len() == listed.len(),
            "{found} flows are in the table, not {expected}; of {} that were looked at, {} are \
             different and established",
            listed.len(),
            different.len()
        );
        Ok(())
    }

    /// Packets that ended in a verdict.
    pub(crate) fn packets(&self, verdict: Verdict) -> Result<u64> {
        let counters = self.datapath.counters([], [])?;
        Ok(counters.verdicts.get(&verdict).map_or(0, |count| count.packets))
    }
}

impl Drop for Director {
    fn drop(&mut self) {
        if let Err(error) = detach(&self.pins) {
            eprintln!("{error}");
        }
    }
}

fn install(datapath: &mut Datapath, config: &Config, hop: NextHop) -> Result<()> {
    // Without health checks, all are up.
    let checks = Checks::new(now(), 0, config, |_| Health::Up);
    let backends = config.services.iter().flat_map(|service| &service.backends);
    let addresses = backends.flat_map(|backend| &backend.address);
    let hops: BTreeMap<IpAddr, NextHop> = addresses.map(|address| (address.ip(), hop)).collect();
    let desired = desired(config, &checks, &Paces::default(), &Turns::default(), &hops);
    let writes = plan(&datapath.tables()?, &desired, &BTreeSet::new())?;
    Ok(datapath.apply(&writes)?)
}

fn configuration(pins: &Path, forward: &str, max_flows: u32) -> String {
    let mut text = format!(
        "version = 1\n[datapath]\ninterfaces = [\"{NIC}\"]\npin_path = \"{}\"\nmanage_addresses = true\n\
         max_flows = {max_flows}\n[datapath.timeouts]\ntcp_syn = \"2h\"\n\
         [datapath.full_nat]\nsources = [{FULL_NAT_SOURCES}]\nports = \"1024-65535\"\n\
         [datapath.tunnel]\nsources = [{TUNNEL_SOURCES}]\n\
         [firewall]\nsyn_cookies_above = {SYNS}\n",
        pins.display()
    );
    let rewrites_ports = matches!(forward, "nat" | "full-nat");
    let [v4, v6] = Family::ALL.map(Family::vip);
    for (number, port) in (0..SERVICES).zip(FIRST_SERVICE..) {
        let listen =
            format!("listen = [\"{v4}:{port}\", \"[{v6}]:{port}\"]\nforward = \"{forward}\"");
        // Writing to a string cannot fail.
        writeln!(text, "[[service]]\nname = \"s{number}\"\n{listen}").ok();
        let [v4, v6] = Family::ALL.map(|family| backends(number, family));
        for (backend, (v4, v6)) in v4.into_iter().zip(v6).enumerate() {
            let port = if rewrites_ports { 8080 } else { port };
            let address = format!("address = [\"{v4}:{port}\", \"[{v6}]:{port}\"]");
            writeln!(text, "[[service.backend]]\nname = \"b{backend}\"\n{address}").ok();
        }
    }
    text
}

/// The backends of a service, by its number.
pub(crate) fn backends(service: u16, family: Family) -> Vec<IpAddr> {
    let [high, low] = service.to_be_bytes();
    let address = |backend: u8| match family {
        Family::V4 => Ipv4Addr::new(10, high, low, backend).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, service, backend.into()).into(),
    };
    (1..=BACKENDS).map(address).collect()
}
