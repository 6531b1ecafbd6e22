//! The short cut: which packets take it, that it does to them what the long way does, and that it leaves all others
//! as they came.

use lb_common::cell::Cell;
use lb_common::layout::{BACKEND_DOWN_KEEP, Count, Detail, Forward, Traffic};
use lb_common::verdict::Verdict;
use lb_ebpf::host::{HostFrame, HostTables};
use lb_ebpf::packet::Packet as Work;
use lb_ebpf::{first, second};

use crate::cast::packet::{CUSTOMER, Packet, tcp, udp};
use crate::cast::ways::{FIRST_PORT, WAYS, nat_source};
use crate::cast::{
    BACK, Cast, DIRECTOR_BACK, DIRECTOR_FRONT, FAMILIES, FRONT, PROTOCOLS, ROUTER, SERVERS, TCP,
    World, answer,
};

const TEXT: &[u8] = b"a few bytes that make no frame too short";

/// All that the packet path writes.
#[derive(Debug, PartialEq)]
struct Written {
    cells: Vec<Cell>,
    details: Vec<Detail>,
    verdicts: Vec<Count>,
    traffic: Vec<Traffic>,
}

fn written(tables: &HostTables) -> Written {
    let listeners = (0..tables.listeners.len() as u32).map(|id| tables.traffic_of_listener(id));
    let backends = (0..tables.backends.len() as u32).map(|id| tables.traffic_of_backend(id));
    let traffic = listeners.chain(backends).collect();
    let (cells, details, verdicts) = (tables.cells(), tables.details(), tables.verdicts());
    Written { cells, details, verdicts, traffic }
}

/// What the short cut says of a packet; `None` where it left it alone.
#[track_caller]
fn short_cut(world: &World, packet: &Packet, interface: u32) -> Option<Verdict> {
    let bytes = packet.bytes();
    let (short, long) = (world.tables.clone(), world.tables.clone());
    let mut work = Work::new(HostFrame::new(&bytes, interface));
    let outcome = first(&mut work, &short);
    let frame = work.into_frame().bytes();
    let Some(outcome) = outcome else {
        assert_eq!(frame, bytes, "it is as it was");
        assert_eq!(written(&short), written(&world.tables));
        return None;
    };
    let mut work = Work::new(HostFrame::new(&bytes, interface));
    assert_eq!(second(&mut work, &long), Some(outcome));
    assert_eq!(work.into_frame().bytes(), frame);
    assert_eq!(written(&short), written(&long));
    Some(outcome.verdict)
}

/// A packet in the middle of a flow.
fn middle(protocol: u8, world: &World) -> Packet {
    let (client, vip) = (world.cast.client, world.cast.vip);
    let packet = if protocol == TCP { tcp(client, vip).ack() } else { udp(client, vip) };
    packet.payload(TEXT)
}

/// A reply in the middle of a flow, to whom the backend takes for its client.
fn reply(cast: &Cast, protocol: u8, forward: Forward) -> Packet {
    let is_full = forward == Forward::FullNat;
    let client = if is_full { nat_source(*cast, FIRST_PORT) } else { cast.client };
    let packet = answer(protocol, cast.backends[0], client);
    let packet = if protocol == TCP { tcp(cast.backends[0], client).ack() } else { packet };
    packet.payload(TEXT).link(SERVERS[0], DIRECTOR_BACK)
}

fn has_replies(forward: Forward) -> bool {
    matches!(forward, Forward::Nat | Forward::FullNat)
}

/// A world with an open flow.
fn open(cast: Cast, protocol: u8, forward: Forward) -> World {
    let world = World::by(cast, protocol, forward);
    world.begin(cast.client);
    if has_replies(forward) {
        let client = reply(&cast, protocol, forward).destination;
        let sent = world.back(&answer(protocol, cast.backends[0], client));
        assert_eq!(sent.verdict, Verdict::ToClient);
    }
    world.more(cast.client);
    world
}

