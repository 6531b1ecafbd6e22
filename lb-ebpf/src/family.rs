//! The two address families behind one interface, so that nothing above it is written twice.

use core::fmt::Debug;
use core::mem::offset_of;

use lb_common::layout::{Address, ListenerKeyV4, ListenerKeyV6, Vip};
use lb_common::verdict::Verdict;
use network_types::ip::{IpProto, Ipv4Hdr, Ipv6Hdr};

use crate::checksum::Sum;
use crate::packet::{Frame, Packet, Window};
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

/// Most IPv6 extension headers that are followed.
const MAX_EXTENSIONS: usize = 6;

/// TTL that we give to packets of our own.
const OUR_TTL: u8 = 64;

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
}

/// An address family.
pub trait Family: Copy + Debug + 'static {
    /// An address as it stands in the packet.
    type Address: Copy + Debug;
    /// The fixed part of the header.
    type Header<'p>: Copy + Debug;
    /// 4 or 6.
    const NUMBER: u8;
    /// Number of the family's ICMP.
    const ICMP: u8;

    /// The fixed part of the header at `start`.
    fn header<F: Frame>(packet: &Packet<F>, start: usize) -> Option<Self::Header<'_>>;
    /// Parses the header at `start`. `partial`: the packet is quoted in an ICMP error and may be cut short.
    fn parse<F: Frame>(
        packet: &Packet<F>,
        start: usize,
        partial: bool,
        ip: &mut Ip<Self>,
    ) -> Result<(), Verdict>;
    /// Whether two addresses are the same.
    fn same(a: Self::Address, b: Self::Address) -> bool;
    /// The address as the maps hold it.
    fn to_words(address: Self::Address) -> Address;
    /// The address from the form of the maps.
    fn from_words(words: &Address) -> Self::Address;
    /// Mixes both addresses into a hash.
    fn mix(hash: u64, a: Self::Address, b: Self::Address) -> u64;
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
    /// Finds a listener.
    fn listener(
        tables: &impl Tables,
        address: Self::Address,
        port: u16,
        protocol: u8,
    ) -> Option<u32>;
    /// Finds a VIP.
    fn vip(tables: &impl Tables, address: Self::Address) -> Option<Vip>;
}

/// IPv4.
#[derive(Clone, Copy, Debug)]
pub enum V4 {}

/// IPv6.
#[derive(Clone, Copy, Debug)]
pub enum V6 {}

/// One round of a 64-bit mixer.
#[inline(always)]
pub fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^ (hash >> 32)
}

#[inline(always)]
fn pair(a: u32, b: u32) -> u64 {
    (u64::from(a) << 32) | u64::from(b)
}

const V4_LENGTH: usize = Ipv4Hdr::LEN;
const V4_TOTAL: usize = offset_of!(Ipv4Hdr, tot_len);
const V4_FRAGMENT: usize = offset_of!(Ipv4Hdr, frags);
const V4_TTL: usize = offset_of!(Ipv4Hdr, ttl);
const V4_PROTOCOL: usize = offset_of!(Ipv4Hdr, proto);
const V4_CHECK: usize = offset_of!(Ipv4Hdr, check);
const V4_SOURCE: usize = offset_of!(Ipv4Hdr, src_addr);
const V4_DESTINATION: usize = offset_of!(Ipv4Hdr, dst_addr);
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

impl Family for V4 {
    type Address = u32;
    type Header<'p> = Window<'p, V4_LENGTH>;
    const NUMBER: u8 = 4;
    const ICMP: u8 = ICMP;

