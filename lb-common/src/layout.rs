//! Keys and values of the kernel's maps.
//!
//! Every type is `repr(C)`, free of padding (the `zerocopy` derives prove it at compile time) and, where
//! it matters, one cache line. Addresses and ports are kept in network byte order, as in the packet, so
//! that the packet path compares and copies words without turning them.
#![expect(clippy::as_conversions, reason = "`From` is not const")]

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

mod backend;
mod draw;
pub mod firewall;
mod flow;
pub mod guard;
pub mod limit;
mod listener;
mod sample;
mod traffic;

pub use backend::{BACKEND_DOWN_KEEP, BACKEND_DOWN_RESET, BACKEND_UP, Backend, Forward};
pub use draw::{Affinity, AffinityKey, Load, Slot};
pub use flow::{Detail, FragmentKey, FragmentWay};
pub use listener::{Listener, Scheduler, SynCookies, run, run_parts};
pub use sample::{NOTHING, Sample};
pub use traffic::{Count, Traffic};

/// Cells in a bucket of the flow table: one cache line.
pub const CELLS_PER_BUCKET: usize = 8;

/// A bucket of the flow table.
pub type Bucket = [u64; CELLS_PER_BUCKET];

/// An IP address as the packet holds it: network order, IPv4 in the first word and the others zero.
pub type Address = [u32; 4];

/// The words and the family (4 or 6) of an IP address.
#[must_use]
pub fn address(ip: IpAddr) -> (Address, u8) {
    match ip {
        IpAddr::V4(ip) => ([u32::from_ne_bytes(ip.octets()), 0, 0, 0], 4),
        IpAddr::V6(ip) => (zerocopy::transmute!(ip.octets()), 6),
    }
}

/// The IP address with these words; `None` where `family` is neither 4 nor 6.
#[must_use]
pub fn ip(address: &Address, family: u8) -> Option<IpAddr> {
    let octets: [u8; 16] = zerocopy::transmute!(*address);
    match family {
        4 => Some(Ipv4Addr::from_bits(u32::from_be(address[0])).into()),
        6 => Some(Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

/// The words, the port in network order and the family (4 or 6) of an address with a port.
#[must_use]
pub fn endpoint(socket: SocketAddr) -> (Address, u16, u8) {
    let (address, family) = address(socket.ip());
    (address, socket.port().to_be(), family)
}

/// The address with the port, both as the maps hold them; `None` where `family` is neither 4 nor 6.
#[must_use]
pub fn socket(address: &Address, port: u16, family: u8) -> Option<SocketAddr> {
    Some(SocketAddr::new(ip(address, family)?, u16::from_be(port)))
}

/// Secret key of the flow hash: ten words of 32 bits.
pub type HashKey = [u64; 5];

/// What is the same for all packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Settings {
    /// Drawn once, kept as long as the flow table lives.
    pub hash_key: HashKey,
    /// Secret key of SYN cookies, likewise.
    pub cookie_key: [u64; 2],
    /// Added to the tick before the period of a SYN cookie is reckoned, so that directors with the same key mean the
    /// same by it; wraps.
    pub cookie_clock: u64,
    /// Number of buckets of the flow table, less one; the number is a power of two.
    pub bucket_mask: u32,
    /// [`LAYOUT_VERSION`](crate::LAYOUT_VERSION) of whoever created the maps.
    pub layout: u32,
    /// Idle timeout in ticks by [`State`](crate::cell::State) number; index 0 is unused.
    pub timeouts: [u16; 8],
    /// Source of IPv4 headers around encapsulated packets, network order.
    pub tunnel_v4: u32,
    /// Bits of it that vary with the flow, network order.
    pub tunnel_v4_entropy: u32,
    /// Source of IPv6 headers around encapsulated packets.
    pub tunnel_v6: Address,
    /// Bits of its last word that vary with the flow, network order.
    pub tunnel_v6_entropy: u32,
    /// UDP port of GUE, network order.
    pub gue_port: u16,
    /// First port of the sources of full NAT, host order.
    pub nat_first_port: u16,
    /// Number of ports of each source of full NAT.
    pub nat_ports: u16,
    /// Number of CPUs that share them.
    pub cpus: u16,
    /// Number of sources of full NAT in IPv4 and IPv6.
    pub nat_sources: [u16; 2],
    /// 1 where later fragments follow the first one; 0 where fragments are dropped.
    pub follow_fragments: u16,
    /// Generation of the rules that flows are accepted by: 1 to 3, or 4, which none has; a flow of
    /// another one is looked at again.
    pub generation: u16,
    /// The same as `bucket_mask` of the other flow table, from or to which flows move; 0 where there is none.
    pub other_mask: u32,
    /// Sources of full NAT in IPv4, network order.
    pub nat_v4: [u32; MAX_NAT_SOURCES],
    /// Sources of full NAT in IPv6.
    pub nat_v6: [Address; MAX_NAT_SOURCES],
}

/// Most source addresses of full NAT of one family; a power of two.
pub const MAX_NAT_SOURCES: usize = 16;

/// Key of an IPv4 listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ListenerKeyV4 {
    /// VIP, network order.
    pub address: u32,
    /// Port, network order.
    pub port: u16,
    /// IP protocol number: 6 (TCP) or 17 (UDP).
    pub protocol: u8,
    /// Zero.
    pub reserved: u8,
}

/// Key of an IPv6 listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ListenerKeyV6 {
    /// VIP, network order.
    pub address: [u32; 4],
    /// Port, network order.
    pub port: u16,
    /// IP protocol number: 6 (TCP) or 17 (UDP).
    pub protocol: u8,
    /// Zero.
    pub reserved: u8,
}

