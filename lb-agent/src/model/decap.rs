//! What the programs of a backend are to know: which addresses are whose, and the largest segments that still
//! fit into a tunnel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use lb_common::decap::{HOST, Settings, VIP};

use super::config::unusable;

/// RFC 9293 section 3.7.1: every host takes segments of this size.
const LEAST_SEGMENT: u16 = 536;
/// Bytes of an IPv4 and of an IPv6 header.
const IP_LENGTHS: [u16; 2] = [20, 40];
/// Bytes of a TCP header. Options are the sender's to subtract (RFC 6691).
const TCP_LENGTH: u16 = 20;
/// Bytes of UDP's header and of GUE's in version 0.
const GUE_LENGTH: u16 = 8 + 4;

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Tunnels {
    /// Where packets in a tunnel may go.
    pub vips: BTreeSet<IpAddr>,
    /// UDP port of GUE; 0: none.
    pub gue_port: u16,
    /// Where tunnels may come from; empty: from anywhere.
    pub sources: Vec<IpNet>,
    /// The size of segments.
    pub segment: Segment,
}

/// The largest segments to ask clients for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// What fits into a packet of the interface together with the largest outer header that is accepted.
    Auto,
    /// As the host says.
    Off,
    /// So many bytes.
    Most(u16),
}

/// What the programs' tables hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    /// What is the same for all packets.
    pub settings: Settings,
    /// Addresses and what they are.
    pub addresses: BTreeMap<IpAddr, u32>,
}

impl Tunnels {
    /// The tables for a host with these addresses, and this MTU as the smallest of its interfaces.
    #[must_use]
    pub fn tables(&self, host: &BTreeSet<IpAddr>, mtu: u16) -> Tables {
        let mut addresses = BTreeMap::new();
        for address in host.iter().filter(|address| unusable(**address).is_none()) {
            *addresses.entry(*address).or_default() |= HOST;
        }
        for vip in &self.vips {
            *addresses.entry(*vip).or_default() |= VIP;
        }
        let settings = Settings {
            gue_port: self.gue_port.to_be(),
            restricted: u16::from(!self.sources.is_empty()),
            segments: self.segments(mtu),
        };
        Tables { settings, addresses }
    }

    /// The largest segments over IPv4 and IPv6; 0: any.
    fn segments(&self, mtu: u16) -> [u16; 2] {
        match self.segment {
            Segment::Off => [0; 2],
            Segment::Most(most) => [most; 2],
            Segment::Auto => {
                let room = mtu.saturating_sub(self.outer_length() + TCP_LENGTH);
                IP_LENGTHS.map(|inner| room.saturating_sub(inner).max(LEAST_SEGMENT))
            }
        }
    }

    /// Bytes of the largest outer header that is accepted.
    fn outer_length(&self) -> u16 {
        let [v4, v6] = IP_LENGTHS;
        let is_over_v4 = |source: &IpNet| source.addr().is_ipv4();
        let only_v4 = !self.sources.is_empty() && self.sources.iter().all(is_over_v4);
        let gue = if self.gue_port == 0 { 0 } else { GUE_LENGTH };
        gue + if only_v4 { v4 } else { v6 }
    }
}

impl FromStr for Segment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("auto", _) => Ok(Self::Auto),
            ("off", _) => Ok(Self::Off),
            (_, Ok(most)) if most >= LEAST_SEGMENT => Ok(Self::Most(most)),
            _ => Err(format!("give `auto`, `off`, or bytes from {LEAST_SEGMENT} to {}", u16::MAX)),
        }
    }
}

/// An address that clients can send to.
pub fn parse_vip(text: &str) -> Result<IpAddr, String> {
    let parsed: Result<IpAddr, _> = text.parse();
    let address = parsed.map_err(|_| "give an address without port and prefix length")?;
    match unusable(address) {
        Some(kind) => Err(format!("it is {kind}; give a unicast address")),
        None => Ok(address),
    }
}

