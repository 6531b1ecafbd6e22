//! What is measured: the modes of forwarding, and the packets that they meet.

use std::fmt;

use lb_common::verdict::Verdict;

use super::super::Arguments;
use lb_common::bench::Feed;

use super::super::feed::{CLOSED_PORT, Family, Flags, feed};

/// A way of forwarding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode {
    /// `forward` of the configuration.
    pub(crate) name: &'static str,
    /// The floors for packets of known flows; the first does the same to a packet.
    floors: &'static [Floor],
    /// Whether replies pass the director; else a handshake has none.
    pub(crate) replies: bool,
}

/// The names of two modes that are compared with each other.
pub(super) const NAT: &str = "nat";
pub(super) const IPIP: &str = "ipip";

/// All modes.
const MODES: [Mode; 5] = [
    Mode { name: NAT, floors: &[LRU_NAT, LRU_IPIP], replies: true },
    Mode { name: IPIP, floors: &[LRU_IPIP], replies: false },
    Mode { name: "gue", floors: &[LRU_IPIP], replies: false },
    Mode { name: "dsr", floors: &[LRU_NAT], replies: false },
    Mode { name: "full-nat", floors: &[LRU_NAT], replies: true },
];

/// What is compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Floor {
    /// As results name it.
    pub(crate) name: &'static str,
    /// The name of its program; that of the family is added where it has one for each.
    pub(crate) program: &'static str,
    /// Whether there is one program for each family.
    pub(crate) by_family: bool,
}

const LRU_NAT: Floor = Floor { name: "LRU hash, NAT", program: "floor_lru_nat", by_family: true };
const LRU_IPIP: Floor =
    Floor { name: "LRU hash, IPIP", program: "floor_lru_ipip", by_family: true };
/// Puts each flow that it meets into the table of the floors.
pub(crate) const LRU_INSERT: Floor =
    Floor { name: "LRU insert", program: "floor_lru_insert", by_family: true };
const TRANSMIT: Floor =
    Floor { name: "parse, send back", program: "floor_transmit", by_family: true };
const DROP: Floor = Floor { name: "drop", program: "floor_drop", by_family: false };

/// Numbers of flows.
const SOME: u32 = 1 << 17;
const MANY: u32 = 1 << 19;
const MOST: u32 = 1 << 22;

/// The flow tables that cases share.
const TABLES: [Table; 4] = [
    Table { max_flows: SOME, holds_known: true },
    Table { max_flows: MANY, holds_known: true },
    Table { max_flows: MANY, holds_known: false },
    Table { max_flows: MOST, holds_known: true },
];

/// A flow table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Table {
    max_flows: u32,
    /// Whether flows are open in it before anything is measured.
    holds_known: bool,
}

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of an established flow.
    Known,
    /// Of an established flow that was not seen in this tick.
    FirstOfTick,
    /// The first of a flow.
    New,
    /// The first of a flow, where the table is full of flows that were never answered.
    NewWhereFull,
    /// For somebody else.
    NotOurs,
    /// For a port that no service has.
    Closed,
}

impl Kind {
    /// As results name it.
    fn name(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::FirstOfTick => "known, first of a tick",
            Self::New => "new",
            Self::NewWhereFull => "new, table full",
            Self::NotOurs => "not ours",
            Self::Closed => "closed port",
        }
    }

    /// The same with the name of a mode.
    pub(crate) fn of(self, mode: &str) -> String {
        format!("{mode} {}", self.name())
    }

    /// What becomes of it.
    pub(crate) fn verdict(self) -> Verdict {
        match self {
            Self::Known | Self::FirstOfTick | Self::New | Self::NewWhereFull => Verdict::ToBackend,
            Self::NotOurs => Verdict::NotOurs,
            Self::Closed => Verdict::PortClosed,
        }
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// What is fed.
    pub(crate) kind: Kind,
    /// By how many flows.
    pub(crate) flows: u32,
}

