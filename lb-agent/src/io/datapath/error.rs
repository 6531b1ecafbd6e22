//! What can go wrong with the packet path, in words that name the act, the object and the remedy.

use std::io;
use std::path::PathBuf;

use super::attach::FITS_A_PAGE;

/// An error below, whatever library it comes from.
pub(super) type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why the packet path is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// The pin folder cannot hold pins.
    #[error(
        "{} is not on a BPF file system; `mount -t bpf bpf /sys/fs/bpf` makes one, and \
         `[datapath] pin_path` (on a backend: --pin-path) must lie on it",
        path.display()
    )]
    NotBpffs {
        /// The pin folder.
        path: PathBuf,
    },
    /// Somebody else's pins.
    #[error(
        "another lb-agent uses the pins in {}; stop it first, or give this one another \
         `[datapath] pin_path` (on a backend: --pin-path)",
        path.display()
    )]
    InUse {
        /// The pin folder.
        path: PathBuf,
    },
    /// A file or folder of pins.
    #[error("{act} {}", path.display())]
    Pin {
        /// What was tried.
        act: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: Source,
    },
    /// Pinned maps that this agent must not read.
    #[error(
        "the pinned map {map} is of another layout: it has {pinned}, this agent and its \
         configuration need {wanted}; nothing was changed. `lb-agent detach` removes the pinned \
         maps and with them all open flows"
    )]
    Layout {
        /// Name of the map.
        map: &'static str,
        /// What the pinned map has.
        pinned: String,
        /// What this agent needs.
        wanted: String,
    },
    /// Flows are half way to another table, and of a layout that is not ours.
    #[error(
        "an agent of another version was giving the flow table another size and has not finished; nothing was \
         changed. Start that version again, wait until `lb-ctl status` tells of no move, and stop it"
    )]
    Unfinished,
    /// The flow table would be too large.
    #[error("max_flows = {max_flows} needs more cells than a map can hold")]
    TooManyFlows {
        /// The configured number.
        max_flows: u32,
    },
    /// Its flows would not find a place in a smaller flow table.
    #[error(
        "max_flows = {max_flows} is less than the {open} flows that are open; the flow table keeps its \
         size until they are fewer"
    )]
    TooManyOpen {
        /// Flows in the table.
        open: u64,
        /// The configured number.
        max_flows: u32,
    },
    /// No such interface.
    #[error("there is no interface {interface}")]
    NoInterface {
        /// The configured name.
        interface: String,
    },
    /// Nothing comes in by it.
    #[error("{interface} {why}")]
    Idle {
        /// The interface.
        interface: String,
        /// In words.
        why: &'static str,
    },
    /// The packet path reads Ethernet frames.
    #[error("{interface} is not an Ethernet interface")]
    NotEthernet {
        /// The configured name.
        interface: String,
    },
    /// Somebody else's program.
    #[error(
        "{interface} already runs the XDP program {name} (id {id}), which is not ours; nothing was \
         changed. `ip link set dev {interface} xdp off` removes it, unless a link of its owner \
         holds it (`bpftool link` shows it)"
    )]
    Foreign {
        /// The interface.
        interface: String,
        /// Kernel id of the program.
        id: u32,
        /// Its name, or `?` where it cannot be read.
        name: String,
    },
    /// The interface is attached in a mode that the configuration rules out.
    #[error(
        "{interface} is attached in {found} mode and the configuration wants {wanted}; \
         `lb-agent detach` (of a backend: stop `lb-agent decap` without --keep) first, or let the \
         mode be `auto`"
    )]
    OtherMode {
        /// The interface.
        interface: String,
        /// The mode that it is in.
        found: &'static str,
        /// The mode that is configured.
        wanted: &'static str,
    },
    /// The kernel refused to attach.
    #[error("attach to {interface} in {mode} mode")]
    Attach {
        /// The interface.
        interface: String,
        /// The mode that was tried last.
        mode: &'static str,
        /// Why not.
        source: Source,
    },
    /// Frames may be longer than a page.
    #[error(
        "attach to {interface} in native mode: its MTU is {mtu}, and frames must fit into one page; \
         `ip link set dev {interface} mtu {FITS_A_PAGE}` is small enough (of a veth, on both ends), and \
         generic mode takes longer frames at a cost"
    )]
    Jumbo {
        /// The interface.
        interface: String,
        /// Bytes of its longest packet.
        mtu: u32,
        /// What the driver says.
        source: Source,
    },
    /// The kernel refused the program of a backend for what goes out.
    #[error(
        "attach to what leaves {interface}; `--mss off` does without, and leaves the MSS as it is"
    )]
    Clamp {
        /// The interface.
        interface: String,
        /// Why not.
        source: Source,
    },
    /// Only one of them gets maps of another size at a time.
    #[error(
        "maps of another size are being made for the flow table, or for the firewall: another `max_flows` and another \
         `max_prefixes` come one after the other. Try again once `lb-ctl status` does not tell of it any more"
    )]
    Resizing,
    /// The kernel refused the program.
    #[error("load the packet path into the kernel")]
    Load(#[source] Source),
    /// The interfaces could not be listed.
    #[error("read the interfaces")]
    Interfaces(#[source] io::Error),
    /// A map could not be read or written.
    #[error("{act} the map {map}")]
    Map {
        /// What was tried.
        act: &'static str,
        /// Name of the map.
        map: &'static str,
        /// Why not.
        source: Source,
    },
    /// The system gave no random numbers.
    #[error("draw from /dev/random")]
    Random(#[source] io::Error),
}

/// The result of an act on the packet path.
pub type Result<T, E = DatapathError> = std::result::Result<T, E>;

/// Says which map could not be read or written.
pub(super) trait OnMap<T> {
    /// Names the act and the map.
    fn on(self, act: &'static str, map: &'static str) -> Result<T>;
}

impl<T, E: Into<Source>> OnMap<T> for std::result::Result<T, E> {
    fn on(self, act: &'static str, map: &'static str) -> Result<T> {
        self.map_err(|source| DatapathError::Map { act, map, source: source.into() })
    }
}
