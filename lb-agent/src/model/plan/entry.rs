//! Builds the entries of the maps, the checksum deltas above all.
//!
//! RFC 1624, equation 3: a checksum changes by the complement of each old word plus each new word. The
//! words are as the packet holds them, loaded natively; a ones' complement sum does not mind the byte
//! order (RFC 1071).

use std::net::SocketAddr;

use lb_common::layout::{self, Address, Backend, Forward, Listener};

use crate::model::desired::Draw;
use crate::model::tables::{ListenerKey, NextHop};

/// The entry of a backend.
pub(super) fn backend(
    listener: u32,
    key: ListenerKey,
    (address, forward): (SocketAddr, Forward),
    state: u8,
    next_hop: Option<&NextHop>,
) -> Backend {
    let (vip, vip_port, family) = layout::endpoint(key.address);
    let (address, port, _) = layout::endpoint(address);
    let addresses = words(&vip).map(|word| !word).chain(words(&address));
    let ports = [!vip_port, port].into_iter();
    let entry = Backend {
        address,
        vip,
        listener,
        interface: 0,
        macs: [0; 12],
        port,
        vip_port,
        delta: fold(addresses.chain(ports).map(u32::from).sum()),
        mtu: 0,
        state,
        protocol: key.protocol_number(),
        family,
        forward: forward.number(),
    };
    with_next_hop(entry, next_hop)
}

/// The entry of a listener.
pub(super) fn listener(key: ListenerKey, run: u64, cursor: u32, draw: Draw) -> Listener {
    let (address, port, family) = layout::endpoint(key.address);
    Listener {
        run,
        cursor,
        scheduler: draw.scheduler.number(),
        protocol: key.protocol_number(),
        port,
        address,
        family,
        syn_cookies: draw.syn_cookies.number(),
        reserved: [0; 6],
        affinity_ticks: draw.affinity_ticks,
        affinity_prefix: draw.affinity_prefix,
        flow_cost: draw.new_flows.cost,
        flow_burst: draw.new_flows.burst,
        syn_cost: draw.unanswered.cost,
        syn_burst: draw.unanswered.burst,
    }
}

/// The same backend, reached by another way.
pub(super) fn with_next_hop(backend: Backend, next_hop: Option<&NextHop>) -> Backend {
    let Some(next_hop) = next_hop else {
        return Backend { interface: 0, macs: [0; 12], mtu: 0, ..backend };
    };
    let mut macs = [0; 12];
    macs.copy_from_slice([next_hop.neighbour, next_hop.source].as_flattened());
    Backend { interface: next_hop.interface, macs, mtu: next_hop.mtu, ..backend }
}

/// The way to a backend, if it is resolved.
pub fn next_hop(backend: &Backend) -> Option<NextHop> {
    let (&[neighbour, source], _) = backend.macs.as_chunks() else { return None };
    let Backend { interface, mtu, .. } = *backend;
    (interface != 0).then_some(NextHop { interface, neighbour, source, mtu })
}

/// The ones' complement sum as one word.
fn fold(sum: u32) -> u16 {
    let [low, high] = halves(sum);
    let (sum, carry) = low.overflowing_add(high);
    sum + u16::from(carry)
}

fn words(address: &Address) -> impl Iterator<Item = u16> {
    address.iter().flat_map(|&word| halves(word))
}

/// The 16-bit words of a word, the lower first.
fn halves(word: u32) -> [u16; 2] {
    let [a, b, c, d] = word.to_le_bytes();
    [u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])]
}

#[cfg(test)]
mod tests {
    use lb_common::layout::BACKEND_UP;
    use proptest::prelude::*;

    use super::*;

    /// The checksum of RFC 1071 over big-endian bytes, computed from nothing.
    fn checksum(bytes: &[u8]) -> u16 {
        let mut sum: u64 =
            bytes.chunks(2).map(|pair| u64::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap()
    }

    fn octets(address: SocketAddr) -> Vec<u8> {
        match address {
            SocketAddr::V4(address) => address.ip().octets().to_vec(),
            SocketAddr::V6(address) => address.ip().octets().to_vec(),
        }
    }

    /// What the packet path does with a delta: `word` is the checksum field as it lies in memory.
    fn adjusted(word: u16, delta: u16) -> u16 {
        !fold(u32::from(!word) + u32::from(delta))
    }

    fn check(vip: SocketAddr, server: SocketAddr, rest: &[u8]) {
        let key = ListenerKey::new(vip, 6).unwrap();
        let backend = backend(0, key, (server, Forward::Nat), BACKEND_UP, None);
        let segment =
            |at: SocketAddr| [octets(at), at.port().to_be_bytes().to_vec(), rest.to_vec()].concat();
        let (before, after) = (checksum(&segment(vip)), checksum(&segment(server)));
        assert_eq!(adjusted(before.to_be(), backend.delta), after.to_be());
        assert_eq!(adjusted(after.to_be(), !backend.delta), before.to_be());
    }

    proptest! {
        #[test]
        fn a_delta_gives_the_checksum_that_counting_anew_gives(
            vip: ([u8; 4], u16), server: ([u8; 4], u16),
            vip6: ([u8; 16], u16), server6: ([u8; 16], u16),
            mut rest in prop::collection::vec(any::<u8>(), 8..40),
        ) {
            rest.truncate(rest.len() & !1);
            // No real packet is all zeros: every IP header names its version.
            rest[0] = 0x45;
            check(vip.into(), server.into(), &rest);
            check(vip6.into(), server6.into(), &rest);
        }
    }

    #[test]
    fn a_next_hop_comes_back_from_its_entry() {
        let key = ListenerKey::new("192.0.2.1:80".parse().unwrap(), 17).unwrap();
        let way = NextHop { interface: 3, neighbour: [1; 6], source: [2; 6], mtu: 1_500 };
        let server = ("192.0.2.2:80".parse().unwrap(), Forward::Nat);
        assert_eq!(next_hop(&backend(0, key, server, BACKEND_UP, Some(&way))), Some(way));
        assert_eq!(next_hop(&backend(0, key, server, BACKEND_UP, None)), None);
    }
}
