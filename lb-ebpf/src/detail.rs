//! The details of cells: which flow a cell stands for, and the way back to its client.

use lb_common::layout::{Address, Backend, Detail, HashKey};

use crate::World;
use crate::cookie::translation::Translation;
use crate::ethernet::Tags;
use crate::family::{Family, Ip, Shape};
use crate::flight::Flight;
use crate::flow::{Tuple, tag_of};
use crate::tables::Tables;
use crate::v4::V4;
use crate::v6::V6;

/// Writes what a cell of the packet's flow stands for, and the way back to the client: the one that this
/// packet came.
#[inline(never)]
pub(crate) fn write<A: Family, T: Tables>(world: &World<'_, T>, flight: &Flight<A>, index: u32) {
    let Some(entry) = world.tables.detail(index).filter(|_| !world.tables.explains()) else {
        return;
    };
    let translation =
        if flight.is_translated == 0 { Translation::NONE } else { flight.translation };
    entry.update(|detail| {
        *detail = Detail {
            client: A::to_words(flight.ip.source),
            source: A::to_words(flight.peer),
            client_port: flight.transport.source_port,
            source_port: flight.peer_port,
            protocol: flight.ip.protocol,
            family: A::NUMBER,
            is_opening: translation.is_opening,
            window_shift: translation.window_shift,
            sequence_delta: translation.sequence,
            timestamp_delta: translation.timestamp,
            hop_interface: flight.interface,
            hop_neighbour: world.link.source.into(),
            hop_tags: world.link.tags.control,
            hop_tag_type: world.link.tags.kind,
        };
    });
}

/// Reads the source that the backend sees of a client's flow. A cell is taken before its detail is written;
/// until then it describes another flow, and the answer is false.
#[inline(always)]
pub(crate) fn read_source<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &mut Flight<A>,
    index: u32,
    client: (A::Address, u16),
) -> bool {
    let Some(entry) = world.tables.detail(index) else { return false };
    entry.update(|detail| {
        flight.peer = A::from_words(&detail.source);
        flight.peer_port = detail.source_port;
        A::same(A::from_words(&detail.client), client.0)
            && is_port(&flight.ip, detail.client_port, client.1)
    })
}

/// The same for the packet at hand, which is the client's.
#[inline(always)]
pub(crate) fn read_own_source<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &mut Flight<A>,
    index: u32,
) -> bool {
    let client = flight.client();
    read_source(world, flight, index, client)
}

/// Whether a cell is of a flow of the packet's sender.
#[inline(always)]
pub(crate) fn is_of_client<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &Flight<A>,
    index: u32,
) -> bool {
    let Some(entry) = world.tables.detail(index) else { return false };
    let (address, port) = flight.client();
    entry.update(|detail| {
        A::same(A::from_words(&detail.client), address) && detail.client_port == port
    })
}

/// Reads the client of a reply's flow, and the way that its last packet came; says whether it is known.
#[inline(always)]
pub(crate) fn read_way_back<A: Family, T: Tables>(
    world: &World<'_, T>,
    flight: &mut Flight<A>,
    index: u32,
) -> bool {
    let Some(entry) = world.tables.detail(index) else { return false };
    let is_theirs = entry.update(|detail| {
        flight.peer = A::from_words(&detail.client);
        flight.peer_port = detail.client_port;
        flight.hop.interface = detail.hop_interface;
        flight.hop.destination = detail.hop_neighbour.into();
        flight.hop.tags = Tags { control: detail.hop_tags, kind: detail.hop_tag_type, reserved: 0 };
        A::same(A::from_words(&detail.source), flight.reply.destination)
            && is_port(&flight.ip, detail.source_port, flight.reply.destination_port)
    });
    is_theirs && leave_by(world, flight)
}

/// Whether a port is the packet's; a later fragment has none.
#[inline(always)]
fn is_port<A: Family>(ip: &Ip<A>, port: u16, of_packet: u16) -> bool {
    port == of_packet || ip.shape == Shape::LATER_FRAGMENT
}

/// Writes the MAC address of the interface that the hop leaves by; says whether Sluice is attached to it.
#[inline(always)]
fn leave_by<A: Family, T: Tables>(world: &World<'_, T>, flight: &mut Flight<A>) -> bool {
    flight.hop.source = world.link.destination;
    if flight.hop.interface != flight.interface {
        let Some(interface) = world.tables.interface(flight.hop.interface.into()) else {
            return false;
        };
        flight.hop.source = interface.mac.into();
    }
    true
}

/// The source that the backend sees is the client.
#[inline(always)]
pub(crate) fn keep_source<A: Family>(flight: &mut Flight<A>) {
    flight.peer = flight.ip.source;
    flight.peer_port = flight.transport.source_port;
}

/// Whether a cell with this tag may belong to the flow of the detail, towards the backend or back from it.
pub fn detail_matches(
    key: &HashKey,
    detail: &Detail,
    backend: &Backend,
    is_reply: bool,
    tag: u64,
) -> bool {
    detail_hash(key, detail, backend, is_reply).is_some_and(|hash| tag_of(hash) == tag)
}

/// Source and destination of a packet, and their ports.
type Ends<'a> = (&'a Address, &'a Address, u16, u16);

/// The hash of the flow of a detail, towards the backend or back from it.
#[inline(always)]
pub fn detail_hash(
    key: &HashKey,
    detail: &Detail,
    backend: &Backend,
    is_reply: bool,
) -> Option<u64> {
    #[inline(always)]
    fn hash<F: Family>(key: &HashKey, ends: Ends<'_>, protocol: u8) -> u64 {
        let tuple = Tuple::<F> {
            source: F::from_words(ends.0),
            destination: F::from_words(ends.1),
            source_port: ends.2,
            destination_port: ends.3,
            protocol,
        };
        tuple.hash(key)
    }
    let ends = if is_reply {
        (&backend.address, &detail.source, backend.port, detail.source_port)
    } else {
        (&detail.client, &backend.vip, detail.client_port, backend.vip_port)
    };
    match detail.family {
        4 => Some(hash::<V4>(key, ends, detail.protocol)),
        6 => Some(hash::<V6>(key, ends, detail.protocol)),
        _ => None,
    }
}
