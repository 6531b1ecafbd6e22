//! A thousand connections, of which half ask and answer all the time, through every fault one after the other.

use lb_tests::binaries::Binaries;
use lb_tests::held::Held;
use lb_tests::pair::{Director, Pair, vips};
use lb_tests::web::PORT;

use crate::cast::WITHIN;
use crate::flows::{N_BACKENDS, Service, both, serve, wait_until_in_step};

/// Neither the scheduler nor the way of forwarding lets a director find a connection's backend that it was not told of.
const SERVICES: [Service; 2] = [(PORT, "nat", "rr"), (81, "full-nat", "lc")];
/// To each family of each service.
const N_EACH: usize = 250;

/// The preferred director is Active again, and both know all flows.
fn wait_for_return(lb1: &Director<'_>, lb2: &Director<'_>) {
    lb1.wait_for("active").unwrap();
    lb2.wait_for("backup").unwrap();
    wait_until_in_step([lb1, lb2]);
}

#[test]
fn a_thousand_connections_outlive_every_fault() {
    let pair = Pair::new(N_BACKENDS).unwrap();
    let _serving = serve(&pair, &SERVICES);
    let [mut lb1, lb2] = both(&pair, &SERVICES);
    let client = &pair.client.namespace;
    let addresses = SERVICES.iter().flat_map(|(port, ..)| vips().map(|vip| (vip.ip(), *port)));
    let held: Vec<_> = addresses.map(|at| Held::open(client, at.into(), N_EACH).unwrap()).collect();

    // The machine is silent, and comes back.
    pair.deafen_director(1, true).unwrap();
    lb2.wait_for("active").unwrap();
    lb1.process.kill().unwrap();
    pair.deafen_director(1, false).unwrap();
    lb1.restart().unwrap();
    wait_for_return(&lb1, &lb2);
    // It loses a link.
    for port in ["lb1-front", "lb1-back"] {
        pair.unplug(port).unwrap();
        lb2.wait_for("active").unwrap();
        pair.plug_in(port).unwrap();
        wait_for_return(&lb1, &lb2);
    }
    // Its agent is stopped.
    lb1.process.terminate(WITHIN).unwrap();
    lb2.wait_for("active").unwrap();
    lb1.restart().unwrap();
    wait_for_return(&lb1, &lb2);
    // It is killed, and started again.
    lb1.process.kill().unwrap();
    lb1.restart().unwrap();
    wait_for_return(&lb1, &lb2);
    // Another version takes its place, whose program and flow table differ, and goes again.
    let now = Binaries::of_this_profile().unwrap();
    for version in [now.before().unwrap(), now] {
        lb1.process.terminate(WITHIN).unwrap();
        lb1.restart_as(&version).unwrap();
        wait_for_return(&lb1, &lb2);
    }

    for (number, held) in held.into_iter().enumerate() {
        let fates = held.stop().unwrap();
        assert_eq!(fates.len(), N_EACH);
        let problems: Vec<_> = fates.iter().filter_map(|fate| fate.problem.as_ref()).collect();
        assert_eq!(problems, Vec::<&String>::new(), "of address {number}");
    }
}