/// What holds for all of a VIP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Vip {
    /// 1 where the address belongs to Sluice alone and every port without a listener is closed.
    pub closed: u32,
}

/// The round-robin cursor of a service, on a cache line of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub struct Cursor {
    /// Number of flows drawn so far.
    pub drawn: u64,
    /// Zero.
    pub reserved: [u64; 7],
}

/// An interface that Sluice is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Interface {
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Zero.
    pub reserved: [u8; 2],
    /// Its index, or the [`Interface::number`] of a virtual MAC address that it has too; 0 where the place is free.
    /// Written last.
    pub index: u64,
}

impl Interface {
    /// Number of places that an interface may have.
    pub const CHOICES: u32 = 4;

    /// Under which number an interface has a virtual router's MAC address, whose last two bytes are `router`
    /// (RFC 9568 7.3). Those of interfaces themselves are less.
    #[must_use]
    #[inline(always)]
    pub const fn number(index: u32, router: u16) -> u64 {
        (router as u64) << 32 | index as u64
    }

    /// One of the places of what has this index or number.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a word")]
    pub const fn place(number: u64, choice: u32) -> u32 {
        let (index, router) = (number as u32, (number >> 32) as u32);
        let first = index.wrapping_add(router.wrapping_mul(Self::CHOICES));
        first.wrapping_add(choice) & (crate::INTERFACE_PLACES - 1)
    }
}

macro_rules! plain_data {
    ($($type:ty),+) => {$(
        const _: () = {
            const fn proved<T: FromBytes + IntoBytes + Immutable>() {}
            proved::<$type>();
        };
        #[cfg(feature = "agent")]
        // SAFETY: the derives of zerocopy, checked above, prove that any bytes are a value of the type and
        // that it has no padding; it is `Copy` and holds no reference.
        unsafe impl aya::Pod for $type {}
    )+};
}

pub(crate) use plain_data;

plain_data!(
    Settings,
    ListenerKeyV4,
    ListenerKeyV6,
    Vip,
    Listener,
    Slot,
    Load,
    AffinityKey,
    Affinity,
    Backend,
    Cursor,
    Detail,
    FragmentKey,
    FragmentWay,
    Interface,
    Count,
    Traffic
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hot_values_fill_whole_cache_lines() {
        assert_eq!(size_of::<Listener>(), 64);
        assert_eq!(size_of::<Backend>(), 64);
        assert_eq!(size_of::<Cursor>(), 64);
        assert_eq!(size_of::<Bucket>(), 64);
        assert_eq!(size_of::<Detail>(), 64);
    }

    #[test]
    fn an_address_lies_in_memory_as_in_the_packet() {
        let (words, family) = address("192.0.2.1".parse().unwrap());
        assert_eq!(
            (words.as_bytes(), family),
            (&[192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], 4)
        );
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, 6);
        let (words, family) = address(v6.into());
        assert_eq!((words.as_bytes(), family), (&v6.octets()[..], 6));
        assert_eq!(endpoint("[::]:80".parse().unwrap()).1.as_bytes(), [0, 80]);
    }

    #[test]
    fn an_endpoint_gives_its_address_and_port_back() {
        for text in ["192.0.2.1:8080", "[2001:db8::7]:443"] {
            let (address, port, family) = endpoint(text.parse().unwrap());
            assert_eq!(socket(&address, port, family), Some(text.parse().unwrap()));
        }
        assert_eq!(socket(&[0; 4], 0, 0), None);
    }

    #[test]
    fn a_run_gives_its_parts_back() {
        assert_eq!(run_parts(run(7, 9)), (7, 9));
        assert_eq!(run_parts(run(u32::MAX, 1)), (u32::MAX, 1));
    }
}
