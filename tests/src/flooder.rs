//! A machine that floods a director, at an interface of the director's of its own, so that clients keep theirs.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command::run;
use crate::flood::{Flood, Way};
use crate::link::{End, join};
use crate::namespace::Namespace;
use crate::web::PORT;
use crate::world::{World, vips};
use crate::xdp;

/// The director's interface by which the flood comes.
const SIDE: &str = "side";
const DIRECTOR: &str = "address add 198.18.0.1/24 dev side
address add 2001:db8:3::1/64 dev side nodad";
const OWN: &str = "address add 198.18.0.10/24 dev eth0
address add 2001:db8:3::10/64 dev eth0 nodad
route add default via 198.18.0.1
route add default via 2001:db8:3::1";
/// SYNs to each VIP before anything else happens.
const BEFORE: u64 = 50_000;

/// Where a flood comes from.
#[derive(Debug)]
pub struct Flooder {
    /// Its namespace. It may be a client as well.
    pub namespace: Namespace,
}

impl Flooder {
    /// Joins one to a world's director, whose agent learns of it by [`Self::joined`].
    pub fn new(world: &World) -> Result<Self> {
        let namespace = Namespace::create(&format!("{}-flooder", world.name()))?;
        let own = End { namespace: &namespace, interface: "eth0" };
        join(own, End { namespace: &world.director, interface: SIDE })?;
        xdp::attach(xdp::PASS, own, &world.link_path())?;
        world.director.ip(DIRECTOR)?;
        namespace.ip(OWN)?;
        Ok(Self { namespace })
    }

    /// A configuration file of the world's agent that has the interface as well.
    pub fn joined(config: &str) -> String {
        config.replacen("\"]\npin_path", &format!("\", {SIDE:?}]\npin_path"), 1)
    }

    /// Starts to send to port 80 of both VIPs all that the machine can, or so many SYNs a second to each.
    pub fn start(&self, world: &World, rate: Option<u32>) -> Result<[Flood; 2]> {
        let (interface, own) = link(End { namespace: &self.namespace, interface: "eth0" })?;
        let (_, side) = link(End { namespace: &world.director, interface: SIDE })?;
        let threads = std::thread::available_parallelism().context("count the CPUs")?.get();
        let threads = if rate.is_some() { 1 } else { u32::try_from(threads.div_ceil(2))? };
        let start = |target| {
            let way = Way { interface, macs: [side, own], target };
            Flood::start(&self.namespace, way, (threads, rate))
        };
        let [v4, v6] = vips(PORT).map(start);
        let floods = [v4?, v6?];
        floods.iter().try_for_each(|flood| flood.wait_for(BEFORE))?;
        Ok(floods)
    }
}

/// Index and MAC address of an interface.
fn link(End { namespace, interface }: End<'_>) -> Result<(u32, [u8; 6])> {
    let said = run(namespace.command("ip").args(["-json", "link", "show", "dev", interface]))?;
    let links: Value = serde_json::from_str(&said).context("read what ip says")?;
    let said = |key| links.pointer(&format!("/0/{key}"));
    let index = said("ifindex").and_then(Value::as_u64).context("find its index")?;
    let mac = said("address").and_then(Value::as_str).context("find its MAC address")?;
    let bytes = mac.split(':').map(|byte| u8::from_str_radix(byte, 16));
    let bytes: Vec<u8> = bytes.collect::<Result<_, _>>()?;
    let mac = bytes.as_slice().try_into().context("read a MAC address")?;
    Ok((u32::try_from(index)?, mac))
}
