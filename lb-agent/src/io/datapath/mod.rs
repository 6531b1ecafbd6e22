//! The packet path: its program on the interfaces, its maps, its flow table. The BPF library stays behind
//! this module.
//!
//! Program, links and maps are pinned, so they outlive the agent, and the next agent takes them over. A
//! pinned map is used only after its shape and the version of its layout have been compared.

mod attach;
mod backends;
mod clamp;
mod cookies;
mod counters;
mod decap;
mod drops;
mod error;
mod explain;
mod filter;
mod firewall;
mod flow_table;
mod follow;
mod guards;
mod halves;
mod hold;
mod interfaces;
mod loads;
mod lock;
mod mapping;
mod maps;
mod moving;
mod open_flows;
mod pins;
mod prepare;
mod program;
mod replica;
mod resize;
mod room;
mod settings;
mod shape;
mod sources;
mod stages;
mod start;
mod sweep;
mod tables;
mod upgrade;
mod wire;
mod writes;

use std::path::Path;
use std::sync::Arc;

use lb_common::api;

pub use attach::FITS_A_PAGE;
pub use clamp::Hook;
pub use cookies::{CookiesLoaded, LateCookies};
pub use counters::Counters;
pub use decap::{DECAP_OBJECT, Decap, DecapPlan};
pub use drops::Drops;
pub use error::{DatapathError, Result};
pub use explain::Explainer;
pub use firewall::FirewallMaps;
pub use flow_table::{FlowEntry, FlowTable};
pub use guards::Cookies;
pub use hold::Hold;
pub use interfaces::Macs;
pub use lock::Lock;
pub use open_flows::OpenFlows;
pub use pins::is_on_bpffs;
pub use prepare::Common;
pub use program::firewall_entries;
pub use replica::{News, Shadow};
pub use resize::{Prepared, Resize};
pub use room::{NextRules, RulesReady};
pub use stages::set_stages;
pub use sweep::{FlowCounts, Swept};

use crate::io::netlink::links;
use crate::model::config;
use crate::model::firewall::compile::Size as FirewallSize;
use crate::model::tables::{Tables, Write};
use attach::find_targets;
use maps::Maps;
use pins::Pins;
use program::{Running, Verified};
use room::{Room, firewall_of};
use shape::Geometry;

/// The packet path as the repository keeps it built.
#[cfg(not(feature = "layout-before"))]
pub const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../lb-ebpf/object/sluice.bpf.o"
));
/// The packet path with the layout before this one.
#[cfg(feature = "layout-before")]
pub const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../lb-ebpf/object/before.bpf.o"
));

/// Whether the flow table has the size that it should have.
enum Size {
    Settled,
    /// Another table is being made.
    Preparing,
    /// It has, and maps of another size are being made for the firewall.
    MakingRoom,
    /// Flows are being moved; this program will know of the new table only.
    Moving(Box<Verified>),
}

/// What maps are made with that are not there yet, and what counts for all.
#[derive(Clone, Copy, Debug)]
pub struct New {
    /// What several directors have in common.
    pub common: Option<Common>,
    /// How large the firewall is.
    pub firewall: FirewallSize,
}

/// The packet path of this host.
pub struct Datapath {
    maps: Maps,
    flows: Arc<FlowTable>,
    interfaces: Vec<String>,
    mode: config::XdpMode,
    pins: Pins,
    /// The program that was attached.
    running: Running,
    late_cookies: Option<LateCookies>,
    geometry: Geometry,
    size: Size,
    /// What was prepared for rules that are not in force yet.
    room: Option<Room>,
    is_first: bool,
}

impl Datapath {
    /// Loads the program and attaches it, or takes over what an agent before this one left.
    ///
    /// `object` is the compiled packet path, as a rule [`OBJECT`]. Where anything is in the way, nothing
    /// is changed.
    pub fn open(config: &config::Datapath, object: &[u8]) -> Result<Self> {
        Self::open_with(config, object, New { common: None, firewall: FirewallSize::none() })
    }

    /// The same, where maps are made with what is said of new ones.
    pub fn open_with(config: &config::Datapath, object: &[u8], new: New) -> Result<Self> {
        let before = Pins::existing(&config.pin_path).filter(|pins| !pins.is_empty());
        let targets = find_targets(&config.interfaces, config.xdp_mode, before.as_ref())?;
        let pins = Pins::open(&config.pin_path)?;
        let opened = Self::start(config, object, &pins, (targets, new));
        if opened.is_err() && before.is_none() {
            let removed = pins.remove_all();
            removed.unwrap_or_else(|error| tracing::warn!(%error, "clean up after a failed start"));
        }
        opened.map(|opened| Self { is_first: before.is_none(), ..opened })
    }

    /// Whether there were no pins before.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.is_first
    }

    /// Everything that was written to the maps.
    pub fn tables(&self) -> Result<Tables> {
        self.maps.tables()
    }

    /// Carries out writes in their order; stops at the first that fails.
    pub fn apply(&mut self, writes: &[Write]) -> Result<()> {
        self.check_cookies(writes)?;
        if let Some(firewall) = writes.iter().find_map(firewall_of) {
            self.make_room(firewall)?;
        }
        self.maps.mark(writes);
        self.maps.apply(writes)?;
        self.maps.unmark(writes)
    }

    /// The counters of all verdicts and of these ids.
    pub fn counters(
        &self,
        listeners: impl IntoIterator<Item = u32>,
        backends: impl IntoIterator<Item = u32>,
    ) -> Result<Counters> {
        self.maps.counters(listeners, backends)
    }

    /// How a listener does that answers with cookies where it must.
    #[must_use]
    pub fn cookies(&self, listener: u32) -> Option<Cookies> {
        self.maps.cookies(listener)
    }

    /// The flow table, to be swept and read beside everything else.
    #[must_use]
    pub fn flows(&self) -> Arc<FlowTable> {
        Arc::clone(&self.flows)
    }

    /// The MAC addresses of the interfaces, for the thread of the virtual routers.
    #[must_use]
    pub fn macs(&self) -> Macs {
        self.maps.interfaces.clone()
    }

    /// The configured interfaces that run a program now.
    pub fn interfaces(&self) -> Result<Vec<api::Interface>> {
        attached_interfaces(&self.interfaces)
    }
}

/// Those of these interfaces that run a program now.
fn attached_interfaces(names: &[String]) -> Result<Vec<api::Interface>> {
    let links = links().map_err(DatapathError::Interfaces)?;
    Ok(links
        .into_iter()
        .filter(|link| names.contains(&link.name))
        .filter_map(|link| {
            let attached = link.xdp?;
            let mode = if attached.native { "native" } else { "generic" };
            let (name, mode) = (link.name, mode.to_owned());
            Some(api::Interface { name, mode, program_id: attached.program_id })
        })
        .collect())
}

/// Both may be moved to, and the flow table used from, any thread.
const _: () = {
    const fn proved<T: Send + Sync>() {}
    proved::<Datapath>();
    proved::<FlowTable>();
};

/// Memory that the maps take, in bytes. Those per CPU have room for every CPU that may be plugged in.
pub fn map_bytes(max_flows: u32, firewall: FirewallSize) -> Result<u64> {
    let n_cpus = u64::from(prepare::cpus()?);
    Geometry::for_flows(max_flows, firewall).map(|geometry| shape::bytes(geometry, n_cpus))
}

/// Detaches from all interfaces and removes program and maps. False if there was nothing.
pub fn detach(pin_path: &Path) -> Result<bool> {
    match Pins::existing(pin_path) {
        Some(pins) => pins.remove_all().map(|()| true),
        None => Ok(false),
    }
}