    #[inline(always)]
    fn header<F: Frame>(packet: &Packet<F>, start: usize) -> Option<Self::Header<'_>> {
        packet.window::<V4_LENGTH>(start)
    }

    #[inline(always)]
    fn parse<F: Frame>(
        packet: &Packet<F>,
        start: usize,
        partial: bool,
        ip: &mut Ip<Self>,
    ) -> Result<(), Verdict> {
        let header = Self::header(packet, start).ok_or(Verdict::Malformed)?;
        let first = header.u8_at::<0>();
        let length = usize::from(first & 0xf) * 4;
        let total = usize::from(u16::from_be(header.u16_at::<V4_TOTAL>()));
        let end = start + total;
        let fits = end <= packet.length() || partial;
        if first >> 4 != 4 || length < V4_LENGTH || total < length || !fits {
            return Err(Verdict::Malformed);
        }
        ip.start = start;
        ip.source = header.u32_at::<V4_SOURCE>();
        ip.destination = header.u32_at::<V4_DESTINATION>();
        ip.protocol = header.u8_at::<V4_PROTOCOL>();
        ip.payload = start + length;
        ip.end = end;
        ip.ttl = header.u8_at::<V4_TTL>();
        let fragment = u16::from_be(header.u16_at::<V4_FRAGMENT>());
        ip.shape = if fragment & FRAGMENT_OFFSET != 0 {
            Shape::LATER_FRAGMENT
        } else if fragment & MORE_FRAGMENTS != 0 {
            Shape::FIRST_FRAGMENT
        } else {
            Shape::WHOLE
        };
        Ok(())
    }

    #[inline(always)]
    fn same(a: u32, b: u32) -> bool {
        a == b
    }

    #[inline(always)]
    fn to_words(address: u32) -> Address {
        [address, 0, 0, 0]
    }

    #[inline(always)]
    fn from_words(words: &Address) -> u32 {
        words[0]
    }

    #[inline(always)]
    fn mix(hash: u64, a: u32, b: u32) -> u64 {
        mix(hash ^ pair(a, b))
    }

    #[inline(always)]
    fn sum(sum: Sum, address: u32) -> Sum {
        sum.add_u32(address)
    }

    #[inline(always)]
    fn sum_complement(sum: Sum, address: u32) -> Sum {
        sum.add_u32(!address)
    }

    #[inline(always)]
    fn set_source(header: Self::Header<'_>, address: u32) {
        header.set_u32::<V4_SOURCE>(address);
    }

    #[inline(always)]
    fn set_destination(header: Self::Header<'_>, address: u32) {
        header.set_u32::<V4_DESTINATION>(address);
    }

    #[inline(always)]
    fn pass_on(header: Self::Header<'_>, ttl: u8, change: Sum) {
        // The TTL is the first byte of its word: one less there is 0x0100 less, in network order.
        let change = change.add(!0x0100_u16.to_be());
        header.set_u8::<V4_TTL>(ttl - 1);
        header.set_u16::<V4_CHECK>(change.applied_to(header.u16_at::<V4_CHECK>()));
    }

    #[inline(always)]
    fn fix(header: Self::Header<'_>, change: Sum) -> Sum {
        let old = header.u16_at::<V4_CHECK>();
        let new = change.applied_to(old);
        header.set_u16::<V4_CHECK>(new);
        Sum::default().change(old, new)
    }

    #[inline(always)]
    fn renew(header: Self::Header<'_>, length: u16) {
        let old_length = header.u16_at::<V4_TOTAL>();
        let old_lifetime = header.u16_at::<V4_TTL>();
        header.set_u16::<V4_TOTAL>(length.to_be());
        header.set_u8::<V4_TTL>(OUR_TTL);
        let change = Sum::default().change(old_length, length.to_be());
        Self::fix(header, change.change(old_lifetime, header.u16_at::<V4_TTL>()));
    }

    #[inline(always)]
    fn listener(tables: &impl Tables, address: u32, port: u16, protocol: u8) -> Option<u32> {
        tables.listener_id_v4(&ListenerKeyV4 { address, port, protocol, reserved: 0 })
    }

    #[inline(always)]
    fn vip(tables: &impl Tables, address: u32) -> Option<Vip> {
        tables.vip_v4(&address)
    }
}

const V6_LENGTH: usize = Ipv6Hdr::LEN;
const V6_PAYLOAD: usize = offset_of!(Ipv6Hdr, payload_len);
const V6_NEXT: usize = offset_of!(Ipv6Hdr, next_hdr);
const V6_HOPS: usize = offset_of!(Ipv6Hdr, hop_limit);
const V6_SOURCE: usize = offset_of!(Ipv6Hdr, src_addr);
const V6_DESTINATION: usize = offset_of!(Ipv6Hdr, dst_addr);

impl Family for V6 {
    type Address = [u32; 4];
    type Header<'p> = Window<'p, V6_LENGTH>;
    const NUMBER: u8 = 6;
    const ICMP: u8 = ICMPV6;

