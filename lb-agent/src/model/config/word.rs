//! The words of the file for our enums, each written once for reading, writing and the API.

use super::{
    AffinityBy, BackendState, CheckKind, Forward, Fragments, OnBackendDown, Protocol, Scheduler,
    Shutdown, VrrpAuthentication, VrrpChecksum, XdpMode,
};
use crate::model::firewall::SynCookies;

/// A type whose values are words of the file.
pub trait Word: Copy + 'static {
    /// Every value.
    const ALL: &'static [Self];

    /// The word for a value.
    fn word(self) -> &'static str;
}

macro_rules! words {
    ($($type:ty { $($value:ident = $word:literal),+ })+) => {$(
        impl Word for $type {
            const ALL: &'static [Self] = &[$(Self::$value),+];

            fn word(self) -> &'static str {
                match self {
                    $(Self::$value => $word),+
                }
            }
        }
    )+};
}

/// The words for [`CheckKind`], which carries more than a word.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Tcp,
    Http,
}

impl From<&CheckKind> for Kind {
    fn from(kind: &CheckKind) -> Self {
        match kind {
            CheckKind::Tcp => Self::Tcp,
            CheckKind::Http { .. } => Self::Http,
        }
    }
}

words! {
    Kind { Tcp = "tcp", Http = "http" }
    Shutdown { Keep = "keep", Detach = "detach" }
    XdpMode { Auto = "auto", Native = "native", Generic = "generic" }
    Protocol { Tcp = "tcp", Udp = "udp" }
    Forward { Nat = "nat", FullNat = "full-nat", Dsr = "dsr", Ipip = "ipip", Gue = "gue" }
    Fragments { Follow = "follow", Drop = "drop" }
    Scheduler {
        RoundRobin = "rr",
        WeightedRoundRobin = "wrr",
        LeastConnections = "lc",
        WeightedLeastConnections = "wlc",
        SourceHash = "sh",
        Maglev = "maglev",
        Random = "random"
    }
    VrrpChecksum { PseudoHeader = "pseudo-header", Plain = "plain" }
    VrrpAuthentication { Off = "off", Send = "send", Require = "require" }
    AffinityBy { Source = "source" }
    OnBackendDown { Reset = "reset", Keep = "keep" }
    SynCookies { Off = "off", Auto = "auto", Always = "always" }
    BackendState { Ready = "ready", Drain = "drain", Maint = "maint" }
}
