//! An agent that is killed and started again, too late to stay Active: its packet path goes on meanwhile, and opens
//! connections that nobody is told of until the next start of the agent.

use std::net::SocketAddr;
use std::time::Duration;

use lb_tests::pair::{Pair, vips};
use lb_tests::pulse::{Pace, Pulse};
use lb_tests::web::PORT;

use crate::flows::{N_BACKENDS, Service, both, serve, wait_until_in_step};

/// What another director cannot go on with by itself: backends, or sources of full NAT, that no hash has chosen.
const SERVICES: [Service; 4] =
    [(PORT, "nat", "rr"), (81, "full-nat", "lc"), (82, "full-nat", "maglev"), (83, "dsr", "wrr")];
const ROUNDS: usize = 2;
/// TCP may send again, several times.
const PACE: Pace = Pace { every: Duration::from_millis(15), patience: Duration::from_secs(20) };

#[test]
fn no_request_fails_when_the_agent_of_the_active_director_is_killed_and_started_again() {
    let pair = Pair::new(N_BACKENDS).unwrap();
    let _serving = serve(&pair, &SERVICES);
    let [mut lb1, lb2] = both(&pair, &SERVICES);
    let addresses = SERVICES.iter().flat_map(|(port, ..)| vips().map(|vip| (vip.ip(), *port)));
    let client = &pair.client.namespace;
    let start = |address| Pulse::start(client, SocketAddr::from(address), PACE).unwrap();
    let pulses: Vec<_> = addresses.map(start).collect();
    for _ in 0..ROUNDS {
        wait_until_in_step([&lb1, &lb2]);
        pulses.iter().for_each(|pulse| pulse.wait_for_more(50).unwrap());
        lb1.process.kill().unwrap();
        lb2.wait_for("active").unwrap();
        lb1.restart().unwrap();
        // It is preferred, and knows all flows by then.
        lb1.wait_for("active").unwrap();
        pulses.iter().for_each(|pulse| pulse.wait_for_more(50).unwrap());
    }
    for (pulse, (_, forward, scheduler)) in
        pulses.into_iter().zip(SERVICES.iter().flat_map(|it| [it; 2]))
    {
        let beats = pulse.stop().unwrap();
        let n_failed = beats.iter().filter(|beat| !beat.is_answered).count();
        assert_eq!(n_failed, 0, "of {} by {forward} and {scheduler}", beats.len());
    }
    let metrics = lb2.metrics().unwrap();
    let held = metrics.lines().find(|line| line.contains("held_for_peer")).unwrap();
    assert!(!held.ends_with(" 0"), "{held}");
}