    #[inline(always)]
    fn header<F: Frame>(packet: &Packet<F>, start: usize) -> Option<Self::Header<'_>> {
        packet.window::<V6_LENGTH>(start)
    }

    #[inline(always)]
    fn parse<F: Frame>(
        packet: &Packet<F>,
        start: usize,
        partial: bool,
        ip: &mut Ip<Self>,
    ) -> Result<(), Verdict> {
        let header = Self::header(packet, start).ok_or(Verdict::Malformed)?;
        let end = start + V6_LENGTH + usize::from(u16::from_be(header.u16_at::<V6_PAYLOAD>()));
        if header.u8_at::<0>() >> 4 != 6 || (end > packet.length() && !partial) {
            return Err(Verdict::Malformed);
        }
        ip.start = start;
        ip.source = header.words_at::<V6_SOURCE>();
        ip.destination = header.words_at::<V6_DESTINATION>();
        ip.protocol = header.u8_at::<V6_NEXT>();
        ip.payload = start + V6_LENGTH;
        ip.end = end;
        ip.ttl = header.u8_at::<V6_HOPS>();
        ip.shape = Shape::WHOLE;
        follow_extensions(packet, ip)
    }

    #[inline(always)]
    fn same(a: [u32; 4], b: [u32; 4]) -> bool {
        (a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) == 0
    }

    #[inline(always)]
    fn to_words(address: [u32; 4]) -> Address {
        address
    }

    #[inline(always)]
    fn from_words(words: &Address) -> [u32; 4] {
        *words
    }

    #[inline(always)]
    fn mix(hash: u64, a: [u32; 4], b: [u32; 4]) -> u64 {
        let hash = mix(hash ^ pair(a[0], a[1]));
        let hash = mix(hash ^ pair(a[2], a[3]));
        let hash = mix(hash ^ pair(b[0], b[1]));
        mix(hash ^ pair(b[2], b[3]))
    }

    #[inline(always)]
    fn sum(sum: Sum, address: [u32; 4]) -> Sum {
        sum.add_u32(address[0]).add_u32(address[1]).add_u32(address[2]).add_u32(address[3])
    }

    #[inline(always)]
    fn sum_complement(sum: Sum, address: [u32; 4]) -> Sum {
        Self::sum(sum, [!address[0], !address[1], !address[2], !address[3]])
    }

    #[inline(always)]
    fn set_source(header: Self::Header<'_>, address: [u32; 4]) {
        header.set_words::<V6_SOURCE>(address);
    }

    #[inline(always)]
    fn set_destination(header: Self::Header<'_>, address: [u32; 4]) {
        header.set_words::<V6_DESTINATION>(address);
    }

    #[inline(always)]
    fn pass_on(header: Self::Header<'_>, ttl: u8, _change: Sum) {
        header.set_u8::<V6_HOPS>(ttl - 1);
    }

    #[inline(always)]
    fn fix(_header: Self::Header<'_>, _change: Sum) -> Sum {
        Sum::default()
    }

    #[inline(always)]
    fn renew(header: Self::Header<'_>, length: u16) {
        header.set_u16::<V6_PAYLOAD>((length - V6_LENGTH as u16).to_be());
        header.set_u8::<V6_HOPS>(OUR_TTL);
    }

    #[inline(always)]
    fn listener(tables: &impl Tables, address: [u32; 4], port: u16, protocol: u8) -> Option<u32> {
        tables.listener_id_v6(&ListenerKeyV6 { address, port, protocol, reserved: 0 })
    }

    #[inline(always)]
    fn vip(tables: &impl Tables, address: [u32; 4]) -> Option<Vip> {
        tables.vip_v6(&address)
    }
}

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

/// Follows the extension headers (RFC 8200 section 4) to the payload.
#[inline(always)]
fn follow_extensions<F: Frame>(packet: &Packet<F>, ip: &mut Ip<V6>) -> Result<(), Verdict> {
    for _ in 0..MAX_EXTENSIONS {
        if !is_extension(ip.protocol) {
            return Ok(());
        }
        let Some(header) = packet.window::<8>(ip.payload) else {
            return Err(Verdict::Malformed);
        };
        let units = usize::from(header.u8_at::<1>());
        let kind = ip.protocol;
        ip.protocol = header.u8_at::<0>();
        ip.payload += match kind {
            FRAGMENT => {
                // RFC 8200 section 4.5: 13 bits of offset, two reserved, "more fragments".
                let offset = u16::from_be(header.u16_at::<2>());
                if offset & 0xfff8 != 0 {
                    ip.shape = Shape::LATER_FRAGMENT;
                    return Ok(());
                }
                if offset & 1 != 0 {
                    ip.shape = Shape::FIRST_FRAGMENT;
                }
                8
            }
            // RFC 4302 section 2.2: in units of four bytes, less two.
            AUTHENTICATION => (units + 2) * 4,
            _ => (units + 1) * 8,
        };
    }
    if is_extension(ip.protocol) {
        ip.shape = Shape::UNFOLLOWED;
    }
    Ok(())
}

#[inline(always)]
fn is_extension(protocol: u8) -> bool {
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS)
}