const CASES: [Case; 10] = [
    Case { kind: Kind::Known, flows: 1 },
    Case { kind: Kind::Known, flows: SOME },
    Case { kind: Kind::Known, flows: MANY },
    Case { kind: Kind::FirstOfTick, flows: MANY },
    Case { kind: Kind::NotOurs, flows: 1 },
    Case { kind: Kind::NotOurs, flows: MANY },
    Case { kind: Kind::Closed, flows: 1 },
    Case { kind: Kind::New, flows: 0 },
    Case { kind: Kind::NewWhereFull, flows: 0 },
    Case { kind: Kind::Known, flows: MOST },
];

impl Case {
    /// As results name it.
    pub(crate) fn name(self, mode: Mode) -> String {
        self.kind.of(mode.name)
    }

    /// Its part of the time: who waits for ticks waits long.
    pub(crate) fn weight(self) -> u32 {
        if self.kind == Kind::FirstOfTick { 5 } else { 1 }
    }

    /// Whether it tells more of a mode than was measured with the first one.
    fn differs_by_mode(self) -> bool {
        match self.kind {
            Kind::Known | Kind::New | Kind::Closed => true,
            Kind::NotOurs => self.flows == 1,
            Kind::FirstOfTick | Kind::NewWhereFull => false,
        }
    }

    /// The smallest table that has room for it.
    fn table(self) -> Table {
        let holds_known = !matches!(self.kind, Kind::New | Kind::NewWhereFull);
        let max_flows = if holds_known { self.flows.max(SOME) } else { MANY };
        Table { max_flows, holds_known }
    }

    /// What it is compared with.
    pub(crate) fn floors(self, mode: Mode) -> &'static [Floor] {
        match self.kind {
            Kind::Known | Kind::FirstOfTick => mode.floors,
            Kind::New | Kind::NewWhereFull => &[LRU_INSERT],
            Kind::NotOurs => &[TRANSMIT],
            Kind::Closed => &[DROP],
        }
    }

    /// The packets.
    pub(crate) fn feed(self, family: Family, mac: [u8; 6]) -> Feed {
        let to_vip = |flags| feed(family, mac, family.vip(), flags);
        let mut feed = match self.kind {
            Kind::Known | Kind::FirstOfTick | Kind::Closed => to_vip(Flags::Ack),
            Kind::New | Kind::NewWhereFull => to_vip(Flags::Syn),
            Kind::NotOurs => feed(family, mac, family.elsewhere(), Flags::Ack),
        };
        if self.kind == Kind::Closed {
            feed.first_service = CLOSED_PORT;
            feed.services = 0;
        }
        feed.end = self.flows.max(1);
        feed
    }
}

/// Cases that share a flow table.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// The way of forwarding.
    pub(crate) mode: Mode,
    /// IPv4 or IPv6.
    pub(crate) family: Family,
    /// `max_flows`.
    pub(crate) max_flows: u32,
    /// What is measured.
    pub(crate) cases: Vec<Case>,
}

impl Group {
    /// Its part of the time.
    pub(crate) fn weight(&self) -> u32 {
        // To prepare a group takes as long as a case.
        self.cases.iter().fold(1, |weight, case| weight + case.weight())
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mode, family, max_flows, cases } = self;
        let (mode, family, n) = (mode.name, family.name(), cases.len());
        write!(f, "{mode}, {family}, {n} cases with room for {max_flows} flows")
    }
}

/// All that is asked for.
pub(crate) fn groups(arguments: &Arguments) -> Vec<Group> {
    let group = |mode: Mode, family: Family, table: Table| {
        let wanted = |case: &&Case| {
            let name = format!("{} {} {}", family.name(), case.name(mode), case.flows);
            let tells = mode.name == NAT || case.differs_by_mode();
            case.table() == table && tells && arguments.wants(&name)
        };
        let cases = CASES.iter().filter(wanted).copied().collect();
        Group { mode, family, max_flows: table.max_flows, cases }
    };
    let is_asked_for = |table: &&Table| !arguments.quick || table.max_flows < MOST;
    let tables: Vec<_> = TABLES.iter().filter(is_asked_for).collect();
    let all = MODES.iter().flat_map(|mode| Family::ALL.map(|family| (*mode, family)));
    all.flat_map(|(mode, family)| tables.iter().map(move |table| group(mode, family, **table)))
        .filter(|group| !group.cases.is_empty())
        .collect()
}
