//! The hash of flows spreads them over buckets and tags as chance would, whatever the key.

use std::collections::BTreeSet;

use lb_common::cell::TAG_BITS;
use lb_ebpf::family::Family;
use lb_ebpf::flow::Tuple;
use lb_ebpf::host::hash_key;
use lb_ebpf::v4::V4;
use lb_ebpf::v6::V6;

const FLOWS: u32 = 1 << 16;
const BUCKETS: u16 = 1 << 13;
const KEYS: u64 = 24;

/// Flows as they come: ports that follow each other, from addresses that do.
fn flow<F: Family>(number: u32, address: impl Fn(u32) -> F::Address) -> Tuple<F> {
    let port = (number % 256) as u16 + 32_768;
    Tuple {
        source: address(number / 256),
        destination: address(0xffff),
        source_port: port.to_be(),
        destination_port: 80_u16.to_be(),
        protocol: 6,
    }
}

fn bucket(hash: u64) -> usize {
    hash as usize % usize::from(BUCKETS)
}

/// How flows are spread over buckets, in standard deviations from what chance does; and how many of them share
/// bucket and tag with another.
fn spread<F: Family>(key: u64, address: impl Fn(u32) -> F::Address + Copy) -> (f64, usize) {
    let key = hash_key([key, !key]);
    let hashes: Vec<u64> = (0..FLOWS).map(|it| flow::<F>(it, address).hash(&key)).collect();
    let mut loads = vec![0_u32; BUCKETS.into()];
    for hash in &hashes {
        loads[bucket(*hash)] += 1;
    }
    let expected = f64::from(FLOWS) / f64::from(BUCKETS);
    let squares: f64 = loads.iter().map(|load| (f64::from(*load) - expected).powi(2)).sum();
    let degrees = f64::from(BUCKETS) - 1.0;
    let names: BTreeSet<_> = hashes.iter().map(|it| (bucket(*it), it >> (64 - TAG_BITS))).collect();
    ((squares / expected - degrees) / (2.0 * degrees).sqrt(), hashes.len() - names.len())
}

#[test]
fn flows_in_a_row_fill_buckets_as_chance_would() {
    for key in 0..KEYS {
        let v4 = spread::<V4>(key, |number| (0x0a00_0000 + number).to_be());
        let v6 = spread::<V6>(key, |number| [0x2001_0db8_u32.to_be(), 0, 0, number.to_be()]);
        for (deviations, same) in [v4, v6] {
            // More even than chance is good; less so by six deviations chance never does.
            assert!(deviations < 6.0, "key {key}: {deviations} deviations");
            assert!(same <= 1, "key {key}: {same} flows are taken for others");
        }
    }
}

#[test]
fn every_word_of_a_tuple_counts() {
    let key = hash_key([1, 2]);
    let base = flow::<V6>(0, |number| [1, 2, 3, number]);
    let mut others = vec![base];
    for word in 0..4 {
        for (source, destination) in [(1, 0), (0, 1)] {
            let mut other = base;
            other.source[word] ^= source;
            other.destination[word] ^= destination;
            others.push(other);
        }
    }
    others.push(Tuple { source_port: 1, ..base });
    others.push(Tuple { destination_port: 1, ..base });
    others.push(Tuple { protocol: 17, ..base });
    others.push(Tuple { source: base.destination, destination: base.source, ..base });
    let hashes: BTreeSet<_> = others.iter().map(|tuple| tuple.hash(&key)).collect();
    assert_eq!(hashes.len(), others.len());
}
