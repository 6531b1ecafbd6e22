//! What is told of a packet that was dropped or is explained.

use lb_common::layout::firewall::NO_COUNT;
use lb_common::layout::{NOTHING, Sample};
use lb_common::verdict::{Kind, Verdict};

use crate::ethernet;
use crate::family::Family;
use crate::firewall;
use crate::flight::{Flight, Next, Scratch};
use crate::tables::Tables;

/// Writes what the scratch memory tells of a packet with this verdict; every field, one by one, for the verifier
/// refuses a copy by way of the stack.
#[inline(always)]
pub fn write<T: Tables>(
    tables: &T,
    scratch: &Scratch,
    verdict: Verdict,
    time: u64,
    sample: &mut Sample,
) {
    sample.time = time;
    sample.source = [0; 4];
    sample.destination = [0; 4];
    sample.interface = 0;
    sample.length = 0;
    sample.rule = NOTHING;
    sample.listener = NOTHING;
    sample.backend = NOTHING;
    sample.source_port = 0;
    sample.destination_port = 0;
    sample.protocol = 0;
    sample.family = 0;
    sample.verdict = verdict.number() as u8;
    sample.reserved = [0; 5];
    let is_guarded = firewall::is_on(tables);
    match scratch.link.kind {
        ethernet::IPV4 => tell(sample, &scratch.v4.flight, is_guarded, verdict),
        ethernet::IPV6 => tell(sample, &scratch.v6.flight, is_guarded, verdict),
        _ => {}
    }
}

#[inline(always)]
fn tell<A: Family>(sample: &mut Sample, flight: &Flight<A>, is_guarded: bool, verdict: Verdict) {
    sample.interface = flight.interface;
    sample.length = flight.bytes as u32;
    if flight.is_parsed == 0 {
        return;
    }
    sample.family = A::NUMBER;
    sample.source = A::to_words(flight.ip.source);
    sample.destination = A::to_words(flight.ip.destination);
    sample.protocol = flight.ip.protocol;
    if flight.has_ports != 0 {
        sample.source_port = flight.transport.source_port;
        sample.destination_port = flight.transport.destination_port;
    }
    if is_guarded && flight.rule != NO_COUNT {
        sample.rule = flight.rule;
    }
    if matches!(flight.next, Next::TO_BACKEND | Next::TO_ANY_BACKEND) {
        sample.listener = flight.listener;
    }
    if verdict.kind() == Kind::Forwarded || flight.next == Next::TO_BACKEND {
        sample.backend = flight.backend;
    }
}
