//! The arguments of `lb-agent decap`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use ipnet::IpNet;

use crate::io::datapath::{DecapPlan, Hook};
use crate::model::config::XdpMode;
use crate::model::decap::{Segment, Tunnels, parse_prefix, parse_vip};

const MODES: [(&str, XdpMode); 3] =
    [("auto", XdpMode::Auto), ("native", XdpMode::Native), ("generic", XdpMode::Generic)];

/// What `lb-agent decap` is to do.
#[derive(Clone, Debug, clap::Args)]
pub struct DecapArgs {
    /// An interface that directors or clients are behind; more than one may be given.
    #[arg(long = "interface", value_name = "NAME", required = true)]
    interfaces: Vec<String>,
    /// A VIP whose packets this host serves; more than one may be given.
    #[arg(long = "vip", value_name = "ADDRESS", required = true, value_parser = parse_vip)]
    vips: Vec<IpAddr>,
    /// A director, or a network of directors; more than one may be given. Without any, tunnels may come from
    /// anywhere.
    #[arg(long = "from", value_name = "PREFIX", value_parser = parse_prefix)]
    sources: Vec<IpNet>,
    /// The UDP port of GUE; 0 for none.
    #[arg(long, value_name = "PORT", default_value_t = 6080)]
    gue_port: u16,
    /// The largest TCP segments to ask clients for: `auto`, `off`, or a number of bytes.
    #[arg(long, value_name = "SIZE", default_value = "auto")]
    mss: Segment,
    /// Put the VIPs on `lo`, and take them away at the end.
    #[arg(long)]
    pub(super) address: bool,
    /// How to attach to the interfaces.
    #[arg(
        long,
        value_name = "MODE",
        default_value = "auto",
        value_parser = PossibleValuesParser::new(MODES.map(|mode| mode.0)).map(|name| mode(&name))
    )]
    xdp_mode: XdpMode,
    /// Leave everything in place at the end, for the next start to take over.
    #[arg(long)]
    pub(super) keep: bool,
    /// Take away what a run with the same options and `--keep` has left, and end.
    #[arg(long)]
    pub(super) detach: bool,
    /// Where programs are pinned.
    #[arg(long, value_name = "FOLDER", default_value = "/sys/fs/bpf/lb-decap")]
    pub(super) pin_path: PathBuf,
    /// Where it is kept which VIPs were put on `lo`.
    #[arg(long, value_name = "FOLDER", default_value = "/var/lib/lb-decap")]
    pub(super) state_dir: PathBuf,
}

fn mode(name: &str) -> XdpMode {
    let found = MODES.into_iter().find(|mode| mode.0 == name);
    found.map_or(XdpMode::Auto, |mode| mode.1)
}

impl DecapArgs {
    /// Where and how to attach.
    pub(super) fn plan(&self) -> DecapPlan {
        DecapPlan {
            interfaces: self.interfaces.clone(),
            mode: self.xdp_mode,
            hook: (self.mss != Segment::Off).then(Hook::of_this_kernel),
            pin_path: self.pin_path.clone(),
        }
    }

    /// What to decapsulate.
    pub(super) fn tunnels(&self) -> Tunnels {
        Tunnels {
            vips: self.vips.iter().copied().collect(),
            gue_port: self.gue_port,
            sources: self.sources.clone(),
            segment: self.mss,
        }
    }
}
