//! The firewall: its rules as they are written, its sets, and what they have met.

use serde::{Deserialize, Serialize};

/// A rule with the keys that it has in the configuration file; what is empty or missing is no condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// `accept` or `drop`.
    pub action: String,
    /// Prefixes and sets (`@name`) that hold the source address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source: Vec<String>,
    /// Prefixes and sets that hold the destination address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destination: Vec<String>,
    /// `tcp`, `udp`, `icmp`, `icmpv6` or a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Source ports and ranges of them, `1024-65535`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sport: Vec<String>,
    /// Destination ports and ranges of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dport: Vec<String>,
    /// Flags that are set, and with a `!` those that are not: `syn,!ack`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_flags: Option<String>,
    /// Names or numbers of types of ICMP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub icmp_type: Vec<String>,
    /// The interface that the packet came by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The service that the packet is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}
