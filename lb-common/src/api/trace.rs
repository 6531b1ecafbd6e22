//! Single packets: those that were dropped, and one that is made to see what would become of it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Some of the packets that were dropped of late.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropSamples {
    /// What to give as `after` to get those that come later.
    pub next: u64,
    /// Samples that came since `after` and are gone.
    pub missed: u64,
    /// The samples, oldest first.
    pub packets: Vec<DroppedPacket>,
}

/// A packet that was dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedPacket {
    /// Milliseconds since 1970-01-01 UTC.
    pub at_unix_ms: u64,
    /// Name of the verdict.
    pub verdict: String,
    /// The rule that said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The service that it was for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The interface that it came by.
    pub interface: String,
    /// `tcp`, `udp`, `icmp`, … or a number.
    pub protocol: String,
    /// Where it came from.
    pub source: IpAddr,
    /// The source port, of TCP and UDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// Where it was to go.
    pub destination: IpAddr,
    /// The destination port, of TCP and UDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<u16>,
    /// Bytes, Ethernet header included.
    pub length: u32,
}

/// A packet to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadePacket {
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, … or a number.
    pub protocol: String,
    /// Source port; 40000 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// Destination port; TCP and UDP need one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<u16>,
    /// Flags of TCP; `syn` without them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_flags: Option<String>,
    /// Type of ICMP; `echo-request` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<String>,
    /// The interface that it comes by; the first of the configuration without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

/// What would become of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Name of the verdict.
    pub verdict: String,
    /// `forwarded`, `passed` or `dropped`.
    pub kind: String,
    /// What the verdict means.
    pub help: String,
    /// The interface that it comes by.
    pub interface: String,
    /// The rule that decides; missing where none of the configuration does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The service that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The backend that it goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
}
