//! What is known of the packet at hand.
//!
//! It lies in memory of this CPU and not on the stack: BPF's is too small. There is a second gain: what is
//! read back from there is new to the verifier, so that the many ways to parse a header become one, and what
//! follows is verified once. All fields are plain numbers, since the memory is never cleared.

use lb_common::cell::Cell;
use lb_common::layout::{FragmentKey, FragmentWay, Settings};
use lb_common::verdict::Verdict;

use crate::cookie::options::Options;
use crate::cookie::segment::Segment;
use crate::cookie::translation::Translation;
use crate::draw::Choice;
use crate::ethernet::{Ethernet, Hop};
use crate::family::{Family, Ip};
use crate::firewall::Subject;
use crate::flow::{Flows, Found, Tuple};
use crate::icmp::Quote;
use crate::relay::Relay;
use crate::tables::Tables;
use crate::too_big::Report;
use crate::transport::Transport;
use crate::tunnel::Tunnel;
use crate::v4::V4;
use crate::v6::V6;
use crate::verifier::by_memory;

/// Memory of one CPU.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Scratch {
    /// The Ethernet header as it came in.
    pub link: Ethernet,
    /// For an IPv4 packet.
    pub v4: Facts<V4>,
    /// For an IPv6 packet.
    pub v6: Facts<V6>,
}

/// What is known of a packet of one family.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Facts<A: Family> {
    /// The packet at hand.
    pub flight: Flight<A>,
    /// The packet that it quotes, if it is an ICMP error.
    pub quote: Quote<A>,
}

/// What is known of the packet at hand.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Flight<A: Family> {
    /// Bytes of the frame as it came in.
    pub bytes: u64,
    /// Now, in ticks.
    pub tick: u64,
    /// Index of the interface that it came in by.
    pub interface: u32,
    /// Id of the listener that it was sent to, or whose flow it answers.
    pub listener: u32,
    /// What the rules ask about it.
    pub subject: Subject<A>,
    /// Number of the counter of the rule that decided on it, where there is a firewall.
    pub rule: u32,
    /// 1 where that is a rule with a limit, which the packet exceeds.
    pub is_over: u32,
    /// Whether the rules want to see each packet of its client.
    pub watch: Watch,
    /// 1 where it is about to open a flow that its source has not open yet.
    pub opens_flow: u32,
    /// 1 where its transport header is not all there.
    pub is_truncated: u32,
    /// 1 where its IP header is known.
    pub is_parsed: u32,
    /// 1 where its ports are known.
    pub has_ports: u32,
    /// The IP header as it came in.
    pub ip: Ip<A>,
    /// The transport header as it came in.
    pub transport: Transport,
    /// Hash of the packet's own 5-tuple.
    pub hash: u64,
    /// The cell of the packet's own 5-tuple.
    pub found: Found,
    /// The 5-tuple of the flow's replies, where it has been worked out.
    pub reply: Tuple<A>,
    /// What has been drawn for a new flow.
    pub choice: Choice,
    /// The cell of replies, where one has been taken.
    pub partner: Found,
    /// What is to be done with the packet.
    pub next: Next,
    /// The end that is not the backend: of a client's packet the source that the backend sees, of a reply the client.
    pub peer: A::Address,
    /// The port of that end, network order.
    pub peer_port: u16,
    /// Id of the backend that it goes to or comes from.
    pub backend: u32,
    /// 1 where the flow table has no place for the packet's flow.
    pub unremembered: u32,
    /// 1 where SYN cookies may concern it.
    pub asks_cookies: u32,
    /// 1 where sequence numbers of the packet's flow are rewritten.
    pub is_translated: u32,
    /// Number of its verdict, where SYN cookies refuse it.
    pub refusal: u32,
    /// How sequence numbers are rewritten, where they are.
    pub translation: Translation,
    /// The packet's TCP options, where they have been read.
    pub options: Options,
    /// Number of its verdict, once that is known.
    pub verdict: u64,
    /// The segment that takes the packet's place, if one does.
    pub segment: Segment<A>,
    /// Where the packet goes, if it does.
    pub hop: Hop,
    /// Where it goes encapsulated, if it does.
    pub tunnel: Tunnel,
    /// The error that it is turned into, if it is.
    pub report: Report<A>,
    /// The packet that it reports to be too long for a tunnel, if it does.
    pub relay: Relay,
    /// What the fragments of the packet have in common, if it is one.
    pub fragment: FragmentKey,
    /// Where the first of them went.
    pub way: FragmentWay,
}

/// What is to be done with a packet. A number, not an `enum`: see above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Next(u32);

impl Next {
    /// Nothing: its verdict is known.
    pub const NOTHING: Self = Self(0);
    /// It is an ICMP message, which may be about a flow.
    pub const ICMP: Self = Self(1);
    /// It may follow the first fragment of its packet.
    pub const FRAGMENT: Self = Self(2);
    /// Its flow has a backend.
    pub const TO_BACKEND: Self = Self(3);
    /// It is for a listener, and its flow has no backend yet.
    pub const TO_ANY_BACKEND: Self = Self(4);
    /// It answers a flow.
    pub const TO_CLIENT: Self = Self(5);
    /// It is a SYN, which a cookie answers.
    pub const ANSWER: Self = Self(6);
    /// It brings a cookie, with which its flow begins.
    pub const OPEN: Self = Self(7);
    /// It brings a cookie once more, for a backend that has not answered yet.
    pub const RECALL: Self = Self(8);
}

/// Whether the rules want to see each packet that the client of a flow sends. A number, as [`Next`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Watch(u32);

impl Watch {
    /// They do not, until they change.
    pub const NO: Self = Self(0);
    /// They do.
    pub const EACH: Self = Self(1);
    /// They were not asked about this packet: as before.
    pub const AS_BEFORE: Self = Self(2);

    /// The generation that a cell is to carry. That of a client each of whose packets is judged carries none; its
    /// replies go on by the rules of now.
    #[inline(always)]
    pub fn generation(self, cell: Cell, now: u16) -> u16 {
        match self {
            _ if cell.is_reply() => now,
            Self::EACH => 0,
            Self::AS_BEFORE => cell.generation(),
            _ => now,
        }
    }
}

impl<A: Family> Flight<A> {
    /// The packet's source address and port.
    #[inline(always)]
    pub fn client(&self) -> (A::Address, u16) {
        (self.ip.source, self.transport.source_port)
    }

    /// The packet's own 5-tuple.
    #[inline(always)]
    pub fn tuple(&self) -> Tuple<A> {
        Tuple {
            source: self.ip.source,
            destination: self.ip.destination,
            source_port: self.transport.source_port,
            destination_port: self.transport.destination_port,
            protocol: self.ip.protocol,
        }
    }

    /// A verdict, by way of memory: whatever led to it is one to the verifier then.
    #[inline(always)]
    pub fn decided(&mut self, verdict: Verdict) -> Verdict {
        let number = by_memory(&mut self.verdict, verdict.number().into());
        // It is the number of a verdict.
        Verdict::from_number(number as u8).unwrap_or(Verdict::Malformed)
    }

    /// The flow table now.
    #[inline(always)]
    pub fn flows<'t, T: Tables>(&self, tables: &'t T, settings: &'t Settings) -> Flows<'t, T> {
        Flows { tables, settings, tick: self.tick, watch: self.watch }
    }
}
