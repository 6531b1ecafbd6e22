//! IPv4 (RFC 791).

use core::mem::offset_of;

use lb_common::layout::firewall::Firewall;
use lb_common::layout::{Address, HashKey, ListenerKeyV4, MAX_NAT_SOURCES, Settings, Vip};
use lb_common::verdict::Verdict;
use network_types::ip::{IpProto, Ipv4Hdr};

use crate::checksum::Sum;
use crate::ethernet;
use crate::family::{Family, ICMP, Ip, NewHeader, OUR_TTL, Shape, product};
use crate::firewall::{Maps, address};
use crate::packet::{Frame, Packet, Window};
use crate::tables::Tables;
use crate::verifier::masked;

/// IPv4.
#[derive(Clone, Copy, Debug)]
pub enum V4 {}

const V4_LENGTH: usize = Ipv4Hdr::LEN;
const V4_TOTAL: usize = offset_of!(Ipv4Hdr, tot_len);
const V4_IDENTIFICATION: usize = offset_of!(Ipv4Hdr, id);
const V4_FRAGMENT: usize = offset_of!(Ipv4Hdr, frags);
const V4_TTL: usize = offset_of!(Ipv4Hdr, ttl);
const V4_PROTOCOL: usize = offset_of!(Ipv4Hdr, proto);
const V4_CHECK: usize = offset_of!(Ipv4Hdr, check);
const V4_SOURCE: usize = offset_of!(Ipv4Hdr, src_addr);
const V4_DESTINATION: usize = offset_of!(Ipv4Hdr, dst_addr);
/// Version 4 and a header without options.
const PLAIN: u8 = 0x45;
const DO_NOT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

impl Family for V4 {
    type Address = u32;
    type Header<'p> = Window<'p, V4_LENGTH>;
    const NUMBER: u8 = 4;
    const HAS_CLASSES: u64 = Firewall::HAS_V4;
    const ICMP: u8 = ICMP;
    const ENCAPSULATED: u8 = IpProto::Ipv4 as u8;
    const LENGTH: usize = V4_LENGTH;
    const KIND: u16 = ethernet::IPV4;

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
        // The length of a quoted packet is that from before it was cut, and some routers change it.
        let fits = partial || (total >= length && end <= packet.length());
        if first >> 4 != 4 || length < V4_LENGTH || !fits {
            return Err(Verdict::Malformed);
        }
        ip.start = start;
        ip.source = header.u32_at::<V4_SOURCE>();
        ip.destination = header.u32_at::<V4_DESTINATION>();
        ip.protocol = header.u8_at::<V4_PROTOCOL>();
        ip.payload = start + length;
        ip.end = end;
        ip.ttl = header.u8_at::<V4_TTL>();
        ip.identification = u32::from(header.u16_at::<V4_IDENTIFICATION>());
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
    fn plain(header: Self::Header<'_>, start: usize) -> Option<Ip<Self>> {
        let fragment = header.u16_at::<V4_FRAGMENT>() & !DO_NOT_FRAGMENT.to_be();
        let is_plain = header.u8_at::<0>() == PLAIN && fragment == 0;
        is_plain.then(|| Ip {
            start,
            source: header.u32_at::<V4_SOURCE>(),
            destination: header.u32_at::<V4_DESTINATION>(),
            protocol: header.u8_at::<V4_PROTOCOL>(),
            payload: start + V4_LENGTH,
            end: start + usize::from(u16::from_be(header.u16_at::<V4_TOTAL>())),
            ttl: header.u8_at::<V4_TTL>(),
            shape: Shape::WHOLE,
            identification: 0,
        })
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
    fn products(key: &HashKey, source: u32, destination: u32) -> u64 {
        product(key[0], source, destination)
    }

    #[inline(always)]
    fn sum(sum: Sum, address: u32) -> Sum {
        sum.with_u32(address)
    }

    #[inline(always)]
    fn sum_complement(sum: Sum, address: u32) -> Sum {
        sum.with_u32(!address)
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
        let change = change.with(!0x0100_u16.to_be());
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
    fn traffic_class(header: Self::Header<'_>) -> u8 {
        header.u8_at::<1>()
    }

    /// Not to be fragmented, so that it needs no identification (RFC 6864 section 4.1).
    #[inline(always)]
    fn write(header: Self::Header<'_>, new: &NewHeader<u32>) {
        let [length_0, length_1] = ((new.length + V4_LENGTH) as u16).to_be_bytes();
        let [flags_0, flags_1] = DO_NOT_FRAGMENT.to_be_bytes();
        let first = u32::from_ne_bytes([PLAIN, new.traffic_class, length_0, length_1]);
        let second = u32::from_ne_bytes([0, 0, flags_0, flags_1]);
        let third = u16::from_ne_bytes([OUR_TTL, new.protocol]);
        let sum = Sum::default().with_u32(first).with_u32(second).with(third);
        let check = sum.with_u32(new.source).with_u32(new.destination).checksum();
        header.set_u32::<0>(first);
        header.set_u32::<4>(second);
        header.set_u32::<V4_TTL>(u32::from(third) | (u32::from(check) << 16));
        header.set_u32::<V4_SOURCE>(new.source);
        header.set_u32::<V4_DESTINATION>(new.destination);
    }

    #[inline(always)]
    fn tunnel_source(settings: &Settings, hash: u64) -> u32 {
        settings.tunnel_v4 | (hash as u32 & settings.tunnel_v4_entropy)
    }

    #[inline(always)]
    fn nat_sources(settings: &Settings) -> u16 {
        settings.nat_sources[0]
    }

    #[inline(always)]
    fn nat_source(settings: &Settings, index: usize) -> u32 {
        let index = masked::<{ MAX_NAT_SOURCES - 1 }>(index);
        settings.nat_v4.get(index).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn listener(tables: &impl Tables, address: u32, port: u16, protocol: u8) -> Option<u32> {
        tables.listener_id_v4(&ListenerKeyV4 { address, port, protocol, reserved: 0 })
    }

    #[inline(always)]
    fn vip(tables: &impl Tables, address: u32) -> Option<Vip> {
        tables.vip_v4(&address)
    }

    #[inline(always)]
    fn class(maps: &impl Maps, half: u32, address: u32) -> u32 {
        address::class_v4(maps, half, u32::from_be(address))
    }
}
