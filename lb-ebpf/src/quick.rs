//! What most packets need, and nothing else: those of known flows of which nothing new is to be noted, and those
//! that are none of ours.
//!
//! A flow is found without its listener: its backend names VIP and port, so one search serves both directions. All
//! is in registers, nothing is written before all is known, and on any doubt the packet is left to the second
//! program as it came. Whatever is done here the second program would do too.

use lb_common::cell::{Cell, State};
use lb_common::filter;
use lb_common::layout::{BACKEND_UP, Backend, CELLS_PER_BUCKET, Settings};
use lb_common::verdict::{Kind, Verdict};
use network_types::eth::EthHdr;
use network_types::tcp::TcpHdr;
use network_types::udp::UdpHdr;

use crate::ethernet;
use crate::family::{Family, Ip, TCP, UDP};
use crate::firewall::outcome::{self, BySource};
use crate::flight::{Flight, Next};
use crate::flow::{Tuple, tag_of};
use crate::identify::has_mac;
use crate::packet::{Frame, Mac, Packet};
use crate::place::{Place, first_bucket};
use crate::tables::Tables;
use crate::transport::{FIN, RST, SYN, TCP_FLAGS, Transport};
use crate::v4::V4;
use crate::v6::V6;
use crate::{Outcome, World, rest};

mod go;

/// Deals with a packet, if it is one of these.
#[inline(always)]
pub(crate) fn quick<F: Frame, T: Tables>(packet: &mut Packet<F>, tables: &T) -> Option<Outcome> {
    match packet.window::<{ EthHdr::LEN }>(0)?.u16_at::<12>() {
        ethernet::IPV4 => of_family::<V4, F, T>(packet, tables),
        ethernet::IPV6 => of_family::<V6, F, T>(packet, tables),
        _ => None,
    }
}

/// A packet without tags, options or extension headers, and what is known of it.
struct Plain<'t, A: Family> {
    ip: Ip<A>,
    transport: Transport,
    /// Bytes of the frame as it came in.
    bytes: u64,
    /// Where the frame was sent to.
    mac: Mac,
    interface: u32,
    settings: &'t Settings,
    hash: u64,
    /// Its flow's cell.
    cell: Cell,
    place: Place,
    backend: &'t Backend,
}

#[inline(always)]
fn of_family<A: Family, F: Frame, T: Tables>(
    packet: &mut Packet<F>,
    tables: &T,
) -> Option<Outcome> {
    let settings = tables.settings()?;
    let (ip, transport) = parse::<A, F>(packet)?;
    let tuple = tuple(&ip, &transport);
    let bytes = packet.length() as u64;
    if let Some(verdict) = strange(tables, &tuple) {
        if verdict.kind() == Kind::Dropped {
            return (!tables.samples()).then(|| rest(verdict));
        }
        let told = outcome::of_source(tables, &ip, &transport);
        return judged(tables, told, verdict, bytes).map(rest);
    }
    if ip.ttl <= 1 || transport.flags & (FIN | RST) != 0 {
        return None;
    }
    let hash = tuple.hash(&settings.hash_key);
    let found = if transport.flags & SYN == 0 { find(tables, settings, hash) } else { None };
    let Some((cell, place)) = found else { return unknown(tables, &ip, &transport, bytes) };
    let backend = tables.backend(cell.backend())?;
    let interface = packet.interface();
    let mac = packet.window::<{ EthHdr::LEN }>(0)?.mac_at::<0>();
    let plain =
        Plain { ip, transport, bytes, mac, interface, settings, hash, cell, place, backend };
    if !is_up::<A>(backend, plain.ip.protocol) || !is_for_us(tables, &plain) {
        return None;
    }
    go::go(packet, tables, &plain)
}

/// The verdict on a packet that would have this one without rules.
#[inline(always)]
fn judged<T: Tables>(tables: &T, told: BySource, passes: Verdict, bytes: u64) -> Option<Verdict> {
    let (verdict, counter) = match told {
        BySource::Nothing => return None,
        BySource::Accepted(counter) => (passes, counter),
        BySource::Dropped(..) if tables.samples() => return None,
        BySource::Dropped(verdict, counter) => (verdict, counter),
    };
    outcome::count(tables, counter, bytes);
    Some(verdict)
}

/// Has a packet of no flow dropped that comes from where all is dropped. Should it be of a flow that the rules of before
/// have accepted, the flow's next reply or the sweep ends that.
#[inline(always)]
fn unknown<A: Family, T: Tables>(
    tables: &T,
    ip: &Ip<A>,
    transport: &Transport,
    bytes: u64,
) -> Option<Outcome> {
    let BySource::Dropped(verdict, counter) = outcome::of_client(tables, ip, transport) else {
        return None;
    };
    // Of a reply it counts where its client is.
    let source = A::to_words(ip.source);
    let reply = filter::of_replies(&source, transport.source_port, ip.protocol);
    if tables.samples() || may_be(tables, reply) {
        return None;
    }
    outcome::count(tables, counter, bytes);
    Some(rest(verdict))
}

