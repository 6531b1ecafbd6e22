//! The firewall as it is configured: ordered rules, of which the first that matches decides, and named sets
//! of prefixes.
//!
//! Rules are few and part of the configuration. What sets hold may be a million prefixes from a file, and is
//! kept apart: whoever needs both is given a [`Firewall`] and [`Sets`].

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use ipnet::IpNet;

pub mod compile;
pub mod elements;
mod evaluate;
mod numbers;
mod over;
mod set_file;

pub use elements::Elements;
pub use evaluate::{TcpPacket, are_in, deciding};
pub use numbers::{POLICY, RuleNumbers};
pub use over::{Counted, Over, OverRate, Per, Rate, Unit};
pub use set_file::{BadLines, LONGEST_SET, parse_set, set_text};

/// Most rules that a firewall may have.
pub const MAX_RULES: usize = 1_024;

/// The port that nobody wants to lose.
const SSH: u16 = 22;

/// `[firewall]`
#[derive(Clone, Debug, PartialEq)]
pub struct Firewall {
    /// What becomes of packets that match no rule.
    pub policy: Action,
    /// `[[firewall.rule]]`, in the order in which they are looked at; at most [`MAX_RULES`], with unique names.
    pub rules: Vec<Rule>,
    /// `[firewall.set.NAME]`: where the elements of sets come from. Every set that a rule or a service names is
    /// here.
    pub sets: BTreeMap<String, Source>,
    /// TCP ports of the host's own addresses, those of VIPs not among them, which are open before any rule.
    pub protect_ports: Vec<u16>,
    /// Prefixes that the maps are made for, those of all sets and rules together.
    pub max_prefixes: u32,
    /// When connections to services must begin with a SYN cookie, where replies pass the director.
    pub syn_cookies: SynCookies,
    /// SYNs a second, at each address that is listened on, that may be followed by nothing.
    pub syn_cookies_above: u32,
}

/// When clients are sent SYN cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SynCookies {
    /// Never.
    Off,
    /// While more SYNs than [`Firewall::syn_cookies_above`] are followed by nothing.
    Auto,
    /// Always.
    Always,
}

/// What a file without `[firewall]` has: everything is accepted.
impl Default for Firewall {
    fn default() -> Self {
        Self {
            policy: Action::Accept,
            rules: Vec::new(),
            sets: BTreeMap::new(),
            protect_ports: vec![SSH],
            max_prefixes: 65_536,
            syn_cookies: SynCookies::Auto,
            syn_cookies_above: 1_000,
        }
    }
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It goes on its way.
    Accept,
    /// It is dropped.
    Drop,
}

/// `[[firewall.rule]]`: it matches if every condition does; one that is not given does always, and an empty
/// list is not given.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// What becomes of packets that it matches.
    pub action: Action,
    /// One of these holds the source address.
    pub sources: Vec<Match>,
    /// One of these holds the destination address.
    pub destinations: Vec<Match>,
    /// The transport protocol; with ports and without a protocol: TCP and UDP.
    pub protocol: Option<IpProtocol>,
    /// One of these holds the source port. Only TCP and UDP have ports, and not a fragment after the first.
    pub sports: Vec<RangeInclusive<u16>>,
    /// One of these holds the destination port.
    pub dports: Vec<RangeInclusive<u16>>,
    /// Bits of the TCP header; only with [`IpProtocol::TCP`].
    pub tcp_flags: Option<TcpFlags>,
    /// The ICMP message is of one of these types; only with [`IpProtocol::ICMP`] and [`IpProtocol::ICMPV6`].
    pub icmp_types: Vec<u8>,
    /// The interface that the packet came by, one of `[datapath] interfaces`.
    pub interface: Option<String>,
    /// The service that the packet is for: its destination is one of the service's listen addresses.
    pub service: Option<String>,
    /// It matches only what is beyond this.
    pub over: Option<Over>,
}

impl Rule {
    /// A rule without a name that every packet matches.
    pub fn any(action: Action) -> Self {
        Self {
            name: String::new(),
            action,
            sources: Vec::new(),
            destinations: Vec::new(),
            protocol: None,
            sports: Vec::new(),
            dports: Vec::new(),
            tcp_flags: None,
            icmp_types: Vec::new(),
            interface: None,
            service: None,
            over: None,
        }
    }
}

/// Addresses that a rule or a list names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Match {
    /// The addresses of a prefix, of its family alone; host bits are zero.
    Prefix(IpNet),
    /// The addresses of all elements of a set, by its name.
    Set(String),
}

/// The number of a transport protocol (IANA: protocol numbers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IpProtocol(pub u8);

impl IpProtocol {
    /// ICMP for IPv4.
    pub const ICMP: Self = Self(1);
    /// TCP
    pub const TCP: Self = Self(6);
    /// UDP
    pub const UDP: Self = Self(17);
    /// ICMP for IPv6.
    pub const ICMPV6: Self = Self(58);
}

/// Bits of the 14th byte of the TCP header (RFC 9293, 3.1: from CWR, 128, to FIN, 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpFlags {
    /// The bits that are looked at; at least one.
    pub mask: u8,
    /// What they must be; no bit that is not in the mask.
    pub value: u8,
}

/// Where the elements of a set come from, before any change at run time.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// They are listed; the list may be empty.
    Listed(Vec<IpNet>),
    /// They are the lines of a file, which is read again when it changes.
    File(PathBuf),
}

/// What the sets of a firewall hold, by their names.
pub type Sets = BTreeMap<String, Elements>;
