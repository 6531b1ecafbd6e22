//! What is known of the packet at hand.
//!
//! It lies in memory of this CPU and not on the stack: BPF's is too small. There is a second gain: what is
//! read back from there is new to the verifier, so that the many ways to parse a header become one, and what
//! follows is verified once. All fields are plain numbers, since the memory is never cleared.

use lb_common::layout::Settings;

use crate::ethernet::{Ethernet, Hop};
use crate::family::{Family, Ip};
use crate::flow::{Flows, Found, Tuple};
use crate::icmp::Quote;
use crate::tables::Tables;
use crate::transport::Transport;
use crate::v4::V4;
use crate::v6::V6;

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
    /// The cell of replies, where one has been taken.
    pub partner: Found,
    /// Where the packet goes, if it does.
    pub hop: Hop,
}

impl<A: Family> Flight<A> {
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

    /// The flow table now.
    #[inline(always)]
    pub fn flows<'t, T: Tables>(&self, tables: &'t T, settings: &'t Settings) -> Flows<'t, T> {
        Flows { tables, settings, tick: self.tick }
    }
}
