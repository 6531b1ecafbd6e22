//! The wall clock jumps by days, on the Active director and on the other one: nothing that counts time minds.

use std::time::Duration;

use lb_tests::http_client::Connection;
use lb_tests::load::{Load, failures};
use lb_tests::pair::{Director, Pair, vips};
use lb_tests::wall_clock::WallClock;

use crate::cast::{holds, n_changes, serve, tables, wait_for_answers};

const DAY: i64 = 24 * 3_600;

/// When an agent became what it is, by its own wall clock.
fn since_unix(director: &Director<'_>) -> i64 {
    let history = director.ctl_json(&["vrrp", "history"]).unwrap();
    history.as_array().unwrap().last().unwrap()["at_unix"].as_i64().unwrap()
}

#[test]
fn a_wall_clock_that_jumps_moves_no_address_and_ends_no_flow() {
    let pair = Pair::new(1).unwrap();
    let _webs = serve(&pair);
    let clock = WallClock::new(pair.folder()).unwrap();
    let binaries = clock.binaries().unwrap();
    let lb1 = Director::start_from(&pair, 1, &tables(200, ""), &binaries).unwrap();
    lb1.wait_for("active").unwrap();
    let lb2 = Director::start_from(&pair, 2, &tables(100, ""), &binaries).unwrap();
    lb2.wait_for("backup").unwrap();
    wait_for_answers(&pair);
    let open = || vips().map(|vip| Connection::open(vip, Duration::from_secs(10)).unwrap());
    let mut open = pair.client.namespace.enter(open).unwrap();
    let before = [n_changes(&lb1), n_changes(&lb2)];
    let begin = since_unix(&lb1);
    let load = Load::start(&pair.client.namespace, &vips()).unwrap();
    for days in [1, -300, 3_000, 0] {
        clock.set_off(days * DAY).unwrap();
        // It was set for this agent: what it tells of dates follows.
        let told = since_unix(&lb1) - begin;
        assert!((told - days * DAY).abs() < 60, "{told} s after a jump of {days} days");
        // Adverts of both, sweeps and probes go on by the clock that does not jump.
        let sent = |status: &serde_json::Value| status["routers"][0]["adverts_sent"].as_u64();
        let so_far = sent(&lb1.ctl_json(&["vrrp", "status"]).unwrap());
        lb1.wait_for_status("30 more adverts", |status| sent(status) > so_far.map(|n| n + 30))
            .unwrap();
        for connection in &mut open {
            assert_eq!(connection.get("/").unwrap().backend, "web1");
        }
    }
    load.wait_for_more(50).unwrap();
    assert_eq!(failures(&load.stop().unwrap()), Vec::<&String>::new());
    assert_eq!([n_changes(&lb1), n_changes(&lb2)], before);
    assert_eq!((holds(&lb1), holds(&lb2)), ([true; 2], [false; 2]));
}
