//! The two address families behind one interface, so that nothing above it is written twice.

use core::fmt::Debug;
use lb_common::layout::{Address, HashKey, Settings, Vip};
use lb_common::verdict::Verdict;
use network_types::ip::IpProto;

use crate::checksum::Sum;
use crate::firewall::Maps;
use crate::packet::{Frame, Packet};
use crate::tables::Tables;

/// ICMP for IPv4.
pub const ICMP: u8 = IpProto::Icmp as u8;
/// ICMP for IPv6.
pub const ICMPV6: u8 = IpProto::Ipv6Icmp as u8;
/// TCP.
pub const TCP: u8 = IpProto::Tcp as u8;
/// UDP.
pub const UDP: u8 = IpProto::Udp as u8;
/// VRRP (RFC 9568).
pub const VRRP: u8 = IpProto::Vrrp as u8;

/// TTL that we give to packets of our own (the default of RFC 1700 and of Linux).
pub(crate) const OUR_TTL: u8 = 64;

/// Whether the payload can be balanced by. A number, not an `enum`: see `flight`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Shape(u8);

impl Shape {
    /// The ports are there.
    pub const WHOLE: Self = Self(0);
    /// The first fragment of several: the ports are there.
    pub const FIRST_FRAGMENT: Self = Self(1);
    /// Another fragment: the ports are not there.
    pub const LATER_FRAGMENT: Self = Self(2);
    /// More extension headers than are followed.
    pub const UNFOLLOWED: Self = Self(3);
}

/// A parsed IP header.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Ip<F: Family> {
    /// Where the header begins.
    pub start: usize,
    /// Source.
    pub source: F::Address,
    /// Destination.
    pub destination: F::Address,
    /// Protocol of the payload, behind all extension headers that were followed.
    pub protocol: u8,
    /// Where the payload begins.
    pub payload: usize,
    /// Where the IP packet ends; the frame may be longer.
    pub end: usize,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Whether the payload can be balanced by.
    pub shape: Shape,
    /// What the fragments of one packet have in common, as it stands in the header.
    pub identification: u32,
}

/// A header of our own.
#[derive(Clone, Copy, Debug)]
pub struct NewHeader<A> {
    /// Source.
    pub source: A,
    /// Destination.
    pub destination: A,
    /// Protocol of what follows.
    pub protocol: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Bytes that follow.
    pub length: usize,
    /// IPv6: 20 bits that are the same for all packets of a flow (RFC 6438).
    pub flow_label: u32,
}

/// An address family.
pub trait Family: Copy + Debug + 'static {
    /// An address as it stands in the packet.
    type Address: Copy + Debug;
    /// The fixed part of the header.
    type Header<'p>: Copy + Debug;
    /// 4 or 6.
    const NUMBER: u8;
    /// The bit of the firewall's word without which all addresses are of class 0.
    const HAS_CLASSES: u64;
    /// Number of the family's ICMP.
    const ICMP: u8;
    /// Number of the protocol that carries packets of this family in others.
    const ENCAPSULATED: u8;
    /// Bytes of the fixed part of the header.
    const LENGTH: usize;
    /// `EtherType`, network order.
    const KIND: u16;

    /// The fixed part of the header at `start`.
    fn header<F: Frame>(packet: &Packet<F>, start: usize) -> Option<Self::Header<'_>>;
    /// Parses the header at `start`. `partial`: the packet is quoted in an ICMP error and may be cut short.
    fn parse<F: Frame>(
        packet: &Packet<F>,
        start: usize,
        partial: bool,
        ip: &mut Ip<Self>,
    ) -> Result<(), Verdict>;
    /// The header at `start`, where it has no options, no extension headers and is of no fragment; its length may be
    /// wrong.
    fn plain(header: Self::Header<'_>, start: usize) -> Option<Ip<Self>>;
    /// Whether two addresses are the same.
    fn same(a: Self::Address, b: Self::Address) -> bool;
    /// The address as the maps hold it.
    fn to_words(address: Self::Address) -> Address;
    /// The address from the form of the maps.
    fn from_words(words: &Address) -> Self::Address;
    /// A part of the hash of a flow: that of its addresses.
    fn products(key: &HashKey, source: Self::Address, destination: Self::Address) -> u64;
    /// Adds an address to a checksum.
    fn sum(sum: Sum, address: Self::Address) -> Sum;
    /// Adds the change of an address to a checksum's change.
    fn change(sum: Sum, old: Self::Address, new: Self::Address) -> Sum {
        Self::sum(Self::sum_complement(sum, old), new)
    }
    /// Adds the complement of an address to a checksum.
    fn sum_complement(sum: Sum, address: Self::Address) -> Sum;
    /// Writes the source.
    fn set_source(header: Self::Header<'_>, address: Self::Address);
    /// Writes the destination.
    fn set_destination(header: Self::Header<'_>, address: Self::Address);
    /// Uses up one of the TTL and updates the header's checksum by `change`, if it has one.
    fn pass_on(header: Self::Header<'_>, ttl: u8, change: Sum);
    /// Updates the header's checksum by `change`, if it has one; returns what that changes in a checksum
    /// over the header.
    fn fix(header: Self::Header<'_>, change: Sum) -> Sum;
    /// Makes the header one of our own, with `length` bytes from its first.
    fn renew(header: Self::Header<'_>, length: u16);
    /// DSCP and ECN.
    fn traffic_class(header: Self::Header<'_>) -> u8;
    /// Writes a whole header.
    fn write(header: Self::Header<'_>, new: &NewHeader<Self::Address>);
    /// The source of headers around encapsulated packets of a flow with this hash.
    fn tunnel_source(settings: &Settings, hash: u64) -> Self::Address;
    /// Number of sources of full NAT.
    fn nat_sources(settings: &Settings) -> u16;
    /// A source of full NAT.
    fn nat_source(settings: &Settings, index: usize) -> Self::Address;
    /// Finds a listener.
    fn listener(
        tables: &impl Tables,
        address: Self::Address,
        port: u16,
        protocol: u8,
    ) -> Option<u32>;
    /// Finds a VIP.
    fn vip(tables: &impl Tables, address: Self::Address) -> Option<Vip>;
    /// The class of an address for the firewall.
    fn class(maps: &impl Maps, half: u32, address: Self::Address) -> u32;
}

/// One product of the hash NH (RFC 4418 section 5.2): of sums of 32 bits with a secret, in 64 bits. Nobody without the
/// secret can tell two inputs with the same product, or sum of products of different secrets.
#[inline(always)]
pub(crate) fn product(key: u64, a: u32, b: u32) -> u64 {
    let (a, b) = (a.wrapping_add(key as u32), b.wrapping_add((key >> 32) as u32));
    u64::from(a) * u64::from(b)
}

/// Lets all bits of a sum of products count in all others.
#[inline(always)]
pub(crate) fn spread(sum: u64) -> u64 {
    let hash = (sum ^ (sum >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^ (hash >> 32)
}

/// One round of a 64-bit mixer.
#[inline(always)]
pub fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^ (hash >> 32)
}
