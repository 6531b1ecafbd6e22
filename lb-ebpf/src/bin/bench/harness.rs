//! Restores the packet, varies its flow and calls the program under test.
//!
//! `BPF_PROG_TEST_RUN` gives each round what the last one left of the packet, so that an encapsulating program
//! would meet its own output. The words are laid so that no field that a program may read lies in two of them:
//! a load from two stores waits for both to reach the cache, which frames of a NIC do not do.

use aya_ebpf::bindings::xdp_action::XDP_ABORTED;
use aya_ebpf::helpers::generated::bpf_xdp_adjust_head;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, ProgramArray};
use aya_ebpf::programs::XdpContext;
use lb_common::bench::{Feed, PORT_BITS};

use crate::family::{Family, V4, V6};

#[map]
static FEED: Array<Feed> = Array::with_max_entries(1, 0);

/// The program under test.
#[map]
static TARGET: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Flags of TCP.
pub(crate) const SYN: u64 = 2;
pub(crate) const ACK: u64 = 16;

/// What is different in each flow, in network order.
#[derive(Clone, Copy)]
pub(crate) struct Flow {
    /// Last two bytes of the source address.
    pub(crate) address: u16,
    /// Source port.
    pub(crate) port: u16,
    /// Destination port.
    pub(crate) service: u16,
}

impl Flow {
    #[inline(always)]
    pub(crate) fn number(feed: &Feed, number: u32) -> Self {
        let port = (number & ((1 << PORT_BITS) - 1)) as u16;
        let service = (number & feed.services) as u16;
        Self {
            address: ((number >> PORT_BITS) as u16).to_be(),
            port: (feed.first_port + port).to_be(),
            service: (feed.first_service + service).to_be(),
        }
    }

    #[inline(always)]
    fn next(feed: &mut Feed) -> Self {
        let number = if feed.random_mask == 0 {
            let number = feed.next;
            feed.next = if number + 1 >= feed.end { 0 } else { number + 1 };
            number
        } else {
            let mut random = feed.random;
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            feed.random = random;
            random & feed.random_mask
        };
        Self::number(feed, number)
    }

    /// The words that ports make in a packet.
    #[inline(always)]
    pub(crate) fn ports(self) -> u32 {
        u32::from(self.port) | u32::from(self.service) << 16
    }

    /// What the flow adds to the sum of its transport header.
    #[inline(always)]
    pub(crate) fn sum(self) -> u32 {
        u32::from(self.address) + u32::from(self.port) + u32::from(self.service)
    }
}

#[inline(always)]
pub(crate) fn feed() -> Option<&'static mut Feed> {
    let feed = FEED.get_ptr_mut(0)?;
    // SAFETY: a value of an array lives as long as the program; one program runs at a time.
    Some(unsafe { &mut *feed })
}

/// Notes that a packet is not what it should be.
#[inline(always)]
pub(crate) fn miss() -> u32 {
    if let Some(feed) = feed() {
        feed.missed += 1;
    }
    XDP_ABORTED
}

/// The next packet of the next flow.
#[inline(always)]
fn one_packet<F: Family>(context: &XdpContext) -> Option<()> {
    let feed = feed()?;
    restore_length::<F>(context)?;
    let flow = Flow::next(feed);
    F::write(context, feed, flow, None)
}

/// The next packet of a handshake.
#[inline(always)]
fn handshake<F: Family>(context: &XdpContext) -> Option<()> {
    let feed = feed()?;
    restore_length::<F>(context)?;
    let flow = Flow::number(feed, feed.next);
    match feed.step {
        0 => {
            feed.step = 1 + feed.one_way;
            F::write(context, feed, flow, Some(SYN))
        }
        1 => {
            feed.step = 2;
            F::turn(context)
        }
        _ => {
            feed.step = 0;
            feed.next += 1;
            F::write(context, feed, flow, Some(ACK))
        }
    }
}

/// Takes away what the last round put in front. Called for every packet, so that it costs all the same.
#[inline(always)]
pub(crate) fn restore_length<F: Family>(context: &XdpContext) -> Option<()> {
    let length = (context.data_end() - context.data()) as i32;
    // SAFETY: the context is valid; the helper refuses what does not fit.
    let result = unsafe { bpf_xdp_adjust_head(context.ctx, length - F::LENGTH as i32) };
    (result == 0).then_some(())
}

#[inline(always)]
pub(crate) fn call(context: &XdpContext, ready: Option<()>) -> u32 {
    if ready.is_some() {
        // SAFETY: the context is the program's own.
        unsafe { TARGET.tail_call(context, 0) };
    }
    miss()
}

/// Feeds IPv4.
#[xdp]
pub fn feed_v4(context: XdpContext) -> u32 {
    call(&context, one_packet::<V4>(&context))
}

/// Feeds IPv6.
#[xdp]
pub fn feed_v6(context: XdpContext) -> u32 {
    call(&context, one_packet::<V6>(&context))
}

/// Opens connections over IPv4.
#[xdp]
pub fn open_v4(context: XdpContext) -> u32 {
    call(&context, handshake::<V4>(&context))
}

/// Opens connections over IPv6.
#[xdp]
pub fn open_v6(context: XdpContext) -> u32 {
    call(&context, handshake::<V6>(&context))
}
