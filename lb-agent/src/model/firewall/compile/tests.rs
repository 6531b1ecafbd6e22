//! What is compiled, as the packet path finds it; rules as a whole are held against a model in `tests/kernel_firewall`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use lb_common::layout::firewall::Firewall as Wire;
use lb_ebpf::firewall::address::{class_v4, class_v6};
use lb_ebpf::host::{HostFirewall, HostTables};

use super::{CompileError, Compiled, Half, MOST_OTHERS, Names, Size, compile};
use crate::model::firewall::{Action, Firewall, Match, Rule, Sets};

mod patches;

/// A rule that drops what comes from these prefixes, for which there is just room.
fn compiled(prefixes: impl Iterator<Item = IpNet>) -> Result<Arc<Compiled>, CompileError> {
    let elements: crate::model::firewall::Elements = prefixes.collect();
    let max_prefixes = u32::try_from(elements.len()).unwrap();
    let sets: Sets = [("all".to_owned(), elements)].into();
    let sources = vec![Match::Set("all".to_owned())];
    let rules = vec![Rule { sources, ..Rule::any(Action::Drop) }];
    let firewall = Firewall { rules, max_prefixes, ..Firewall::default() };
    compile(&firewall, &sets, &Names::default())
}

fn on_the_host(compiled: &Compiled) -> HostTables {
    of_half(compiled.head.size, compiled.head.word, compiled.half().unwrap())
}

fn of_half(size: Size, word: u64, half: Half) -> HostTables {
    let mut host = HostTables::new(8, [1, 2]);
    host.firewall = HostFirewall {
        firewall: Wire {
            word,
            cell_masks: [u32::try_from(half.cells.len()).unwrap() - 1; 2],
            long_mask: size.long_buckets - 1,
            chunks: size.chunks,
            cell_buckets: size.cell_buckets,
            reserved: 0,
        },
        bits: half.bits,
        roots: half.roots,
        fronts: half.fronts,
        values: half.values,
        cells: half.cells,
        nodes: half.nodes,
        long: half.long,
        ..HostFirewall::default()
    };
    host
}

fn v4(bits: u32, length: u8) -> IpNet {
    IpNet::new(Ipv4Addr::from_bits(bits).into(), length).unwrap()
}

fn v6(bits: u128, length: u8) -> IpNet {
    IpNet::new(Ipv6Addr::from_bits(bits).into(), length).unwrap()
}

#[test]
fn prefixes_below_every_first_half_of_ipv4_and_of_ipv6_as_it_is_used_are_all_found() {
    let of_v4 = |half: u32| (half << 16) | 0x0102;
    let of_v6 = |half: u128| (half << 112) | (5 << 80) | 7;
    let used_v6 =
        (0x2000..0x4000).chain(0xfc00..0xfe00).chain(0xfe80..0xfec0).chain(0xff00..0x1_0000);
    let (halves_v4, halves_v6) = (0..0x1_0000_u32, used_v6);
    let prefixes_v4 = halves_v4.clone().map(|half| v4(of_v4(half), 32));
    let prefixes_v6 = halves_v6.clone().map(|half| v6(of_v6(half), 128));
    let host = on_the_host(&compiled(prefixes_v4.chain(prefixes_v6)).unwrap());
    for half in halves_v4 {
        let found = [of_v4(half), of_v4(half) + 1].map(|address| class_v4(&host, 0, address));
        assert_eq!(found, [1, 0], "{half:x}");
    }
    for half in halves_v6 {
        let high = u64::try_from(of_v6(half) >> 64).unwrap();
        let found = [7, 8].map(|low| class_v6(&host, 0, high, low));
        assert_eq!(found, [1, 0], "{half:x}");
    }
}

#[test]
fn a_long_prefix_is_found_by_its_first_32_bits_where_it_is_alone_in_them() {
    let of = |first: u128, rest: u128, length| v6((first << 96) | rest, length).trunc();
    let lengths = [(1, 33), (2, 48), (3, 64), (4, 65), (5, 128)];
    let alone = lengths.map(|(n, length)| of(0x2001_0000 + n, u128::MAX >> 32, length));
    let neighbours = [of(0x2002_0000, 1, 128), of(0x2002_0000, 2, 127)];
    let prefixes = || alone.into_iter().chain(neighbours);
    let compiled = compiled(prefixes()).unwrap();
    // That of no prefix, and that of the neighbours.
    assert_eq!(compiled.half().unwrap().nodes.len(), 2);
    let host = on_the_host(&compiled);
    let class = |bits: u128| {
        let [high, low] = [bits >> 64, bits & u128::from(u64::MAX)];
        class_v6(&host, 0, u64::try_from(high).unwrap(), u64::try_from(low).unwrap())
    };
    for prefix in prefixes() {
        let IpNet::V6(net) = prefix else { panic!("IPv4") };
        let [first, last] = [net.network(), net.broadcast()].map(Ipv6Addr::to_bits);
        let beside = first ^ (1 << (128 - net.prefix_len()));
        assert_eq!([first, last, beside].map(class), [1, 1, 0], "{prefix}");
    }
}

#[test]
fn more_of_unusual_ipv6_than_there_is_room_for_is_an_error() {
    let unusual = 0x4000..0x4000 + 9 * u128::from(MOST_OTHERS) + 1;
    // Two each, since those that are alone in their first 32 bits need no room of this kind.
    let prefixes_v6 = unusual.flat_map(|half| [7, 8].map(|low| v6((half << 112) | low, 128)));
    let prefixes_v4 = (0..0x1_0000_u32).map(|half| v4((half << 16) | 7, 32));
    let error = compiled(prefixes_v4.chain(prefixes_v6)).err();
    assert_eq!(error, Some(CompileError::Networks));
}

#[test]
fn more_prefixes_than_there_is_room_for_are_an_error() {
    let sets: Sets = [("all".to_owned(), (0..600).map(|n| v4(n << 16, 32)).collect())].into();
    let sources = vec![Match::Set("all".to_owned())];
    let rules = vec![Rule { sources, ..Rule::any(Action::Drop) }];
    let firewall = Firewall { rules, max_prefixes: 300, ..Firewall::default() };
    let error = compile(&firewall, &sets, &Names::default()).err();
    assert_eq!(error, Some(CompileError::Prefixes));
}