#[test]
fn packets_of_open_flows_take_it_by_every_way_and_in_both_directions() {
    for (cast, protocol) in FAMILIES.into_iter().flat_map(|cast| PROTOCOLS.map(|it| (cast, it))) {
        for forward in WAYS {
            let world = open(cast, protocol, forward);
            let verdict = short_cut(&world, &middle(protocol, &world), FRONT);
            assert_eq!(verdict, Some(Verdict::ToBackend), "{forward:?}");
            if has_replies(forward) {
                let verdict = short_cut(&world, &reply(&cast, protocol, forward), BACK);
                assert_eq!(verdict, Some(Verdict::ToClient), "{forward:?}");
            }
        }
    }
}

#[test]
fn strangers_and_closed_ports_take_it() {
    for cast in FAMILIES {
        let world = open(cast, TCP, Forward::Nat);
        let to = |destination| tcp(cast.client, destination).syn().payload(TEXT);
        assert_eq!(short_cut(&world, &to(cast.other_vip), FRONT), Some(Verdict::NotOurs));
        let mut closed = cast.vip;
        closed.set_port(81);
        assert_eq!(short_cut(&world, &to(closed), FRONT), Some(Verdict::PortClosed));
    }
}

#[test]
fn a_packet_that_has_more_to_it_is_left_alone() {
    for cast in FAMILIES {
        let world = open(cast, TCP, Forward::Nat);
        let plain = || middle(TCP, &world);
        let other = tcp(cast.client_number(7), cast.vip).ack().payload(TEXT);
        let others = [
            plain().tags(&[(CUSTOMER, 7)]),
            plain().ttl(1),
            plain().fragment(0, true),
            plain().syn(),
            plain().fin(),
            plain().rst(),
            plain().link(ROUTER, DIRECTOR_BACK),
            other,
        ];
        for packet in others {
            assert_eq!(short_cut(&world, &packet, FRONT), None, "{packet:?}");
        }
        let extended = if cast.vip.is_ipv4() {
            plain().options(&[1; 4])
        } else {
            plain().extension(60, &[1, 4, 0, 0, 0, 0])
        };
        assert_eq!(short_cut(&world, &extended, FRONT), None);
        assert_eq!(
            short_cut(&world, &plain().link(ROUTER, DIRECTOR_FRONT), FRONT),
            Some(Verdict::ToBackend)
        );
    }
}

/// A change of a world with an open flow.
type Change = fn(&mut World);

/// Changes every cell that holds a flow.
fn change_cells(world: &World, change: impl Fn(Cell) -> Cell) {
    for (index, cell) in world.tables.cells().into_iter().enumerate() {
        if !cell.is_empty() {
            world.tables.set_cell(index, change(cell));
        }
    }
}

#[test]
fn a_flow_of_which_something_is_new_is_left_alone() {
    let changes: [Change; 6] = [
        |world| world.tables.set_tick(1),
        |world| world.tables.settings.generation = 1,
        |world| world.tables.settings.generation = 4,
        |world| change_cells(world, |cell| Cell(cell.0 | 1 << 36)),
        |world| change_cells(world, Cell::arriving),
        |world| world.tables.backends.iter_mut().for_each(|it| it.state = BACKEND_DOWN_KEEP),
    ];
    for (cast, forward) in FAMILIES.into_iter().flat_map(|cast| WAYS.map(|it| (cast, it))) {
        for (number, change) in changes.iter().enumerate() {
            let mut world = open(cast, TCP, forward);
            change(&mut world);
            assert_eq!(short_cut(&world, &middle(TCP, &world), FRONT), None, "change {number}");
            if has_replies(forward) {
                let verdict = short_cut(&world, &reply(&cast, TCP, forward), BACK);
                assert_eq!(verdict, None, "change {number}");
            }
        }
        let mut world = open(cast, TCP, forward);
        world.narrow(60);
        assert_eq!(short_cut(&world, &middle(TCP, &world), FRONT), None);
    }
}
