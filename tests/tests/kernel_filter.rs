//! The filter of the packet path, as the agent keeps it in the kernel.
#![cfg(feature = "root")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(unreachable_pub, reason = "a module that several tests share")]

#[expect(dead_code, reason = "the tests of netlink use the rest")]
mod director;

use aya::maps::{Array, Map, MapData};
use lb_agent::io::datapath::{Datapath, OBJECT};
use lb_agent::model::config::Protocol;
use lb_agent::model::tables::{ListenerKey, Write};
use lb_common::filter::{Mark, of_backend, of_listener, of_vip};
use lb_common::layout::{Backend, Forward, Vip, address, endpoint};
use lb_common::map;
use zerocopy::FromZeros;

use director::{Director, on_a_director};

/// The words of the filter that are not zero, with their numbers.
fn words(director: &Director) -> Vec<Mark> {
    let map = MapData::from_pin(director.pins().join(map::FILTER)).unwrap();
    let words: Array<_, u64> = Map::from_map_data(map).unwrap().try_into().unwrap();
    (0..).zip(words.iter().map(Result::unwrap)).filter(|(_, bits)| *bits != 0).collect()
}

fn backend(forward: Forward) -> Backend {
    let (address, port, family) = endpoint("192.0.2.11:8080".parse().unwrap());
    let forward = forward.number();
    Backend { address, port, family, protocol: 6, state: 1, forward, ..Backend::new_zeroed() }
}

#[test]
fn bits_are_there_while_something_needs_them() {
    on_a_director(|director| {
        let config = director.config(&["nic"]);
        let mut datapath = Datapath::open(&config, OBJECT).unwrap();
        let vip = "203.0.113.10".parse().unwrap();
        let key =
            ListenerKey { address: "[2001:db8::10]:80".parse().unwrap(), protocol: Protocol::Tcp };
        let (listen, port, _) = endpoint(key.address);
        let (vip_mark, listener_mark) = (of_vip(&address(vip).0), of_listener(&listen, port, 6));
        let replies = of_backend(&backend(Forward::Nat)).unwrap();

        let value = backend(Forward::Nat);
        let both = [7, 8].map(|id| Write::Backend { id, value });
        datapath.apply(&both).unwrap();
        datapath.apply(&[Write::Backend { id: 9, value: backend(Forward::Dsr) }]).unwrap();
        datapath.apply(&[Write::Point { key, id: 3 }]).unwrap();
        datapath.apply(&[Write::Vip { address: vip, value: Vip { closed: 1 } }]).unwrap();
        let mut expected = vec![vip_mark, listener_mark, replies];
        expected.sort_unstable();
        assert_eq!(words(director), expected);

        datapath.apply(&[Write::FreeBackend { id: 7 }, Write::Unpoint { key }]).unwrap();
        expected.retain(|mark| *mark != listener_mark);
        assert_eq!(words(director), expected, "another backend has the same address and port");
        drop(datapath);

        let mut datapath = Datapath::open(&config, OBJECT).unwrap();
        assert_eq!(words(director), expected, "the next agent keeps them");
        datapath.apply(&[Write::FreeBackend { id: 8 }]).unwrap();
        datapath.apply(&[Write::RemoveVip { address: vip }]).unwrap();
        assert_eq!(words(director), []);
    });
}
