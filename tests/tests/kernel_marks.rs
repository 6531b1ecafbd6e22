//! What the agent writes into the loads of backends: who takes new flows, and how many flows were counted.
#![cfg(feature = "root")]
#![expect(unreachable_pub, reason = "a module that several tests share")]

#[expect(dead_code, reason = "other tests use the rest")]
mod director;

use aya::maps::Array;
use lb_agent::io::datapath::{Datapath, OBJECT};
use lb_agent::model::tables::Write;
use lb_common::cell::{Cell, State};
use lb_common::layout::{Bucket, Listener, Load, Slot, run};
use lb_common::map;
use zerocopy::FromZeros;

use director::{map_of, on_a_director};

fn slots(base: u32, backends: &[u32]) -> Write {
    let slots = backends.iter().map(|id| Slot { backend: *id, weight: 1 }).collect();
    Write::Slots { base, slots }
}

#[test]
fn who_is_in_slots_is_marked_and_who_leaves_is_not() {
    on_a_director(|director| {
        let mut datapath = Datapath::open(&director.config(&["nic"]), OBJECT).unwrap();
        let mut loads: Array<_, Load> = map_of(director.pins(), map::LOADS);
        let takers = |loads: &Array<_, Load>| -> Vec<u32> {
            (0..30).filter(|id| loads.get(id, 0).unwrap().takes_flows == 1).collect()
        };
        let value = Listener { family: 4, run: run(7, 3), ..Listener::new_zeroed() };
        let writes = [slots(7, &[20, 21, 20]), Write::Listener { id: 5, value }];
        datapath.apply(&writes).unwrap();
        assert_eq!(takers(&loads), [20, 21]);
        datapath.apply(&[slots(10, &[21, 22]), Write::Run { id: 5, run: run(10, 2) }]).unwrap();
        assert_eq!(takers(&loads), [21, 22]);
        // As if the agent had been killed before it took the mark away.
        loads.set(20, Load { takes_flows: 1, ..Load::new_zeroed() }, 0).unwrap();
        drop(datapath);
        let mut datapath = Datapath::open(&director.config(&["nic"]), OBJECT).unwrap();
        assert_eq!(takers(&loads), [21, 22]);
        datapath.apply(&[Write::FreeListener { id: 5 }]).unwrap();
        assert!(takers(&loads).is_empty());
    });
}

#[test]
fn a_sweep_tells_each_backend_its_open_flows() {
    on_a_director(|director| {
        let mut datapath = Datapath::open(&director.config(&["nic"]), OBJECT).unwrap();
        let settings = datapath.tables().unwrap().settings;
        let settings = lb_common::layout::Settings { timeouts: [10; 8], ..settings };
        datapath.apply(&[Write::Settings(Box::new(settings))]).unwrap();
        let mut cells: Array<_, Bucket> = map_of(director.pins(), map::FLOWS);
        let mut loads: Array<_, Load> = map_of(director.pins(), map::LOADS);
        let cell = |tag, state, reply| Cell::new(tag, 20, 1_000, state, reply).0;
        let (open, half) = (cell(1, State::Established, false), cell(2, State::Syn, false));
        let (closing, reply) = (cell(3, State::Closing, false), cell(1, State::Established, true));
        cells.set(3, [open, half, closing, reply, 0, 0, 0, 0], 0).unwrap();
        loads.set(20, Load { change: 7, ..Load::new_zeroed() }, 0).unwrap();
        let flows = |loads: &Array<_, Load>| {
            let load = loads.get(&20, 0).unwrap();
            Load::flows(load.base, load.change)
        };
        assert_eq!(flows(&loads), 7);
        datapath.flows().sweep(1_001).unwrap();
        assert_eq!(flows(&loads), 2);
        datapath.flows().sweep(1_100).unwrap();
        assert_eq!(flows(&loads), 0, "all have expired");
    });
}
