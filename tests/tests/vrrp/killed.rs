//! An agent that is killed and started again, too late to stay Active: its packet path goes on meanwhile, and opens
//! connections that nobody is told of until the next start of the agent.

use lb_tests::pair::Pair;
use lb_tests::web::PORT;

use crate::flows::{N_BACKENDS, Open, Service, both_at, serve};

/// What another director cannot go on with by itself: backends, or sources of full NAT, that no hash has chosen.
const SERVICES: [Service; 4] =
    [(PORT, "nat", "rr"), (81, "full-nat", "lc"), (82, "full-nat", "maglev"), (83, "dsr", "wrr")];

#[test]
fn connections_that_began_while_the_agent_was_dead_go_on_when_it_is_started_again() {
    let pair = Pair::new(N_BACKENDS).unwrap();
    let _serving = serve(&pair, &SERVICES);
    // So rare that there is time to begin some.
    let [mut lb1, lb2] = both_at(&pair, &SERVICES, "1s");
    lb1.process.kill().unwrap();
    let mut open = Open::new(&pair, &SERVICES);
    assert_eq!(lb2.states().unwrap(), ["backup"], "the connections began before");
    lb2.wait_for("active").unwrap();
    // They ask the director that does not know them, until it does.
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| open.assert_all_go_on());
        lb1.restart().unwrap();
        asking.join().unwrap();
    });
    let metrics = lb2.metrics().unwrap();
    let held = metrics.lines().find(|line| line.contains("held_for_peer")).unwrap();
    assert!(!held.ends_with(" 0"), "{held}");
}