/// The same for the program that asks the rules: the verdict on a packet that is for nobody here, before they are.
#[inline(always)]
pub(crate) fn stranger<A: Family, F: Frame, T: Tables>(
    packet: &Packet<F>,
    world: &World<'_, T>,
    flight: &mut Flight<A>,
) -> Option<Verdict> {
    if world.link.length != EthHdr::LEN {
        return None;
    }
    let (ip, transport) = parse::<A, F>(packet)?;
    let verdict = strange(world.tables, &tuple(&ip, &transport))?;
    flight.ip = ip;
    flight.transport = transport;
    flight.next = Next::NOTHING;
    flight.asks_cookies = 0;
    flight.is_parsed = 1;
    flight.has_ports = 1;
    Some(verdict)
}

#[inline(always)]
fn tuple<A: Family>(ip: &Ip<A>, transport: &Transport) -> Tuple<A> {
    Tuple {
        source: ip.source,
        destination: ip.destination,
        source_port: transport.source_port,
        destination_port: transport.destination_port,
        protocol: ip.protocol,
    }
}

/// The headers where they are plain.
#[inline(always)]
fn parse<A: Family, F: Frame>(packet: &Packet<F>) -> Option<(Ip<A>, Transport)> {
    let ports = packet.window::<{ TcpHdr::LEN }>(EthHdr::LEN + A::LENGTH)?;
    let ip = A::plain(A::header(packet, EthHdr::LEN)?, EthHdr::LEN)?;
    let (length, flags) = if ip.protocol == TCP {
        (TcpHdr::LEN, ports.u8_at::<TCP_FLAGS>())
    } else if ip.protocol == UDP {
        (UdpHdr::LEN, 0)
    } else {
        return None;
    };
    if ip.end > packet.length() || ip.payload + length > ip.end {
        return None;
    }
    let (source_port, destination_port) = (ports.u16_at::<0>(), ports.u16_at::<2>());
    Some((ip, Transport { source_port, destination_port, flags }))
}

/// The verdict on a packet that can be neither a listener's nor a reply of a backend.
#[inline(always)]
fn strange<A: Family, T: Tables>(tables: &T, tuple: &Tuple<A>) -> Option<Verdict> {
    let (source, destination) = (A::to_words(tuple.source), A::to_words(tuple.destination));
    let request = filter::of_listener(&destination, tuple.destination_port, tuple.protocol);
    let reply = filter::of_replies(&source, tuple.source_port, tuple.protocol);
    if may_be(tables, request) || may_be(tables, reply) {
        return None;
    }
    if !may_be(tables, filter::of_vip(&destination)) {
        return Some(Verdict::NotOurs);
    }
    // An address that shares the bit of a VIP may be anybody's.
    let closed = A::vip(tables, tuple.destination)?.closed != 0;
    Some(if closed { Verdict::PortClosed } else { Verdict::VipHostPort })
}

#[inline(always)]
pub(crate) fn may_be<T: Tables>(tables: &T, (word, bit): filter::Mark) -> bool {
    tables.filter(word) & bit != 0
}

/// The cell in the flow's first bucket that has its tag, if the flow was seen in this tick and accepted by the
/// rules of now, and is under way.
#[inline(always)]
fn find<T: Tables>(tables: &T, settings: &Settings, hash: u64) -> Option<(Cell, Place)> {
    let index = first_bucket(hash, settings.bucket_mask);
    let bucket = tables.bucket(index)?;
    let like =
        Cell::new(tag_of(hash), 0, tables.tick(), State::Udp, false).under(settings.generation);
    // The number that no cell has room for: every packet is to be judged.
    if like.generation() != settings.generation {
        return None;
    }
    for slot in 0..CELLS_PER_BUCKET {
        let cell = Cell(bucket.load(slot));
        if cell.is_as_fresh_as(like) {
            return is_under_way(cell).then_some((cell, Place { bucket: index, slot }));
        }
    }
    None
}

/// A connection that has ended may be followed by one that a SYN cookie opens.
#[inline(always)]
fn is_under_way(cell: Cell) -> bool {
    let state = cell.state_number();
    state > State::Syn as u64 && state != State::Closing as u64
}

#[inline(always)]
fn is_up<A: Family>(backend: &Backend, protocol: u8) -> bool {
    let is = [backend.state, backend.protocol, backend.family, 0];
    u32::from_ne_bytes(is) == u32::from_ne_bytes([BACKEND_UP, protocol, A::NUMBER, 0])
}

/// Whether the frame was sent to the interface that it came in by.
#[inline(always)]
fn is_for_us<A: Family, T: Tables>(tables: &T, plain: &Plain<'_, A>) -> bool {
    let [_, _, _, _, _, _, m0, m1, m2, m3, m4, m5] = plain.backend.macs;
    let is_known = plain.backend.interface == plain.interface
        && plain.mac == Mac::from([m0, m1, m2, m3, m4, m5]);
    is_known || has_mac(tables, plain.interface, plain.mac)
}