/// A prefix, or an address that stands for itself.
pub fn parse_prefix(text: &str) -> Result<IpNet, String> {
    let address = text.parse().map(|address: IpAddr| IpNet::from(address));
    let prefix = address.or_else(|_| text.parse());
    prefix.map_err(|_| "give an address or a prefix, such as 192.0.2.0/24".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn tunnels(sources: &[&str], gue_port: u16) -> Tunnels {
        let sources = sources.iter().map(|source| parse_prefix(source).unwrap()).collect();
        let vips = [ip("203.0.113.10"), ip("2001:db8:f::10")].into();
        Tunnels { vips, gue_port, sources, segment: Segment::Auto }
    }

    fn segments(sources: &[&str], gue_port: u16, mtu: u16) -> [u16; 2] {
        tunnels(sources, gue_port).tables(&BTreeSet::new(), mtu).settings.segments
    }

    #[test]
    fn segments_leave_room_for_the_largest_outer_header_that_is_accepted() {
        assert_eq!(segments(&[], 6080, 1500), [1500 - 52 - 40, 1500 - 52 - 60]);
        assert_eq!(segments(&[], 0, 1500), [1500 - 40 - 40, 1500 - 40 - 60]);
        assert_eq!(segments(&["192.0.2.1"], 6080, 1500), [1500 - 32 - 40, 1500 - 32 - 60]);
        assert_eq!(segments(&["192.0.2.0/24"], 0, 1500), [1440, 1420]);
        assert_eq!(segments(&["192.0.2.1", "2001:db8::/32"], 0, 9000), [8920, 8900]);
        assert_eq!(segments(&[], 6080, 500), [536, 536]);
    }

    #[test]
    fn segments_are_as_they_are_asked_for() {
        let with = |text: &str| {
            let tunnels = Tunnels { segment: text.parse().unwrap(), ..tunnels(&[], 6080) };
            tunnels.tables(&BTreeSet::new(), 1500).settings.segments
        };
        assert_eq!(with("1234"), [1234; 2]);
        assert_eq!(with("off"), [0; 2]);
        assert_eq!(with("auto"), [1408, 1388]);
        for wrong in ["", "535", "65536", "most", "-1"] {
            assert!(wrong.parse::<Segment>().unwrap_err().contains("from 536"), "{wrong}");
        }
    }

    #[test]
    fn an_address_may_be_the_host_s_and_a_vip() {
        let host = [ip("127.0.0.1"), ip("::1"), ip("192.0.2.11"), ip("203.0.113.10")].into();
        let tables = tunnels(&["192.0.2.1"], 6080).tables(&host, 1500);
        let expected = [
            (ip("192.0.2.11"), HOST),
            (ip("203.0.113.10"), HOST | VIP),
            (ip("2001:db8:f::10"), VIP),
        ];
        assert_eq!(tables.addresses, expected.into());
        assert_eq!((tables.settings.gue_port, tables.settings.restricted), (6080_u16.to_be(), 1));
        assert_eq!(tunnels(&[], 0).tables(&host, 1500).settings.restricted, 0);
    }

    #[test]
    fn words_that_are_no_addresses_are_refused_with_a_remedy() {
        assert!(parse_vip("203.0.113.10:80").unwrap_err().contains("without port"));
        assert!(parse_vip("203.0.113.10/32").unwrap_err().contains("prefix length"));
        assert!(parse_vip("127.0.0.1").unwrap_err().contains("loopback"));
        assert!(parse_vip("ff02::1").unwrap_err().contains("multicast"));
        assert!(parse_prefix("director").unwrap_err().contains("192.0.2.0/24"));
        assert_eq!(parse_prefix("192.0.2.7").unwrap().prefix_len(), 32);
        assert_eq!(parse_prefix("2001:db8::/32").unwrap().prefix_len(), 32);
    }
}
