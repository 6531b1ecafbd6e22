//! An advertisement as bytes (RFC 9568 5.2). Nothing here panics, whatever the bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::model::config::VrrpChecksum;

/// IP protocol number of VRRP.
pub const PROTOCOL: u8 = 112;
/// What an advertisement's TTL or hop limit is on its own link (RFC 9568 5.1.1.3).
pub const HOP_LIMIT: u8 = 255;

const VERSION_AND_TYPE: u8 = 0x31;
const HEADER: usize = 8;
const CENTISECOND: Duration = Duration::from_millis(10);

/// An advertisement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert {
    /// Virtual router id.
    pub id: u8,
    /// Priority; 0: the sender is leaving.
    pub priority: u8,
    /// Time to the next one; whole hundredths of a second, from 1 to 4,095 of them.
    pub interval: Duration,
    /// The virtual addresses, all of the family that it was sent by.
    pub addresses: Vec<IpAddr>,
}

/// Why an advertisement is not believed; it changes no timer then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Its TTL or hop limit shows that it came from another link.
    HopLimit,
    /// It ends within its header.
    TooShort,
    /// It is of another version.
    Version,
    /// It is no advertisement.
    Type,
    /// Its checksum is wrong.
    Checksum,
    /// Its length is not that of its addresses.
    Length,
    /// Its interval is zero.
    Interval,
    /// It was sent to an address that this router does not listen to.
    Destination,
    /// It comes from none of the configured peers.
    NotAPeer,
    /// It comes from this director's own address.
    OwnAddress,
    /// No virtual router of this interface has its id.
    UnknownRouter,
    /// It has no proof of the key, and one is required.
    NoProof,
    /// Its proof is wrong: of another key, or of other content.
    WrongProof,
    /// Its proof is not newer than the last one of its sender.
    Repeated,
}

impl Reason {
    /// Its name in metrics and the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::HopLimit => "hop_limit",
            Self::TooShort => "too_short",
            Self::Version => "version",
            Self::Type => "type",
            Self::Checksum => "checksum",
            Self::Length => "length",
            Self::Interval => "interval",
            Self::Destination => "destination",
            Self::NotAPeer => "not_a_peer",
            Self::OwnAddress => "own_address",
            Self::UnknownRouter => "unknown_router",
            Self::NoProof => "no_proof",
            Self::WrongProof => "wrong_proof",
            Self::Repeated => "repeated",
        }
    }
}

impl Advert {
    /// Reads what follows an IP header with these addresses.
    pub fn parse(bytes: &[u8], source: IpAddr, destination: IpAddr) -> Result<Self, Reason> {
        let [kind, id, priority, n_addresses, interval_high, interval_low, _, _, rest @ ..] = bytes
        else {
            return Err(Reason::TooShort);
        };
        if kind >> 4 != VERSION_AND_TYPE >> 4 {
            return Err(Reason::Version);
        }
        if kind & 0xf != VERSION_AND_TYPE & 0xf {
            return Err(Reason::Type);
        }
        let length = if source.is_ipv4() { 4 } else { 16 };
        if *n_addresses == 0 || rest.len() != usize::from(*n_addresses) * length {
            return Err(Reason::Length);
        }
        // With IPv4, implementations differ in whether the pseudo-header counts.
        let is_sound = checksum(bytes, Some((source, destination))) == 0
            || source.is_ipv4() && checksum(bytes, None) == 0;
        if !is_sound {
            return Err(Reason::Checksum);
        }
        // RFC 9568 5.2.6: the four bits before the interval are reserved and ignored.
        let centiseconds = u16::from_be_bytes([interval_high & 0xf, *interval_low]);
        if centiseconds == 0 {
            return Err(Reason::Interval);
        }
        let addresses = rest.chunks_exact(length).filter_map(address).collect();
        let interval = CENTISECOND * u32::from(centiseconds);
        Ok(Self { id: *id, priority: *priority, interval, addresses })
    }

    /// The bytes behind an IP header with these addresses.
    pub fn encode(&self, source: IpAddr, destination: IpAddr, form: VrrpChecksum) -> Vec<u8> {
        let centiseconds = self.interval.as_millis() / CENTISECOND.as_millis();
        let centiseconds = u16::try_from(centiseconds).unwrap_or(u16::MAX).min(0xfff);
        let n_addresses = u8::try_from(self.addresses.len()).unwrap_or(u8::MAX);
        let mut bytes = Vec::with_capacity(HEADER + 16 * self.addresses.len());
        bytes.extend([VERSION_AND_TYPE, self.id, self.priority, n_addresses]);
        bytes.extend(centiseconds.to_be_bytes());
        bytes.extend([0, 0]);
        for address in self.addresses.iter().take(n_addresses.into()) {
            extend(&mut bytes, *address);
        }
        let is_plain = source.is_ipv4() && form == VrrpChecksum::Plain;
        let sum = checksum(&bytes, (!is_plain).then_some((source, destination)));
        if let Some(place) = bytes.get_mut(6..8) {
            place.copy_from_slice(&sum.to_be_bytes());
        }
        bytes
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).ok().map(|bytes| Ipv4Addr::from(bytes).into());
    let v6 = || <[u8; 16]>::try_from(bytes).ok().map(|bytes| Ipv6Addr::from(bytes).into());
    v4().or_else(v6)
}

pub(super) fn extend(bytes: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => bytes.extend(v4.octets()),
        IpAddr::V6(v6) => bytes.extend(v6.octets()),
    }
}

/// The Internet checksum (RFC 1071), with the pseudo-header of these addresses if there are some; zero where the
/// sum in `bytes` is right.
fn checksum(bytes: &[u8], pseudo: Option<(IpAddr, IpAddr)>) -> u16 {
    let mut all = Vec::with_capacity(40 + bytes.len());
    if let Some((source, destination)) = pseudo {
        extend(&mut all, source);
        extend(&mut all, destination);
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        all.extend([0, PROTOCOL]);
        all.extend(length.to_be_bytes());
    }
    all.extend(bytes);
    internet_checksum(&all)
}

/// The Internet checksum of bytes.
pub(super) fn internet_checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match pair {
        [high, low] => u64::from(u16::from_be_bytes([*high, *low])),
        [high] => u64::from(u16::from_be_bytes([*high, 0])),
        _ => 0,
    });
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}
