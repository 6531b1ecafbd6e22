//! Ethernet, with up to two VLAN tags (IEEE 802.1Q, 802.1ad).

use network_types::eth::{EthHdr, EtherType};

use crate::packet::{Frame, Mac, Packet};

/// EtherType of IPv4, as it stands in the frame.
pub const IPV4: u16 = EtherType::Ipv4 as u16;
/// EtherType of IPv6, as it stands in the frame.
pub const IPV6: u16 = EtherType::Ipv6 as u16;

const CUSTOMER_TAG: u16 = EtherType::Ieee8021q as u16;
const SERVICE_TAG: u16 = EtherType::Ieee8021ad as u16;

/// VLAN tags of a frame, all in network order. A whole word, so that clearing them is one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Tags {
    /// Tag control information, outer tag first; 0 where there is none.
    pub control: [u16; 2],
    /// EtherType of the outer tag.
    pub kind: u16,
    /// Zero.
    pub reserved: u16,
}

impl Tags {
    /// No tag at all.
    pub const NONE: Self = Self { control: [0; 2], kind: 0, reserved: 0 };

    /// Adds the next tag; one of VLAN 0 and priority 0 says nothing and counts as none.
    #[inline(always)]
    fn push(&mut self, kind: u16, control: u16) {
        if self.control[0] == 0 {
            self.control[0] = control;
            self.kind = kind;
        } else {
            self.control[1] = control;
        }
    }

    #[inline(always)]
    fn bytes(self) -> usize {
        match (self.control[0], self.control[1]) {
            (0, _) => 0,
            (_, 0) => 4,
            _ => 8,
        }
    }
}

/// What the Ethernet header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Ethernet {
    /// EtherType of the payload, network order.
    pub kind: u16,
    /// Where the payload begins.
    pub length: usize,
    /// VLAN tags.
    pub tags: Tags,
    /// Where the frame was sent to.
    pub destination: Mac,
    /// Where it came from.
    pub source: Mac,
}

/// Where a frame goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Hop {
    /// Index of the interface.
    pub interface: u32,
    /// MAC address of the neighbour.
    pub destination: Mac,
    /// MAC address of the interface.
    pub source: Mac,
    /// VLAN tags to send with.
    pub tags: Tags,
    /// EtherType of what is sent, network order.
    pub kind: u16,
    /// Where what is kept of the frame begins.
    pub start: usize,
    /// Where it ends; 0: where it ends now.
    pub end: u32,
    /// Bytes to leave free between the Ethernet header and what is kept.
    pub room: u32,
}

/// Parses the header; `None` where the frame is too short for it.
#[inline(always)]
pub fn parse<F: Frame>(packet: &Packet<F>, ethernet: &mut Ethernet) -> Option<()> {
    let header = packet.window::<{ EthHdr::LEN }>(0)?;
    ethernet.destination = header.mac_at::<0>();
    ethernet.source = header.mac_at::<6>();
    ethernet.tags = Tags::NONE;
    let mut kind = header.u16_at::<12>();
    let mut length = EthHdr::LEN;
    for _ in 0..2 {
        if !matches!(kind, CUSTOMER_TAG | SERVICE_TAG) {
            break;
        }
        let tag = packet.window::<4>(length)?;
        ethernet.tags.push(kind, tag.u16_at::<0>());
        kind = tag.u16_at::<2>();
        length += 4;
    }
    ethernet.kind = kind;
    ethernet.length = length;
    Some(())
}

/// Writes the header that the hop asks for, and says how long it is; `None` where there is no room for it.
#[inline(always)]
pub fn write<F: Frame>(packet: &mut Packet<F>, hop: &Hop) -> Option<usize> {
    let length = EthHdr::LEN + hop.tags.bytes();
    let growth = length as i32 + hop.room as i32 - hop.start as i32;
    if growth != 0 && !packet.grow(growth) {
        return None;
    }
    let header = packet.window::<{ EthHdr::LEN }>(0)?;
    header.set_mac::<0>(hop.destination);
    header.set_mac::<6>(hop.source);
    if hop.tags.control[0] == 0 {
        header.set_u16::<12>(hop.kind);
        return Some(length);
    }
    header.set_u16::<12>(hop.tags.kind);
    let tag = packet.window::<4>(EthHdr::LEN)?;
    tag.set_u16::<0>(hop.tags.control[0]);
    if hop.tags.control[1] == 0 {
        tag.set_u16::<2>(hop.kind);
        return Some(length);
    }
    tag.set_u16::<2>(CUSTOMER_TAG);
    let tag = packet.window::<4>(EthHdr::LEN + 4)?;
    tag.set_u16::<0>(hop.tags.control[1]);
    tag.set_u16::<2>(hop.kind);
    Some(length)
}
