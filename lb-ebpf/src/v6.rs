//! IPv6 (RFC 8200), with the extension headers that are followed.

use core::mem::offset_of;

use lb_common::layout::firewall::Firewall;
use lb_common::layout::{Address, HashKey, ListenerKeyV6, MAX_NAT_SOURCES, Settings, Vip};
use lb_common::verdict::Verdict;
use network_types::ip::{IpProto, Ipv6Hdr};

use crate::checksum::Sum;
use crate::ethernet;
use crate::family::{Family, ICMPV6, Ip, NewHeader, OUR_TTL, Shape, product};
use crate::firewall::{Maps, address};
use crate::packet::{Frame, Packet, Window};
use crate::tables::Tables;
use crate::verifier::masked;

/// Most extension headers that are followed.
const MAX_EXTENSIONS: usize = 6;

/// IPv6.
#[derive(Clone, Copy, Debug)]
pub enum V6 {}

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
    const HAS_CLASSES: u64 = Firewall::HAS_V6;
    const ICMP: u8 = ICMPV6;
    const ENCAPSULATED: u8 = IpProto::Ipv6 as u8;
    const LENGTH: usize = V6_LENGTH;
    const KIND: u16 = ethernet::IPV6;

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
        ip.identification = 0;
        follow_extensions(packet, ip)
    }

    #[inline(always)]
    fn plain(header: Self::Header<'_>, start: usize) -> Option<Ip<Self>> {
        let is_plain = header.u8_at::<0>() >> 4 == 6;
        let payload = start + V6_LENGTH;
        is_plain.then(|| Ip {
            start,
            source: header.words_at::<V6_SOURCE>(),
            destination: header.words_at::<V6_DESTINATION>(),
            protocol: header.u8_at::<V6_NEXT>(),
            payload,
            end: payload + usize::from(u16::from_be(header.u16_at::<V6_PAYLOAD>())),
            ttl: header.u8_at::<V6_HOPS>(),
            shape: Shape::WHOLE,
            identification: 0,
        })
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
    fn products(key: &HashKey, source: [u32; 4], destination: [u32; 4]) -> u64 {
        product(key[0], source[0], source[1])
            .wrapping_add(product(key[1], source[2], source[3]))
            .wrapping_add(product(key[2], destination[0], destination[1]))
            .wrapping_add(product(key[3], destination[2], destination[3]))
    }

    #[inline(always)]
    fn sum(sum: Sum, address: [u32; 4]) -> Sum {
        sum.with_u32(address[0]).with_u32(address[1]).with_u32(address[2]).with_u32(address[3])
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
    fn traffic_class(header: Self::Header<'_>) -> u8 {
        (u16::from_be(header.u16_at::<0>()) >> 4) as u8
    }

    #[inline(always)]
    fn write(header: Self::Header<'_>, new: &NewHeader<[u32; 4]>) {
        let first = (6 << 28) | (u32::from(new.traffic_class) << 20) | (new.flow_label & 0xf_ffff);
        let [length_0, length_1] = (new.length as u16).to_be_bytes();
        header.set_u32::<0>(first.to_be());
        header.set_u32::<V6_PAYLOAD>(u32::from_ne_bytes([
            length_0,
            length_1,
            new.protocol,
            OUR_TTL,
        ]));
        header.set_words::<V6_SOURCE>(new.source);
        header.set_words::<V6_DESTINATION>(new.destination);
    }

    #[inline(always)]
    fn tunnel_source(settings: &Settings, hash: u64) -> [u32; 4] {
        let [a, b, c, d] = settings.tunnel_v6;
        [a, b, c, d | (hash as u32 & settings.tunnel_v6_entropy)]
    }

    #[inline(always)]
    fn nat_sources(settings: &Settings) -> u16 {
        settings.nat_sources[1]
    }

    #[inline(always)]
    fn nat_source(settings: &Settings, index: usize) -> [u32; 4] {
        let index = masked::<{ MAX_NAT_SOURCES - 1 }>(index);
        settings.nat_v6.get(index).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn listener(tables: &impl Tables, address: [u32; 4], port: u16, protocol: u8) -> Option<u32> {
        tables.listener_id_v6(&ListenerKeyV6 { address, port, protocol, reserved: 0 })
    }

    #[inline(always)]
    fn vip(tables: &impl Tables, address: [u32; 4]) -> Option<Vip> {
        tables.vip_v6(&address)
    }

    #[inline(always)]
    fn class(maps: &impl Maps, half: u32, address: [u32; 4]) -> u32 {
        let [a, b, c, d] = address.map(u32::from_be);
        let half_of = |a, b| (u64::from(a) << 32) | u64::from(b);
        address::class_v6(maps, half, half_of(a, b), half_of(c, d))
    }
}

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
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
        // RFC 8200 section 4.4: with segments left, the destination is only a stop on the way.
        if kind == ROUTING && header.u8_at::<3>() != 0 {
            ip.shape = Shape::UNFOLLOWED;
            return Ok(());
        }
        ip.protocol = header.u8_at::<0>();
        ip.payload += match kind {
            FRAGMENT => {
                // RFC 8200 section 4.5: 13 bits of offset, two reserved, "more fragments".
                let offset = u16::from_be(header.u16_at::<2>());
                ip.identification = header.u32_at::<4>();
                if offset & 0xfff8 != 0 {
                    ip.shape = Shape::LATER_FRAGMENT;
                    ip.payload += 8;
                    return Ok(());
                }
                if offset & 1 != 0 {
                    ip.shape = Shape::FIRST_FRAGMENT;
                }
                8
            }
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
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS)
}
