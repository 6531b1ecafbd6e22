//! Flows of which the other director was not told before the Active one died.

use lb_tests::pair::Pair;
use lb_tests::web::PORT;

use crate::flows::{N_BACKENDS, Open, Service, both, serve};

/// All schedulers that are a hash, by each way in which the client's packet alone tells where a flow goes.
const SERVICES: [Service; 6] = [
    (PORT, "nat", "maglev"),
    (81, "nat", "sh"),
    (82, "dsr", "maglev"),
    (83, "dsr", "sh"),
    (84, "ipip", "maglev"),
    (85, "gue", "sh"),
];

#[test]
fn a_flow_that_was_not_told_goes_on_where_a_hash_has_chosen_its_backend() {
    let pair = Pair::new(N_BACKENDS).unwrap();
    let _serving = serve(&pair, &SERVICES);
    let [mut lb1, lb2] = both(&pair, &SERVICES);
    // Nothing that is said of a flow from now on arrives.
    lb1.namespace.ip("route add blackhole 192.0.2.3/32").unwrap();
    let mut open = Open::new(&pair, &SERVICES);
    lb1.process.kill().unwrap();
    pair.deafen_director(1, true).unwrap();
    lb2.wait_for("active").unwrap();
    assert_eq!(lb2.ctl_json(&["conn", "list"]).unwrap()["total"], 0);
    open.assert_all_go_on();
}
